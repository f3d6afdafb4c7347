"""sensor_msgs/PointCloud2 to and from arrays.

Written clouds have float32 fields x, y, z at offsets 0, 4, 8, then `rgb` (0x00RRGGBB in the bits of
a float32, as PCL and RViz read it), `confidence`, and `feature` with count C, when they are given.
"""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField

from sensorium.ros.convert.buffers import as_array, bytes_of
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.header import header

_FLOAT = np.dtype("<f4")
_DTYPES: dict[int, np.dtype[Any]] = {
    PointField.INT8: np.dtype(np.int8),
    PointField.UINT8: np.dtype(np.uint8),
    PointField.INT16: np.dtype(np.int16),
    PointField.UINT16: np.dtype(np.uint16),
    PointField.INT32: np.dtype(np.int32),
    PointField.UINT32: np.dtype(np.uint32),
    PointField.FLOAT32: np.dtype(np.float32),
    PointField.FLOAT64: np.dtype(np.float64),
}

# Rows of a table are filled column by column while they are in the second-level cache.
_BLOCK_POINTS = 16384


def cloud_from_points(
    points_m: Any,  # noqa: ANN401 - arrays and tensors alike, here and below
    stamp_ns: int,
    frame_id: str,
    *,
    colors: Any = None,  # noqa: ANN401
    confidence: Any = None,  # noqa: ANN401
    features: Any = None,  # noqa: ANN401
) -> PointCloud2:
    """Return a cloud of arrays or tensors.

    Args:
        points_m: (H, W, 3) organised or (N, 3) unorganised, in `frame_id` [m]; NaN is no point.
        stamp_ns: time of the measurement [ns].
        frame_id: frame of the points.
        colors: (..., 3) uint8 RGB with the leading shape of `points_m`, or None.
        confidence: (...) per point, or None.
        features: (..., C) per point, or None.

    Raises:
        ConversionError: shapes that do not fit each other, colours that are not uint8, or a stamp
            that ROS cannot hold.
    """
    points = as_array(points_m, "points_m")
    if points.ndim not in (2, 3) or points.shape[-1] != 3 or points.dtype.kind != "f":
        raise ConversionError(
            f"points_m is {points.dtype} {points.shape}; it must be floating point (H, W, 3) or "
            "(N, 3) in metres"
        )
    shape = points.shape[:-1]
    columns: list[tuple[str, NDArray[Any]]] = [
        (name, points[..., index]) for index, name in enumerate("xyz")
    ]
    if colors is not None:
        columns.append(("rgb", _packed_rgb(as_array(colors, "colors"), shape)))
    if confidence is not None:
        columns.append(("confidence", _checked(confidence, "confidence", shape)))
    if features is not None:
        columns.append(("feature", _checked_features(features, shape)))
    fields, width = [], 0
    for name, values in columns:
        count = values.shape[-1] if name == "feature" else 1
        fields.append(
            PointField(name=name, offset=4 * width, datatype=PointField.FLOAT32, count=count)
        )
        width += count
    message = PointCloud2(
        header=header(stamp_ns, frame_id),
        height=shape[0] if len(shape) == 2 else 1,
        width=shape[-1],
        fields=fields,
        is_bigendian=False,
        point_step=4 * width,
        row_step=4 * width * shape[-1],
        is_dense=bool(np.isfinite(points).all()),
    )
    size = points[..., 0].size
    # Grown and filled in place: a cloud of an image has megabytes, and assigning them to the
    # message would copy them.
    data = message.data
    data.append(0)
    data *= 4 * width * size
    table = np.frombuffer(data, dtype=_FLOAT).reshape(size, width)
    flat = [
        values.reshape(size, field.count)
        for field, (_, values) in zip(fields, columns, strict=True)
    ]
    for start in range(0, size, _BLOCK_POINTS):
        part = slice(start, start + _BLOCK_POINTS)
        for field, values in zip(fields, flat, strict=True):
            column = field.offset // 4
            table[part, column : column + field.count] = values[part]
    return message


def points_from_cloud(message: PointCloud2) -> NDArray[Any]:
    """Return x, y, z as (H, W, 3) when organised (height > 1), else (N, 3) [m].

    Shares the memory of the message, as a strided view, when x, y, z follow each other in one
    native floating point type; else float32, or float64 when one of them is.

    Raises:
        ConversionError: a field is missing, or the layout is broken.
    """
    records = records_from_cloud(message)
    x, y, z = (_field(records, name) for name in "xyz")
    offsets = [records.dtype.fields[name][1] for name in "xyz"] if records.dtype.fields else []
    steps = {offsets[1] - offsets[0], offsets[2] - offsets[1]}
    if x.dtype == y.dtype == z.dtype and x.dtype.kind == "f" and steps == {x.itemsize}:
        return np.lib.stride_tricks.as_strided(
            x, (*x.shape, 3), (*x.strides, x.itemsize), writeable=x.flags.writeable
        )
    common = np.result_type(np.float32, x.dtype, y.dtype, z.dtype)
    return np.stack((x, y, z), axis=-1, dtype=common)


def colors_from_cloud(message: PointCloud2) -> NDArray[np.uint8]:
    """Return (..., 3) uint8 RGB of the field `rgb` or `rgba`, packed in a float32 or uint32.

    Raises:
        ConversionError: neither field exists or it has another type, or the layout is broken.
    """
    records = records_from_cloud(message)
    name = "rgba" if "rgb" not in (records.dtype.names or ()) else "rgb"
    packed = _field(records, name)
    if packed.dtype not in (np.dtype(np.float32), np.dtype(np.uint32)):
        raise ConversionError(
            f"field '{name}' is {packed.dtype}; packed colours are float32 or uint32"
        )
    bits = np.ascontiguousarray(packed).view(np.uint32)
    return np.stack([(bits >> shift).astype(np.uint8) for shift in (16, 8, 0)], axis=-1)


def field_from_cloud(message: PointCloud2, name: str) -> NDArray[Any]:
    """Return one field as (H, W) or (N,), with a last axis C when its count is above 1.

    Shares the memory of the message when it is in native byte order.

    Raises:
        ConversionError: the field is missing, or the layout is broken.
    """
    return _field(records_from_cloud(message), name)


def records_from_cloud(message: PointCloud2) -> NDArray[Any]:
    """Return the points as a structured array (H, W) or (N,) over the memory of the message.

    Any field offsets, point step, row padding and byte order; the dtype keeps the byte order.

    Raises:
        ConversionError: an unknown field type, a field beyond the point, a row step below the
            points of a row, or fewer data than rows.
    """
    order: Literal["<", ">"] = ">" if message.is_bigendian else "<"
    names, formats, offsets = [], [], []
    for field in message.fields:
        if field.datatype not in _DTYPES:
            raise ConversionError(f"field '{field.name}' has unknown datatype {field.datatype}")
        dtype = _DTYPES[field.datatype].newbyteorder(order)
        # Some publishers leave count at 0 where they mean 1.
        count = max(field.count, 1)
        if field.offset + count * dtype.itemsize > message.point_step:
            raise ConversionError(
                f"field '{field.name}' ends at byte {field.offset + count * dtype.itemsize} but "
                f"point_step is {message.point_step}: the cloud's layout is broken"
            )
        names.append(field.name)
        formats.append(dtype if count == 1 else (dtype, (count,)))
        offsets.append(field.offset)
    height, width, step = message.height, message.width, message.row_step
    if height > 1 and step < width * message.point_step:
        raise ConversionError(
            f"row_step is {step} bytes but a row has {width} points of {message.point_step} bytes"
        )
    # An unorganised cloud has one row, whose step some publishers leave at 0.
    row_bytes = step if height > 1 else width * message.point_step
    data = bytes_of(message.data)
    if data.size < row_bytes * height:
        raise ConversionError(
            f"data has {data.size} bytes but {height} rows of {row_bytes} bytes are "
            f"{row_bytes * height}: the cloud is truncated"
        )
    try:
        dtype = np.dtype(
            {
                "names": names,
                "formats": formats,
                "offsets": offsets,
                "itemsize": message.point_step,
            }
        )
    except (ValueError, TypeError) as error:
        raise ConversionError(f"fields {names} make no layout: {error}") from error
    records: NDArray[Any] = np.ndarray(
        (height, width), dtype, buffer=data, strides=(row_bytes, message.point_step)
    )
    return records if height > 1 else records.reshape(-1)


def _field(records: NDArray[Any], name: str) -> NDArray[Any]:
    names = records.dtype.names or ()
    if name not in names:
        raise ConversionError(
            f"the cloud has no field '{name}'; it has {', '.join(names) or 'none'}"
        )
    values: NDArray[Any] = records[name]
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def _packed_rgb(colors: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    if colors.dtype != np.uint8 or colors.shape != (*shape, 3):
        raise ConversionError(
            f"colors are {colors.dtype} {colors.shape}; they must be uint8 {(*shape, 3)} RGB"
        )
    if colors.size == 0:
        return np.empty(shape, dtype=np.float32)
    rows = np.ascontiguousarray(colors).reshape(shape[0], -1, 3)
    # B, G, R, A in memory is 0xAARRGGBB of a little-endian word; a set alpha would make it a NaN.
    bits = cv2.cvtColor(rows, cv2.COLOR_RGB2BGRA).view("<u4")
    bits &= np.uint32(0x00FFFFFF)
    return np.asarray(bits.view("<f4").reshape(shape), dtype=_FLOAT)


def _checked(values: Any, name: str, shape: tuple[int, ...]) -> NDArray[Any]:  # noqa: ANN401
    checked = as_array(values, name)
    if checked.shape != shape:
        raise ConversionError(f"{name} is {checked.shape}; it must be {shape} like the points")
    return checked


def _checked_features(features: Any, shape: tuple[int, ...]) -> NDArray[Any]:  # noqa: ANN401
    checked = as_array(features, "features")
    if checked.ndim != len(shape) + 1 or checked.shape[:-1] != shape or not checked.shape[-1]:
        raise ConversionError(f"features are {checked.shape}; they must be {(*shape, 'C >= 1')}")
    return checked
