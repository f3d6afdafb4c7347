"""The bag source: RgbdFrame messages of a recording, read without ROS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.bags import BagError, BagMessage, BagReader
from sensorium.bags.decoding import MessageDecoder, color_of, depth_of, header_stamp_ns
from sensorium.frames import CameraModel, FrameError, RgbdFrame
from sensorium.poses import PoseError, pose_from_quaternion
from sensorium.sources.source import ClosedOnExit, RejectedFrame, SourceError, SourceFrame

_RGBD = "sensorium_ros/msg/RgbdFrame"


class BagSource(ClosedOnExit):
    """Reads the frames of all cameras in a bag, in order of recording.

    Args:
        path: bag folder, or one of its files.

    Raises:
        SourceError: no bag, or one without RgbdFrame messages.
    """

    live = False
    status = ""

    def __init__(self, path: Path | str) -> None:
        try:
            self._bag = BagReader(path)
        except BagError as error:
            raise SourceError(str(error)) from error
        topics = sorted(
            name
            for name, topic in self._bag.topics.items()
            if topic.type_name == _RGBD and topic.message_count
        )
        if not topics:
            held = ", ".join(f"{n} ({t.type_name})" for n, t in sorted(self._bag.topics.items()))
            self._bag.close()
            raise SourceError(
                f"bag '{path}' has no {_RGBD}; it holds {held or 'nothing'}. Play a driver's bag "
                "through rgbd_camera (source topics), record its ~/rgbd, and give that bag"
            )
        self._frames = sum(self._bag.topics[name].message_count for name in topics)
        self._decoder = MessageDecoder(self._bag.topics)
        self._messages: Iterator[BagMessage] = iter(self._bag.messages(topics))
        self._finished = False

    def __len__(self) -> int:
        """Return the number of frames, rejected ones included."""
        return self._frames

    @property
    def finished(self) -> bool:
        """True after the last frame or close()."""
        return self._finished

    def read(self, timeout_s: float = 0.0) -> SourceFrame | RejectedFrame | None:
        """Return the next frame, accepted or rejected, or None when finished; never waits."""
        del timeout_s
        message = None if self._finished else next(self._messages, None)
        if message is None:
            self._finished = True
            return None
        stamp_ns = header_stamp_ns(message.data)
        try:
            return SourceFrame(_frame(self._decoder.decoded(message), stamp_ns))
        except (FrameError, PoseError, ValueError) as error:
            name = f"{message.topic} at {stamp_ns / 1e9:.3f} s"
            return RejectedFrame(stamp_ns, name, "unusable", f"{name}: {error}")

    def close(self) -> None:
        """Close the files."""
        self._finished = True
        self._bag.close()


def _frame(message: Any, stamp_ns: int) -> RgbdFrame:  # noqa: ANN401 - types are made at run time
    color: NDArray[np.uint8] | None = None
    if message.has_color:
        color = color_of(message.color)
        if color is None:
            raise ValueError(
                f"colour image has encoding '{message.color.encoding}'; read are rgb8 and bgr8"
            )
    pose = None
    if message.has_pose:
        p, q = message.world_from_camera.position, message.world_from_camera.orientation
        pose = pose_from_quaternion((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
    return RgbdFrame(
        stamp_ns=stamp_ns,
        camera_name=message.camera_name,
        optical_frame=message.header.frame_id,
        color=color,
        color_camera=_camera(message.color_info) if message.has_color else None,
        depth_m=depth_of(message.depth) if message.has_depth else None,
        depth_camera=_camera(message.depth_info) if message.has_depth else None,
        world_frame=message.world_frame if message.has_pose else "",
        world_from_camera=pose,
    )


def _camera(info: Any) -> CameraModel | None:  # noqa: ANN401
    K = np.asarray(info.k, np.float64).reshape(3, 3)
    if K[0, 0] == 0:
        return None
    return CameraModel(
        info.width, info.height, K, info.distortion_model if any(info.d) else "",
        tuple(float(value) for value in info.d) if any(info.d) else (),
    )  # fmt: skip
