"""The demonstration: what it starts, how it is watched, and how its result is judged.

The processes are ordinary nodes; the ROS side of the demonstration itself is
`sensorium.ros.demo_session`, a process that reports through JSON lines.
"""
