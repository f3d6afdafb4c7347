"""The pose of a frame in the map: from the frame itself, or from TF at the frame's stamp."""

from __future__ import annotations

import dataclasses

from rclpy.node import Node

from sensorium.frames import RgbdFrame
from sensorium.ros.diagnostics import Status
from sensorium.ros.tf import TransformBuffer, TransformError


class PoseSource:
    """Gives frames their pose in the map and remembers which cameras have none.

    Args:
        node: the node, for its log.
        transforms: where transforms are looked up, at the frame's own stamp.
    """

    def __init__(self, node: Node, transforms: TransformBuffer) -> None:
        self._node = node
        self._transforms = transforms
        self._problems: dict[str, str] = {}

    def placed(self, frame: RgbdFrame, map_frame: str, timeout_s: float) -> RgbdFrame:
        """Return the frame with its pose in `map_frame`; without a pose where that is unknown.

        A pose that came with the frame wins over TF; one in another fixed frame is carried over by
        TF.

        Args:
            frame: the frame.
            map_frame: fixed frame wanted.
            timeout_s: how long to wait for transforms that are under way [s].
        """
        given = frame.world_from_camera
        pose = given
        if given is None or frame.world_frame != map_frame:
            source = frame.optical_frame if given is None else frame.world_frame
            try:
                found = self._transforms.lookup(map_frame, source, frame.stamp_ns, timeout_s)
            except TransformError as error:
                text = f"no pose of '{frame.optical_frame}', nothing is fused: {error}"
                self._problems[frame.camera_name] = text
                self._node.get_logger().warning(text, throttle_duration_sec=5.0)
                return dataclasses.replace(frame, world_frame="", world_from_camera=None)
            pose = found if given is None else found @ given
        self._problems.pop(frame.camera_name, None)
        return dataclasses.replace(frame, world_frame=map_frame, world_from_camera=pose)

    def describe(self, status: Status) -> None:
        """Warn of each camera whose newest frame has no pose."""
        status.value("rejected_transforms", self._transforms.rejected)
        for text in tuple(self._problems.values()):
            status.warn(text)
