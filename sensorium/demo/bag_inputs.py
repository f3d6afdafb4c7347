"""Which topics of a foreign bag are the camera: RgbdFrame messages, or those of a driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rosbags.typesys import Stores, get_typestore

from sensorium.bags import BagReader, BagTopic

_RGBD = "sensorium_ros/msg/RgbdFrame"
_IMAGE = "sensor_msgs/msg/Image"
_INFO = "sensor_msgs/msg/CameraInfo"
_TF = "tf2_msgs/msg/TFMessage"
# Preferred first: depth on the colour pixels needs no registration.
_DEPTH_WORDS = ("aligned_depth", "depth_registered", "depth")
_COLOR_WORDS = ("color", "rgb")
_FIXED_FRAMES = ("map", "odom", "world")
_TRUTH = "/ground_truth/depth"


class BagInputsError(ValueError):
    """A bag that the demonstration cannot use; the text names what it holds and what is needed."""


@dataclass(frozen=True, slots=True)
class DriverTopics:
    """Image topics of a camera driver and their CameraInfo topics; colour may be "" twice."""

    color: str
    color_info: str
    depth: str
    depth_info: str


@dataclass(frozen=True, slots=True)
class BagInputs:
    """What is replayed.

    Attributes:
        rgbd_topic: topic of RgbdFrame messages, or "" when `driver` is to be joined.
        driver: topics of a driver, or None.
        replayed: every topic to replay: those of the camera, transforms, exact depth.
        map_frame: fixed frame in which the map is fused.
        frames: frames in the bag.
        duration_s: length of the bag [s].
    """

    rgbd_topic: str
    driver: DriverTopics | None
    replayed: tuple[str, ...]
    map_frame: str
    frames: int
    duration_s: float


def bag_inputs(path: Path) -> BagInputs:
    """Return the camera of a bag: the first RgbdFrame topic, else a driver's depth and colour.

    Raises:
        BagError: the bag cannot be read.
        BagInputsError: it holds no depth with its CameraInfo.
    """
    with BagReader(path) as bag:
        topics = {name: topic for name, topic in bag.topics.items() if topic.message_count}
        transforms = [name for name, topic in topics.items() if topic.type_name == _TF]
        rgbd = sorted(name for name, topic in topics.items() if topic.type_name == _RGBD)
        if rgbd:
            truth = rgbd[0].rpartition("/")[0] + _TRUTH
            extra = [truth] if truth in topics else []
            return BagInputs(
                rgbd[0], None, (rgbd[0], *extra, *transforms), _world_frame(bag, rgbd[0]),
                topics[rgbd[0]].message_count, bag.duration_s,
            )  # fmt: skip
        driver = driver_topics(topics)
        chosen = (driver.color, driver.color_info, driver.depth, driver.depth_info)
        return BagInputs(
            "", driver, (*(name for name in chosen if name), *transforms),
            _fixed_frame(bag, transforms), topics[driver.depth].message_count, bag.duration_s,
        )  # fmt: skip


def driver_topics(topics: Mapping[str, BagTopic]) -> DriverTopics:
    """Return the depth image, the colour image and their CameraInfo topics.

    Raises:
        BagInputsError: there is no depth image with a CameraInfo beside it.
    """
    images = [name for name, topic in topics.items() if topic.type_name == _IMAGE]
    with_info = {name: info for name in sorted(images) if (info := _info_of(name, topics))}
    depth = _first(with_info, _DEPTH_WORDS)
    if not depth:
        raise BagInputsError(
            f"no topic '{_RGBD}' and no depth image (sensor_msgs/Image whose name has 'depth') "
            "with its camera_info in the bag; it holds "
            + ", ".join(f"{name} ({topic.type_name})" for name, topic in sorted(topics.items()))
        )
    color = _first([name for name in with_info if "depth" not in name], _COLOR_WORDS)
    return DriverTopics(color, with_info.get(color, ""), depth, with_info[depth])


def _info_of(image: str, topics: Mapping[str, BagTopic]) -> str:
    name = image.rpartition("/")[0] + "/camera_info"
    return name if name in topics and topics[name].type_name == _INFO else ""


def _first(names: Mapping[str, str] | list[str], words: tuple[str, ...]) -> str:
    return next((name for word in words for name in names if word in name), "")


def _world_frame(bag: BagReader, topic: str) -> str:
    """Return the fixed frame of the first RgbdFrame with a pose; "map" when none has one."""
    from sensorium.bags.decoding import MessageDecoder

    decoder = MessageDecoder(bag.topics)
    for message in bag.messages([topic]):
        frame = decoder.decoded(message)
        if frame.has_pose:
            return str(frame.world_frame)
    return "map"


def _fixed_frame(bag: BagReader, transforms: list[str]) -> str:
    """Return the usual fixed frame that a bag's transforms know, else one without a parent."""
    store = get_typestore(Stores.ROS2_KILTED)
    parents: set[str] = set()
    children: set[str] = set()
    for message in bag.messages(transforms):
        decoded = store.deserialize_cdr(message.data, _TF)
        for transform in decoded.transforms:  # type: ignore[attr-defined]
            parents.add(transform.header.frame_id)
            children.add(transform.child_frame_id)
    roots = parents - children
    known = [name for name in _FIXED_FRAMES if name in parents]
    return known[0] if known else min(roots, default="map")
