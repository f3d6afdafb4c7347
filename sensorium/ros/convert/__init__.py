"""Conversion between ROS messages and arrays, one module per message.

Functions are named ``result_from_source``. Arrays that are read share the memory of the message
where that is possible, so a message must not be reused for another purpose after it was read.
"""

from sensorium.ros.convert.errors import ConversionError

__all__ = ["ConversionError"]
