"""How far two decoded messages are from each other: numbers by tolerance, all else exactly.

Images and clouds are compared as what they show: pixels and fields in their own number types,
without padding and with NaN equal to NaN.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_POINT_TYPES = (None, "i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8")
_EIGHT_BIT = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
_OPENCV_ENCODING = re.compile(r"^(8|16|32|64)(U|S|F)C(\d*)$")
_KINDS = {"U": "u", "S": "i", "F": "f"}


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Two numbers agree when |a - b| <= absolute + relative * max(|a|, |b|).

    Attributes:
        absolute: in the numbers' own unit.
        relative: of floating-point numbers only; integers have the absolute part.
    """

    absolute: float = 1e-6
    relative: float = 1e-5


@dataclass(slots=True)
class Difference:
    """What differs.

    Attributes:
        numbers: numbers compared.
        outside: those outside the tolerance; a number beside a NaN is.
        worst: greatest absolute difference of two numbers.
        worst_at: field in which it was found.
        mismatch: the first thing that is not equal and no number, in words; "" without one.
    """

    numbers: int = 0
    outside: int = 0
    worst: float = 0.0
    worst_at: str = ""
    mismatch: str = ""

    def add(self, other: Difference) -> bool:
        """Take another difference in; True when it is the worst so far."""
        self.numbers += other.numbers
        self.outside += other.outside
        self.mismatch = self.mismatch or other.mismatch
        if other.worst <= self.worst:
            return False
        self.worst, self.worst_at = other.worst, other.worst_at
        return True


def compare_messages(
    first: object, second: object, tolerance: Tolerance, ignored_fields: Collection[str] = ()
) -> Difference:
    """Compare two messages as `rosbags` decodes them.

    Args:
        first: a message.
        second: another of the same type.
        tolerance: for numbers.
        ignored_fields: names of fields that are left out wherever they occur.
    """
    difference = Difference()
    _Walk(tolerance, ignored_fields, difference).compare(first, second, "")
    return difference


class _Walk:
    def __init__(
        self, tolerance: Tolerance, ignored_fields: Collection[str], difference: Difference
    ) -> None:
        self._tolerance, self._ignored, self._found = tolerance, ignored_fields, difference

    def compare(self, a: Any, b: Any, path: str) -> None:  # noqa: ANN401 - any field
        message_type = getattr(a, "__msgtype__", "")
        if message_type == "sensor_msgs/msg/Image":
            self._compare_unpacked(a, b, path, _pixels, "data step is_bigendian")
        elif message_type == "sensor_msgs/msg/PointCloud2":
            self._compare_unpacked(
                a, b, path, _point_fields, "data fields point_step row_step is_bigendian is_dense"
            )
        elif message_type:
            self._compare_fields(a, b, path, ())
        elif isinstance(a, list):
            self._compare_lists(a, b, path)
        elif isinstance(a, np.ndarray | bool | int | float | np.generic):
            self._compare_numbers(np.asarray(a), np.asarray(b), path)
        elif a != b:
            self._mismatch(path, f"'{a}' and '{b}'")

    def _compare_fields(self, a: Any, b: Any, path: str, left_out: Collection[str]) -> None:  # noqa: ANN401
        for name in a.__dataclass_fields__:
            if name not in left_out and name not in self._ignored and name != "__msgtype__":
                self.compare(getattr(a, name), getattr(b, name), f"{path}.{name}".lstrip("."))

    def _compare_unpacked(
        self,
        a: Any,  # noqa: ANN401
        b: Any,  # noqa: ANN401
        path: str,
        unpack: Callable[[Any], dict[str, NDArray[Any]]],
        packed: str,
    ) -> None:
        self._compare_fields(a, b, path, packed.split())
        try:
            parts, others = unpack(a), unpack(b)
        except ValueError as error:
            if bytes(a.data) != bytes(b.data):
                self._mismatch(path, f"bytes that cannot be unpacked ({error})")
            return
        if parts.keys() != others.keys():
            self._mismatch(path, f"fields {', '.join(parts)} and {', '.join(others)}")
            return
        for name, values in parts.items():
            self._compare_numbers(values, others[name], f"{path}.{name}".lstrip("."))

    def _compare_lists(self, a: list[Any], b: list[Any], path: str) -> None:
        if len(a) != len(b):
            self._mismatch(path, f"{len(a)} and {len(b)} entries")
            return
        for index, (one, other) in enumerate(zip(a, b, strict=True)):
            self.compare(one, other, f"{path}[{index}]")

    def _compare_numbers(self, a: NDArray[Any], b: NDArray[Any], path: str) -> None:
        if a.shape != b.shape:
            self._mismatch(path, f"shapes {a.shape} and {b.shape}")
            return
        if a.size == 0:
            return
        one, other = a.astype(np.float64), b.astype(np.float64)
        allowed: NDArray[np.float64] | float = self._tolerance.absolute
        if a.dtype.kind == "f":
            largest = np.maximum(abs(one), abs(other))
            allowed = allowed + self._tolerance.relative * np.where(
                np.isfinite(largest), largest, 0
            )
        equal = (one == other) | (np.isnan(one) & np.isnan(other))
        with np.errstate(invalid="ignore"):
            apart = np.where(equal, 0.0, abs(one - other))
        self._found.numbers += a.size
        self._found.outside += int(np.count_nonzero(~(apart <= allowed)))
        worst = float(np.nan_to_num(apart, nan=np.inf, posinf=np.inf).max())
        if worst > self._found.worst:
            self._found.worst, self._found.worst_at = worst, path

    def _mismatch(self, path: str, text: str) -> None:
        self._found.mismatch = self._found.mismatch or f"{path or 'message'}: {text}"


def _pixels(image: Any) -> dict[str, NDArray[Any]]:  # noqa: ANN401 - a decoded message
    if image.encoding in _EIGHT_BIT:
        kind, channels = "u1", _EIGHT_BIT[image.encoding]
    elif image.encoding == "mono16":
        kind, channels = "u2", 1
    elif match := _OPENCV_ENCODING.match(image.encoding):
        kind = f"{_KINDS[match[2]]}{int(match[1]) // 8}"
        channels = int(match[3] or 1)
    else:
        raise ValueError(f"encoding '{image.encoding}'")
    dtype = np.dtype(kind).newbyteorder(">" if image.is_bigendian else "<")
    width = image.width * channels
    rows = np.asarray(image.data, np.uint8)[: image.height * image.step]
    rows = rows.reshape(image.height, image.step)[:, : width * dtype.itemsize]
    return {"pixels": np.ascontiguousarray(rows).view(dtype)}


def _point_fields(cloud: Any) -> dict[str, NDArray[Any]]:  # noqa: ANN401
    order = ">" if cloud.is_bigendian else "<"
    fields = {f.name: f for f in cloud.fields}
    if any(not 0 < f.datatype < len(_POINT_TYPES) for f in fields.values()):
        raise ValueError("unknown datatype of a field")
    dtype = np.dtype(
        {
            "names": list(fields),
            "formats": [
                (f"{order}{_POINT_TYPES[f.datatype]}", (max(int(f.count), 1),))
                for f in fields.values()
            ],
            "offsets": [int(f.offset) for f in fields.values()],
            "itemsize": int(cloud.point_step),
        }
    )
    data = np.ascontiguousarray(cloud.data, np.uint8)
    records = np.ndarray(
        (cloud.height, cloud.width), dtype, data,
        strides=(cloud.row_step or cloud.width * cloud.point_step, cloud.point_step),
    )  # fmt: skip
    # A packed colour is three numbers, whatever type carries its bits.
    return {
        name: _channels(records[name]) if name in ("rgb", "rgba") else records[name]
        for name in fields
    }


def _channels(packed: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(packed).view(np.uint8)
