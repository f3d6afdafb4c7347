"""Sensorium: perception for robots, without ROS.

The middle floor of the house (docs/architecture.md): ``sensorium.nodes`` imports from here and from
``sensorium.ros``; this package imports ``sensorium.models`` and never the other way round.
"""

__version__ = "0.1.0"
