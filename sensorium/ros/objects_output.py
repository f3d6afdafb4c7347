"""Meaning on geometry out of a node: labelled points, objects, markers, and vision_msgs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from sensorium_ros.msg import Objects
from visualization_msgs.msg import MarkerArray

from sensorium.objects.labelled_view import LabelledView
from sensorium.objects.object_map import KnownObject
from sensorium.ros.convert.labelled_view import cloud_from_view
from sensorium.ros.convert.objects import (
    detections_from_objects,
    markers_from_objects,
    objects_message,
)
from sensorium.ros.convert.segments import vision_messages
from sensorium.ros.qos import OUTPUT_QOS, overriding_options, qos_profile


class ObjectsOutput:
    """Publishes under the node's own name; a message is only made when somebody listens.

    Topics: ``~/points``, ``~/objects``, ``~/markers``, and ``~/detections`` where vision_msgs is
    installed.

    Args:
        node: the node.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._vision = vision_messages()
        topics: list[tuple[str, Any]] = [
            ("points", PointCloud2),
            ("objects", Objects),
            ("markers", MarkerArray),
        ]
        if self._vision is not None:
            topics.append(("detections", self._vision.Detection3DArray))
        self._publishers = {
            name: node.create_publisher(
                message_type, f"~/{name}", qos_profile(OUTPUT_QOS),
                qos_overriding_options=overriding_options(),
            )
            for name, message_type in topics
        }  # fmt: skip

    @property
    def has_vision_messages(self) -> bool:
        """True when ``~/detections`` is published."""
        return self._vision is not None

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def publish_points(self, view: LabelledView, original: PointCloud2) -> None:
        """Publish the labelled cloud with stamp and frame of the original."""
        self._publish({"points": lambda: cloud_from_view(view, original)})

    def publish_objects(
        self, known: Sequence[KnownObject], stamp_ns: int, map_frame: str, vocabulary_version: int
    ) -> None:
        """Publish the objects as known at a stamp [ns], in the map frame."""
        makers: dict[str, Callable[[], Any]] = {
            "objects": lambda: objects_message(known, stamp_ns, map_frame, vocabulary_version),
            "markers": lambda: markers_from_objects(known, stamp_ns, map_frame),
        }
        vision = self._vision
        if vision is not None:
            makers["detections"] = lambda: detections_from_objects(
                vision, known, stamp_ns, map_frame
            )
        self._publish(makers)

    def _publish(self, makers: dict[str, Callable[[], Any]]) -> None:
        for name, make in makers.items():
            if self._publishers[name].get_subscription_count() > 0:
                self._publishers[name].publish(make())
