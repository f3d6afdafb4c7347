"""From received RGB-D frames to views that a backend may use: stamp, pose, validator."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node

from sensorium.frames import RgbdFrame
from sensorium.geometry.views import ViewRefused, ViewValidator
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.diagnostics import Status
from sensorium.ros.pose_source import PoseSource
from sensorium.ros.rgbd_input import ReceivedFrame, as_frame
from sensorium.ros.stamps import StampGuard, StampVerdict
from sensorium.ros.tf import TransformBuffer


class ViewReader:
    """Reads frames of several topics.

    Args:
        node: the node, for its log.
        transforms: where poses are looked up.
        on_restart: called when the clock went back, before the first frame of the new time.
    """

    def __init__(
        self, node: Node, transforms: TransformBuffer, on_restart: Callable[[], None]
    ) -> None:
        self._node = node
        self._transforms = transforms
        self._on_restart = on_restart
        self._poses = PoseSource(node, transforms)
        self._validator = ViewValidator()
        self._guards: dict[str, StampGuard] = {}
        self._clock_restarts = 0

    def expect(self, needs_depth: bool) -> None:
        """Begin anew for a backend that needs depth or does not."""
        self._validator = ViewValidator(needs_depth)

    def read(
        self, topic: str, received: ReceivedFrame, map_frame: str, tf_timeout_s: float
    ) -> RgbdFrame:
        """Return the view with its pose in the map, where that is known.

        Raises:
            ViewRefused: the frame must not be used; reason "unusable" where the message is broken.
        """
        try:
            frame = as_frame(received)
            if self._guards.setdefault(topic, StampGuard()).check(frame.stamp_ns) is (
                StampVerdict.RESTART
            ):
                self._restart(topic)
            return self._validator.checked(self._poses.placed(frame, map_frame, tf_timeout_s))
        except ConversionError as error:
            raise ViewRefused("unusable", str(error)) from error

    def describe(self, status: Status) -> None:
        """Add restarts of the clock, and warn of cameras without a pose."""
        status.value("clock_restarts", self._clock_restarts)
        self._poses.describe(status)

    def _restart(self, topic: str) -> None:
        self._node.get_logger().warning(f"stamps on {topic} went back: time has started anew")
        self._clock_restarts += 1
        self._validator.reset()
        self._guards = {topic: self._guards[topic]}
        self._transforms.clear()
        self._on_restart()
