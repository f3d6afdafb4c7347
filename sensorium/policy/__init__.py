"""Between a policy's chunks and a robot's controller: observations, merging, guards. No ROS.

Stamps are integer nanoseconds of one clock, which the caller reads; nothing here reads a clock.
"""
