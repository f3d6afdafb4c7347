"""Where clouds and cameras stand in the world, as far as transforms and frames tell."""

from __future__ import annotations

import threading

import numpy as np
from rclpy.node import Node
from sensorium_ros.msg import RgbdFrame

from sensorium.poses import Float64
from sensorium.ros.convert.header import stamp_from_time
from sensorium.ros.convert.pose import matrix_from_pose
from sensorium.ros.tf import TransformBuffer, TransformError, TransformListener

# Optical axes (x right, y down, z forward) upright in the world (x forward, y left, z up), at eye
# height: where things are shown whose place is not known.
_UPRIGHT = np.array(((0.0, 0, 1, 0), (-1, 0, 0, 0), (0, -1, 0, 1), (0, 0, 0, 1)))


class Places:
    """Poses in the world by frame and stamp: from /tf, else from the frames of the cameras.

    Args:
        node: the node.
        world_frame: fixed frame of the page.
        timeout_s: how long to wait for transforms that are under way [s].
    """

    def __init__(self, node: Node, world_frame: str, timeout_s: float) -> None:
        self._world_frame, self._timeout_s = world_frame, timeout_s
        self._transforms = TransformBuffer()
        # Apart, because a frame on /tf may have another parent there.
        self._frames = TransformBuffer()
        self._problems: dict[str, str] = {}
        self._lock = threading.Lock()
        self._listener: TransformListener | None = None
        try:
            self._listener = TransformListener(node, self._transforms)
        except ImportError as error:
            self._problems["/tf"] = f"tf2_msgs is not installed, /tf is not heard: {error}"

    def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def problems(self) -> list[str]:
        """What is shown in a wrong place, and why."""
        with self._lock:
            return list(self._problems.values())

    def remember(self, message: RgbdFrame) -> None:
        """Keep where a camera stood when it took a frame, where the frame says so.

        Raises:
            ConversionError: the pose has non-finite numbers or a zero quaternion.
        """
        if message.has_pose and message.world_frame == self._world_frame:
            self._frames.set(
                self._world_frame,
                message.header.frame_id,
                stamp_from_time(message.header.stamp),
                matrix_from_pose(message.world_from_camera),
                is_static=False,
            )

    def world_from(self, frame_id: str, stamp_ns: int) -> Float64:
        """Return ``world_from_<frame_id>`` (4, 4) at a stamp; upright at 1 m where unknown."""
        if frame_id == self._world_frame:
            return np.eye(4)
        for buffer, timeout_s in ((self._frames, 0.0), (self._transforms, self._timeout_s)):
            try:
                pose = buffer.lookup(self._world_frame, frame_id, stamp_ns, timeout_s)
            except TransformError as error:
                problem = f"'{frame_id}' is not in its place: {error}"
                continue
            self._note(frame_id, "")
            return pose
        self._note(frame_id, problem)
        return _UPRIGHT

    def _note(self, frame_id: str, problem: str) -> None:
        with self._lock:
            if problem:
                self._problems[frame_id] = problem
            else:
                self._problems.pop(frame_id, None)
