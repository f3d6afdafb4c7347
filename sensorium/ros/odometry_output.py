"""Poses that a backend estimated, as nav_msgs/Odometry and, when asked, on /tf."""

from __future__ import annotations

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.node import Node

from sensorium.geometry.backend import UNSCALED, GeometryResult
from sensorium.ros.convert.header import header
from sensorium.ros.convert.pose import pose_from_matrix, stamped_transform
from sensorium.ros.qos import OUTPUT_QOS, overriding_options, qos_profile

# Of a twist that is not known, as robot_localization and others read it.
_UNKNOWN = -1.0


class OdometryOutput:
    """Publishes ``~/odometry``: the pose of an optical frame, with covariance, and no twist.

    Args:
        node: the node.
        publish_tf: also publish the pose on /tf, child is the optical frame.
    """

    def __init__(self, node: Node, *, publish_tf: bool) -> None:
        self._node = node
        self._odometry = node.create_publisher(
            Odometry, "~/odometry", qos_profile(OUTPUT_QOS),
            qos_overriding_options=overriding_options(),
        )  # fmt: skip
        self._tf = None
        if publish_tf:
            from tf2_msgs.msg import TFMessage

            self._tf = node.create_publisher(TFMessage, "/tf", 100)

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (self._odometry, self._tf):
            if publisher is not None:
                self._node.destroy_publisher(publisher)

    def publish(self, result: GeometryResult) -> None:
        """Publish the estimated pose of a view, if it has one."""
        estimated = result.estimated_pose
        if estimated is None:
            return
        frame = estimated.reference_frame
        # Lengths without metres stay in frames of their own, on both ends.
        child = result.view.optical_frame + (UNSCALED if frame.endswith(UNSCALED) else "")
        message = Odometry(header=header(result.stamp_ns, frame), child_frame_id=child)
        message.pose.pose = pose_from_matrix(estimated.reference_from_camera)
        message.pose.covariance = np.ascontiguousarray(estimated.covariance).ravel()
        message.twist.covariance[0] = _UNKNOWN
        self._odometry.publish(message)
        if self._tf is not None:
            from tf2_msgs.msg import TFMessage

            transform = stamped_transform(
                estimated.reference_from_camera, result.stamp_ns, frame, child
            )
            self._tf.publish(TFMessage(transforms=[transform]))
