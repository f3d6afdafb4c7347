"""Which pixels show the robot itself: capsules from its URDF, posed by TF at the image's stamp."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import String

from sensorium.configuration import parameter
from sensorium.geometry.backend import GeometryResult
from sensorium.geometry.capsules import UrdfError, capsules_from_urdf
from sensorium.geometry.filters import SelfFilter
from sensorium.poses import Float64
from sensorium.ros.diagnostics import Status
from sensorium.ros.qos import LATCHED_QOS, qos_profile
from sensorium.ros.tf import TransformBuffer, TransformError


@dataclass(frozen=True, slots=True)
class RobotFilterConfiguration:
    """How the robot is kept out of the map."""

    enabled: bool = parameter(False, "Keep the robot itself out of the map.")
    padding_m: float = parameter(
        0.03, "Margin around the robot's links [m].", minimum=0.0, maximum=1.0
    )
    description_topic: str = parameter(
        "robot_description", "Latched std_msgs/String with the URDF (robot_state_publisher)."
    )
    tf_timeout_s: float = parameter(
        0.1, "How long to wait for the transforms of the links [s].", minimum=0.0, maximum=5.0
    )


class RobotFilter:
    """Waits for the robot's description, then masks the robot in every view.

    Args:
        node: the node on which to subscribe.
        configuration: see :class:`RobotFilterConfiguration`.
        transforms: poses of the links.
    """

    def __init__(
        self, node: Node, configuration: RobotFilterConfiguration, transforms: TransformBuffer
    ) -> None:
        self._node = node
        self._configuration = configuration
        self._transforms = transforms
        self._filter: SelfFilter | None = None
        self._problem = f"no robot description has arrived on '{configuration.description_topic}'"
        self._pose_problem = ""
        self._skipped: tuple[str, ...] = ()
        self._close: Callable[[], object] = lambda: None
        if configuration.enabled:
            subscription = node.create_subscription(
                String, configuration.description_topic, self._describe_robot,
                qos_profile(LATCHED_QOS),
            )  # fmt: skip
            self._close = lambda: node.destroy_subscription(subscription)

    def close(self) -> None:
        """Stop listening."""
        self._close()
        self._close = lambda: None

    def on_robot(self, result: GeometryResult) -> NDArray[np.bool_] | None:
        """Return the (H, W) pixels that show the robot; None when the filter is off.

        Raises:
            TransformError: the robot or the pose of a link at this stamp is unknown. The view must
                not be fused then: it would put the robot into the map.
        """
        if not self._configuration.enabled:
            return None
        if self._filter is None:
            raise TransformError(self._problem)
        try:
            poses = self._link_poses(self._filter, result)
        except TransformError as error:
            self._pose_problem = f"a link has no pose, nothing is fused: {error}"
            raise
        self._pose_problem = ""
        return self._filter.masked(result.points_m, result.camera, poses).on_robot

    def _link_poses(self, robot: SelfFilter, result: GeometryResult) -> dict[str, Float64]:
        frame, timeout_s = result.view.optical_frame, self._configuration.tf_timeout_s
        return {
            link: self._transforms.lookup(frame, link, result.stamp_ns, timeout_s)
            for link in robot.links
        }

    def describe(self, status: Status) -> None:
        """Add what the filter knows and lacks to a status."""
        if not self._configuration.enabled:
            return
        if self._filter is None:
            status.warn(f"self-filter: {self._problem}")
        elif self._pose_problem:
            status.warn(f"self-filter: {self._pose_problem}")
        for text in self._skipped:
            status.warn(f"self-filter: {text}")

    def _describe_robot(self, message: String) -> None:
        try:
            robot = capsules_from_urdf(message.data)
            self._filter = SelfFilter(robot.capsules, self._configuration.padding_m)
        except UrdfError as error:
            self._filter = None
            self._problem = str(error)
            self._node.get_logger().error(f"self-filter: {error}")
            return
        self._skipped = tuple(robot.skipped)
        for text in self._skipped:
            self._node.get_logger().warning(f"self-filter: {text}")
