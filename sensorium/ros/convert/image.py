"""sensor_msgs/Image to and from RGB, depth in metres, and labels.

Depth follows REP-118 (16UC1 is millimetres, 0 invalid; 32FC1 is metres) and REP-117 (what is not a
finite positive distance is no measurement). The encoding decides, never a parameter.
"""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from sensorium.ros.convert.buffers import append_bytes, as_array, bytes_of
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.header import header

# Encoding -> (channels, OpenCV conversion to RGB; None where it is RGB already).
_COLOR: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}
_DEPTH: dict[str, np.dtype[Any]] = {"16UC1": np.dtype(np.uint16), "32FC1": np.dtype(np.float32)}
_LABELS: dict[str, np.dtype[Any]] = {
    "mono8": np.dtype(np.uint8),
    "mono16": np.dtype(np.uint16),
    "32SC1": np.dtype(np.int32),
}

MM_PER_M = np.float32(1000)
# The bits of the farthest distance that 16UC1 holds.
_FARTHEST_BITS = np.float32(65.535).view(np.uint32)


def color_from_image(message: Image) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB, C-contiguous.

    Shares the memory of the message for rgb8 without row padding; all else is one copy.

    Raises:
        ConversionError: an encoding other than rgb8, bgr8, rgba8, bgra8, mono8, or a broken layout.
    """
    if message.encoding not in _COLOR:
        raise _unknown_encoding(message, "colour", _COLOR)
    channels, conversion = _COLOR[message.encoding]
    pixels: NDArray[np.uint8] = _pixels(message, np.dtype(np.uint8), channels)
    if conversion is None:
        return pixels
    return np.asarray(cv2.cvtColor(pixels, conversion), dtype=np.uint8)


def depth_from_image(message: Image) -> NDArray[np.float32]:
    """Return (H, W) float32 depth along the optical z axis [m], NaN where invalid.

    Invalid are 0 in 16UC1 and everything but finite positive distances in 32FC1. Shares the memory
    of the message for native 32FC1 without padding in which all invalid pixels are NaN already.

    Raises:
        ConversionError: an encoding other than 16UC1 [mm] or 32FC1 [m], or a broken layout.
    """
    if message.encoding not in _DEPTH:
        raise _unknown_encoding(message, "depth", _DEPTH)
    pixels = _pixels(message, _DEPTH[message.encoding], 1)
    if message.encoding == "16UC1":
        return metres_from_millimetres(pixels)
    return with_nan_where_invalid(pixels)


def labels_from_image(message: Image) -> NDArray[Any]:
    """Return (H, W) labels: uint8 of mono8, uint16 of mono16, int32 of 32SC1.

    Shares the memory of the message when rows have no padding and bytes are in native order.

    Raises:
        ConversionError: another encoding, or a broken layout.
    """
    if message.encoding not in _LABELS:
        raise _unknown_encoding(message, "label", _LABELS)
    return _pixels(message, _LABELS[message.encoding], 1)


def image_from_color(color: Any, stamp_ns: int, frame_id: str) -> Image:  # noqa: ANN401
    """Return an rgb8 image of (H, W, 3) uint8 RGB, an array or a tensor.

    Raises:
        ConversionError: another dtype or shape, or a stamp that ROS cannot hold.
    """
    array = as_array(color, "color")
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ConversionError(
            f"color is {array.dtype} {array.shape}; rgb8 needs uint8 (H, W, 3) RGB: "
            "scale to 0..255 and put channels last"
        )
    return _image(array, "rgb8", stamp_ns, frame_id)


def image_from_depth(
    depth_m: Any,  # noqa: ANN401 - arrays and tensors alike
    stamp_ns: int,
    frame_id: str,
    encoding: str = "32FC1",
) -> Image:
    """Return an image of (H, W) depth [m], an array or a tensor.

    Args:
        depth_m: floating point (H, W); invalid is NaN (everything that is not positive in 16UC1).
        stamp_ns: time of exposure [ns].
        frame_id: optical frame.
        encoding: "32FC1" (metres, as given) or "16UC1" (rounded millimetres; 0 where invalid or
            farther than 65.535 m).

    Raises:
        ConversionError: another encoding, dtype or shape, or a stamp that ROS cannot hold.
    """
    array = as_array(depth_m, "depth_m")
    if array.ndim != 2 or array.dtype.kind != "f":
        raise ConversionError(
            f"depth_m is {array.dtype} {array.shape}; it must be floating point (H, W) in metres"
        )
    metres = array.astype(np.float32, copy=False)
    if encoding == "32FC1":
        return _image(metres, encoding, stamp_ns, frame_id)
    if encoding == "16UC1":
        return _image(millimetres_from_metres(metres), encoding, stamp_ns, frame_id)
    raise ConversionError(f"depth encoding '{encoding}' is unknown; allowed: 32FC1, 16UC1")


def image_from_labels(labels: Any, stamp_ns: int, frame_id: str) -> Image:  # noqa: ANN401
    """Return an image of (H, W) labels: mono8 of uint8, mono16 of uint16, 32SC1 of int32.

    Raises:
        ConversionError: another dtype or shape, or a stamp that ROS cannot hold.
    """
    array = as_array(labels, "labels")
    for encoding, dtype in _LABELS.items():
        if array.dtype == dtype and array.ndim == 2:
            return _image(array, encoding, stamp_ns, frame_id)
    raise ConversionError(
        f"labels are {array.dtype} {array.shape}; they must be (H, W) uint8 (mono8), "
        "uint16 (mono16) or int32 (32SC1)"
    )


def metres_from_millimetres(depth_mm: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return float32 metres of uint16 millimetres, NaN for 0; same shape."""
    metres = depth_mm.astype(np.float32)
    metres /= MM_PER_M
    # 0.0 is the bit pattern 0, and 0 - 1 = 0xFFFFFFFF is a NaN: six times faster than a masked
    # assignment of NaN.
    bits = metres.view(np.int32)
    bits -= depth_mm == 0
    return metres


def millimetres_from_metres(depth_m: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return (H, W) rounded uint16 millimetres; 0 for what is not positive or beyond 65.535 m."""
    metres = np.ascontiguousarray(depth_m)
    # One pass that scales, rounds and converts.
    millimetres = np.asarray(cv2.addWeighted(metres, 1000.0, metres, 0.0, 0.0, dtype=cv2.CV_16U))
    # As unsigned integers the bits of positive floats are in order, and those of negative numbers,
    # infinities and NaN are above them: one comparison finds everything that does not fit.
    millimetres *= metres.view(np.uint32) <= _FARTHEST_BITS
    return millimetres


def with_nan_where_invalid(depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return depth in which all but finite positive distances is NaN; copies only to change."""
    smallest, largest = np.fmin.reduce(depth_m, axis=None), np.fmax.reduce(depth_m, axis=None)
    if not (smallest <= 0 or largest == np.inf):
        return depth_m
    return np.where((depth_m > 0) & (depth_m < np.inf), depth_m, np.float32(np.nan))


def _pixels(message: Image, dtype: np.dtype[Any], channels: int) -> NDArray[Any]:
    """Return (H, W) or (H, W, C) in native byte order; a view of the message where possible."""
    height, width, step = message.height, message.width, message.step
    if height == 0 or width == 0:
        raise ConversionError(
            f"image is {width} x {height} px; an image needs pixels: check the driver"
        )
    row_bytes = width * channels * dtype.itemsize
    if step < row_bytes:
        raise ConversionError(
            f"step is {step} bytes but a row of {width} px {message.encoding} has {row_bytes}: "
            "set step to the bytes per row"
        )
    data = bytes_of(message.data)
    if data.size < step * height:
        raise ConversionError(
            f"data has {data.size} bytes but step * height is {step} * {height} = {step * height}: "
            f"the {message.encoding} image is truncated"
        )
    stored = dtype.newbyteorder(">" if message.is_bigendian else "<")
    shape = (height, width) if channels == 1 else (height, width, channels)
    strides = (step, channels * dtype.itemsize, dtype.itemsize)[: len(shape)]
    view: NDArray[Any] = np.ndarray(shape, stored, buffer=data, strides=strides)
    return np.ascontiguousarray(view, dtype=dtype)


def _image(array: NDArray[Any], encoding: str, stamp_ns: int, frame_id: str) -> Image:
    height, width = array.shape[:2]
    message = Image(
        header=header(stamp_ns, frame_id),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(sys.byteorder == "big"),
        step=width * array.itemsize * (array.shape[2] if array.ndim == 3 else 1),
    )
    append_bytes(message.data, array)
    return message


def _unknown_encoding(message: Image, kind: str, known: dict[str, Any]) -> ConversionError:
    return ConversionError(
        f"encoding '{message.encoding}' is no {kind} image that is read here; "
        f"allowed: {', '.join(known)}: convert it in the driver or subscribe to another topic"
    )
