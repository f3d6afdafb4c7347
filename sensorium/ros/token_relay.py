"""Hands geometry tokens on, changed: for measuring what a policy does with wrong or no geometry."""

from __future__ import annotations

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from sensorium_ros.msg import TokensInfo

from sensorium.ros.convert.header import stamp_from_time
from sensorium.ros.convert.pointcloud import (
    cloud_from_points,
    field_from_cloud,
    points_from_cloud,
)
from sensorium.ros.qos import LATCHED_QOS, qos_profile

__all__ = ["CHANGES", "TokenRelay"]

CHANGES = ("shuffled", "empty")


class TokenRelay:
    """Subscribes to tokens and their TokensInfo and publishes both under another name.

    Args:
        node: The node that carries subscriptions and publishers.
        source: Topic of the tokens.
        target: Topic of the changed tokens.
        change: "shuffled": positions change places among the tokens, differently in every message;
            "empty": no token has a position.

    Raises:
        ValueError: Another change.
    """

    def __init__(self, node: Node, source: str, target: str, change: str) -> None:
        if change not in CHANGES:
            raise ValueError(f"tokens cannot be '{change}' on the way; there are {CHANGES}")
        self._change = change
        reliable, latched = qos_profile("reliable", 10), qos_profile(LATCHED_QOS)
        self._tokens = node.create_publisher(PointCloud2, target, reliable)
        self._info = node.create_publisher(TokensInfo, f"{target}_info", latched)
        node.create_subscription(TokensInfo, f"{source}_info", self._info.publish, latched)
        node.create_subscription(PointCloud2, source, self._hand_on, reliable)

    def _hand_on(self, message: PointCloud2) -> None:
        stamp_ns = stamp_from_time(message.header.stamp)
        points = np.array(points_from_cloud(message), dtype=np.float32)
        if self._change == "empty":
            points[:] = np.nan
        else:
            order = np.random.default_rng(stamp_ns).permutation(points.size // 3)
            points = points.reshape(-1, 3)[order].reshape(points.shape)
        self._tokens.publish(
            cloud_from_points(
                points, stamp_ns, message.header.frame_id,
                confidence=field_from_cloud(message, "confidence"),
                features=field_from_cloud(message, "feature"),
            )
        )  # fmt: skip
