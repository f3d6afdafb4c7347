"""Stamps as integer nanoseconds, and headers."""

from __future__ import annotations

import operator

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from sensorium.ros.convert.errors import ConversionError

NS_PER_S = 1_000_000_000
_MAX_SEC = 2**31 - 1


def time_from_stamp(stamp_ns: int) -> Time:
    """Return builtin_interfaces/Time of integer nanoseconds, exactly.

    Raises:
        ConversionError: `stamp_ns` is no integer, is negative, or is beyond 2^31 s.
    """
    try:
        # index() takes NumPy integers, which message fields refuse, and no float, which has lost
        # some 200 ns of a stamp already.
        seconds, nanoseconds = divmod(operator.index(stamp_ns), NS_PER_S)
    except TypeError as error:
        raise ConversionError(
            f"stamp is {stamp_ns!r}; stamps are integer nanoseconds, never floats"
        ) from error
    if not 0 <= seconds <= _MAX_SEC:
        raise ConversionError(
            f"stamp is {stamp_ns} ns; ROS stamps are 0 to {_MAX_SEC} s: "
            "give nanoseconds of the ROS clock"
        )
    return Time(sec=seconds, nanosec=nanoseconds)


def stamp_from_time(time: Time) -> int:
    """Return the integer nanoseconds of builtin_interfaces/Time.

    Raises:
        ConversionError: negative seconds, or a nanosecond part of a second or more.
    """
    if time.sec < 0 or time.nanosec >= NS_PER_S:
        raise ConversionError(
            f"stamp is sec={time.sec} nanosec={time.nanosec}; sec must not be negative and "
            "nanosec must be below 1e9: check the publisher's clock"
        )
    return int(time.sec) * NS_PER_S + int(time.nanosec)


def header(stamp_ns: int, frame_id: str) -> Header:
    """Return a header of a stamp [ns] and a frame.

    Raises:
        ConversionError: see `time_from_stamp`.
    """
    return Header(stamp=time_from_stamp(stamp_ns), frame_id=frame_id)
