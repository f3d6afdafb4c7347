"""Geometry out of a node: points, depth, tokens and the map as standard messages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from sensorium_ros.msg import TokensInfo

from sensorium.geometry.backend import GeometryResult
from sensorium.geometry.surface import MapPoints
from sensorium.geometry.tokens import TokenLayout
from sensorium.ros.convert.camera_info import info_from_camera
from sensorium.ros.convert.header import header
from sensorium.ros.convert.image import image_from_depth
from sensorium.ros.convert.pointcloud import cloud_from_points
from sensorium.ros.qos import LATCHED_QOS, OUTPUT_QOS, overriding_options, qos_profile


class GeometryOutput:
    """Publishes under the node's own name; a message is only made when somebody listens.

    Topics: ``~/points``, ``~/depth``, ``~/camera_info``, ``~/tokens``, ``~/tokens_info`` (latched),
    ``~/map`` (latched).
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publishers = {
            name: node.create_publisher(
                message_type, f"~/{name}", qos_profile(qos),
                qos_overriding_options=overriding_options(),
            )
            for name, message_type, qos in (
                ("points", PointCloud2, OUTPUT_QOS),
                ("depth", Image, OUTPUT_QOS),
                ("camera_info", CameraInfo, OUTPUT_QOS),
                ("tokens", PointCloud2, OUTPUT_QOS),
                ("tokens_info", TokensInfo, LATCHED_QOS),
                ("map", PointCloud2, LATCHED_QOS),
            )
        }  # fmt: skip

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def publish(self, result: GeometryResult) -> None:
        """Publish the geometry of one view, with the view's stamp and the result's frame."""
        stamp_ns, frame_id = result.stamp_ns, result.frame_id
        if self._wanted("points"):
            self._publishers["points"].publish(
                cloud_from_points(
                    result.points_m, stamp_ns, frame_id,
                    colors=result.color, confidence=result.confidence,
                )
            )  # fmt: skip
        if self._wanted("depth"):
            self._publishers["depth"].publish(image_from_depth(result.depth_m, stamp_ns, frame_id))
        if self._wanted("camera_info"):
            self._publishers["camera_info"].publish(
                info_from_camera(result.camera, stamp_ns, frame_id)
            )
        tokens = result.tokens
        if tokens is not None and self._wanted("tokens"):
            grid = (tokens.rows, tokens.columns)
            self._publishers["tokens"].publish(
                cloud_from_points(
                    tokens.xyz_m.reshape(*grid, 3), stamp_ns, frame_id,
                    confidence=tokens.confidence.reshape(grid),
                    features=tokens.features.reshape(*grid, -1),
                )
            )  # fmt: skip

    def announce_tokens(self, layout: TokenLayout, stamp_ns: int) -> None:
        """Publish what the tokens are made of; late subscribers get it too."""
        self._publishers["tokens_info"].publish(
            TokensInfo(
                header=header(stamp_ns, ""),
                backend=layout.backend,
                weights_sha256=layout.weights_sha256,
                rows=layout.rows,
                columns=layout.columns,
                channels=layout.channels,
                channel_names=list(layout.channel_names),
                window_views=layout.window_views,
                hints=list(layout.hints),
            )
        )

    def publish_map(self, points: MapPoints, stamp_ns: int, map_frame: str) -> None:
        """Publish the fused map; late subscribers get the newest."""
        self._publishers["map"].publish(
            cloud_from_points(
                points.points_m, stamp_ns, map_frame,
                colors=points.colors, confidence=_weight_confidence(points.weights),
            )
        )  # fmt: skip

    def _wanted(self, name: str) -> bool:
        return bool(self._publishers[name].get_subscription_count() > 0)


def _weight_confidence(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    # One good look is a half, four are 0.8: confidence of a map point grows with what saw it.
    confidence: NDArray[np.float32] = weights / (weights + np.float32(1))
    return confidence
