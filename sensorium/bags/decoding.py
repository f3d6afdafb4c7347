"""Messages of a bag as objects and arrays, by the definitions that the bag itself holds."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from sensorium.bags.records import BagMessage, BagTopic
from sensorium.frames import valid_depth

_NS_PER_S = 1_000_000_000
# Stamps of a header begin behind the four bytes of encapsulation.
_STAMP = struct.Struct("<iI")
_STAMP_OFFSET = 4


class MessageDecoder:
    """Decodes messages by the definitions that the bag itself holds.

    Args:
        topics: the topics of the bag, by name.
    """

    def __init__(self, topics: Mapping[str, BagTopic]) -> None:
        self._topics = topics
        self._store = get_typestore(Stores.EMPTY)
        self._known: set[str] = set()

    def decoded(self, message: BagMessage) -> Any:  # noqa: ANN401 - types are made at run time
        """Return the message as an object with the fields of its definition."""
        topic = self._topics[message.topic]
        if topic.type_name not in self._known:
            for name, definition in get_types_from_msg(topic.definition, topic.type_name).items():
                if name not in self._store.fielddefs:
                    self._store.register({name: definition})
            self._known.add(topic.type_name)
        return self._store.deserialize_cdr(message.data, topic.type_name)


def header_stamp_ns(data: bytes) -> int:
    """Return the stamp [ns] of a serialised message that begins with a header."""
    seconds, nanoseconds = _STAMP.unpack_from(data, _STAMP_OFFSET)
    return int(seconds) * _NS_PER_S + int(nanoseconds)


def depth_of(image: Any) -> NDArray[np.float32]:  # noqa: ANN401
    """Return (H, W) float32 metres, NaN where invalid, of a 32FC1 [m] or 16UC1 [mm] image.

    Raises:
        ValueError: another encoding.
    """
    if image.encoding == "32FC1":
        depth = _pixels(image, np.dtype("<f4"), 1).astype(np.float32)
    elif image.encoding == "16UC1":
        depth = _pixels(image, np.dtype("<u2"), 1).astype(np.float32) / np.float32(1000)
    else:
        raise ValueError(f"depth image has encoding '{image.encoding}'; read are 32FC1 and 16UC1")
    depth[~valid_depth(depth)] = np.nan
    return depth


def color_of(image: Any) -> NDArray[np.uint8] | None:  # noqa: ANN401
    """Return (H, W, 3) uint8 RGB of an rgb8 or bgr8 image; None for other encodings."""
    if image.encoding not in ("rgb8", "bgr8"):
        return None
    pixels: NDArray[np.uint8] = _pixels(image, np.dtype(np.uint8), 3)
    return pixels if image.encoding == "rgb8" else np.ascontiguousarray(pixels[..., ::-1])


def points_of(cloud: Any) -> NDArray[np.float32]:  # noqa: ANN401
    """Return (H, W, 3) float32 x, y, z of an organised cloud."""
    offsets = {entry.name: entry.offset for entry in cloud.fields}
    layout = np.dtype(
        {
            "names": ["x", "y", "z"],
            "formats": ["<f4"] * 3,
            "offsets": [offsets[name] for name in "xyz"],
            "itemsize": cloud.point_step,
        }
    )
    table = np.frombuffer(cloud.data, layout, cloud.height * cloud.width)
    points = np.stack([table[name] for name in "xyz"], axis=-1)
    return points.reshape(cloud.height, cloud.width, 3)


def _pixels(image: Any, dtype: np.dtype[Any], channels: int) -> NDArray[Any]:  # noqa: ANN401
    row = image.width * channels * dtype.itemsize
    rows = np.frombuffer(image.data, np.uint8, image.step * image.height)
    flat = np.ascontiguousarray(rows.reshape(image.height, image.step)[:, :row]).view(dtype)
    return flat if channels == 1 else flat.reshape(image.height, image.width, channels)
