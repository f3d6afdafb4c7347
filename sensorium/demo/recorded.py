"""Reads back what a run recorded: frames with their geometry and truth, and when each arrived."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.bags import BagReader
from sensorium.bags.decoding import (
    MessageDecoder,
    color_of,
    depth_of,
    header_stamp_ns,
    points_of,
)
from sensorium.demo.transforms import RecordedTransforms
from sensorium.poses import Float64, pose_from_quaternion

_TF_TOPICS = ("/tf", "/tf_static")


@dataclass(slots=True, eq=False)
class RecordedFrame:
    """What was published about one moment.

    Attributes:
        stamp_ns: stamp of the frame [ns].
        K: (3, 3) intrinsics of the depth [px].
        depth_m: (H, W) float32 depth that the camera sent [m]; NaN where invalid.
        color: (H, W, 3) uint8 RGB on the same pixels, or None.
        world_from_camera: (4, 4) pose in the map frame, or None when it is not known.
        points_m: (H, W, 3) float32 of the published cloud, optical frame [m], or None.
        points_depth_m: (H, W) float32 of the published depth image [m], or None.
        truth_depth_m: (H, W) float32 exact depth [m], or None.
    """

    stamp_ns: int
    K: Float64
    depth_m: NDArray[np.float32]
    color: NDArray[np.uint8] | None
    world_from_camera: Float64 | None
    points_m: NDArray[np.float32] | None = None
    points_depth_m: NDArray[np.float32] | None = None
    truth_depth_m: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class RecordedTopics:
    """Names of the topics that are judged, and the frame of the map.

    `color` is used where frames carry no colour, transforms where they carry no pose.
    """

    map_frame: str
    rgbd: str
    points: str
    depth: str
    truth: str
    color: str


@dataclass(slots=True)
class RecordedRun:
    """The judged part of a recording.

    Attributes:
        frames: a sample of the frames that have points, evenly over the run.
        messages: number of messages by topic.
        frames_age_ms: (N,) time from the stamp of each frame to its arrival at the recorder [ms].
        points_age_ms: (N,) time from the stamp of each frame to the arrival of its points at the
            recorder [ms].
        color: (H, W, 3) colour image nearest to the middle frame when frames carry none, or None.
    """

    frames: list[RecordedFrame]
    messages: dict[str, int]
    frames_age_ms: NDArray[np.float64]
    points_age_ms: NDArray[np.float64]
    color: NDArray[np.uint8] | None = None
    notes: list[str] = field(default_factory=list)


def read_run(bag_path: Path, topics: RecordedTopics, most_frames: int) -> RecordedRun:
    """Read a recording in two passes: when everything arrived, then a sample of the frames.

    Args:
        bag_path: the recorded bag.
        topics: what to look for.
        most_frames: size of the sample.

    Raises:
        BagError: the bag cannot be read.
    """
    with BagReader(bag_path) as bag:
        arrivals = _arrivals(bag, topics)
        stamps = sorted(set(arrivals[topics.rgbd]) & set(arrivals[topics.points]))
        step = max(1, -(-len(stamps) // most_frames))
        # Off the ends: the first frames of a run see the least.
        sample = set(stamps[step // 2 :: step])
        frames = _frames(bag, topics, sample)
        run = RecordedRun(
            [frames[stamp] for stamp in sorted(frames)],
            {name: topic.message_count for name, topic in bag.topics.items()},
            _ages_ms(arrivals[topics.rgbd]),
            _ages_ms(arrivals[topics.points]),
            notes=list(bag.notes),
        )
        if run.frames and all(frame.color is None for frame in run.frames):
            run.color = _color_near(bag, topics.color, run.frames[len(run.frames) // 2].stamp_ns)
        return run


def _arrivals(bag: BagReader, topics: RecordedTopics) -> dict[str, dict[int, int]]:
    """Return {topic: {stamp of the header: time of recording}} [ns]."""
    arrivals: dict[str, dict[int, int]] = defaultdict(dict)
    for message in bag.messages([name for name in (topics.rgbd, topics.points) if name]):
        arrivals[message.topic].setdefault(header_stamp_ns(message.data), message.stamp_ns)
    return arrivals


def _ages_ms(arrivals: dict[int, int]) -> NDArray[np.float64]:
    return np.array([(at - stamp) / 1e6 for stamp, at in arrivals.items()], np.float64)


def _frames(bag: BagReader, topics: RecordedTopics, sample: set[int]) -> dict[int, RecordedFrame]:
    decoder = MessageDecoder(bag.topics)
    frames: dict[int, RecordedFrame] = {}
    others: dict[str, dict[int, Any]] = defaultdict(dict)
    optical_frames: dict[int, str] = {}
    wanted = [topics.rgbd, topics.points, topics.depth, topics.truth]
    for message in bag.messages([name for name in wanted if name in bag.topics]):
        stamp_ns = header_stamp_ns(message.data)
        if stamp_ns not in sample:
            continue
        decoded = decoder.decoded(message)
        if message.topic == topics.rgbd:
            frame = _frame(decoded, stamp_ns, topics.map_frame)
            if frame is not None:
                frames[stamp_ns] = frame
                optical_frames[stamp_ns] = decoded.header.frame_id
        else:
            others[message.topic][stamp_ns] = decoded
    for stamp_ns, frame in frames.items():
        cloud = others[topics.points].get(stamp_ns)
        frame.points_m = None if cloud is None else points_of(cloud)
        depth, truth = (others[name].get(stamp_ns) for name in (topics.depth, topics.truth))
        frame.points_depth_m = None if depth is None else depth_of(depth)
        frame.truth_depth_m = None if truth is None else depth_of(truth)
    if any(frame.world_from_camera is None for frame in frames.values()):
        transforms = _transforms(bag, decoder)
        for stamp_ns, frame in frames.items():
            if frame.world_from_camera is None:
                frame.world_from_camera = transforms.pose(
                    topics.map_frame, optical_frames[stamp_ns], stamp_ns
                )
    return frames


def _transforms(bag: BagReader, decoder: MessageDecoder) -> RecordedTransforms:
    transforms = RecordedTransforms()
    for message in bag.messages([name for name in _TF_TOPICS if name in bag.topics]):
        transforms.add(decoder.decoded(message), message.topic == _TF_TOPICS[1])
    return transforms


def _frame(message: Any, stamp_ns: int, map_frame: str) -> RecordedFrame | None:  # noqa: ANN401
    if not message.has_depth:
        return None
    pose = None
    if message.has_pose and message.world_frame == map_frame:
        p, q = message.world_from_camera.position, message.world_from_camera.orientation
        pose = pose_from_quaternion((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
    color = color_of(message.color) if message.has_color else None
    K = np.asarray(message.depth_info.k, np.float64).reshape(3, 3)
    return RecordedFrame(stamp_ns, K, depth_of(message.depth), color, pose)


def _color_near(bag: BagReader, topic: str, stamp_ns: int) -> NDArray[np.uint8] | None:
    if topic not in bag.topics:
        return None
    decoder = MessageDecoder(bag.topics)
    messages = bag.messages([topic])
    nearest = min(
        messages, key=lambda message: abs(header_stamp_ns(message.data) - stamp_ns), default=None
    )
    return None if nearest is None else color_of(decoder.decoded(nearest))
