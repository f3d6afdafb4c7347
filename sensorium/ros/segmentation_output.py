"""Segmentation out of a node: label images, segments, an overlay, and vision_msgs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import Image
from sensorium_ros.msg import Segments

from sensorium.ros.color_input import Picture
from sensorium.ros.convert.image import image_from_color, image_from_labels
from sensorium.ros.convert.segments import (
    detections_from_segmentation,
    label_info_from_segmentation,
    segments_from_segmentation,
    vision_messages,
)
from sensorium.ros.qos import LATCHED_QOS, OUTPUT_QOS, overriding_options, qos_profile
from sensorium.segmentation.labels import (
    class_labels,
    confidence_bytes,
    overlay,
    packed_panoptic,
    semantic_labels,
)
from sensorium.segmentation.segmenter import Segmentation

# Where the class of each pixel in ~/semantic comes from.
SEMANTIC_SOURCES = ("panoptic", "scores")


class SegmentationOutput:
    """Publishes under the node's own name; a message is only made when somebody listens.

    Topics: ``~/semantic``, ``~/panoptic``, ``~/confidence``, ``~/overlay``, ``~/segments``, and
    ``~/label_info`` (latched) and ``~/detections`` where vision_msgs is installed.

    Args:
        node: the node.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._vision = vision_messages()
        self._announced_version = 0
        topics: list[tuple[str, Any, str]] = [
            ("semantic", Image, OUTPUT_QOS),
            ("panoptic", Image, OUTPUT_QOS),
            ("confidence", Image, OUTPUT_QOS),
            ("overlay", Image, OUTPUT_QOS),
            ("segments", Segments, OUTPUT_QOS),
        ]
        if self._vision is not None:
            topics.append(("label_info", self._vision.LabelInfo, LATCHED_QOS))
            topics.append(("detections", self._vision.Detection2DArray, OUTPUT_QOS))
        self._publishers = {
            name: node.create_publisher(
                message_type, f"~/{name}", qos_profile(qos),
                qos_overriding_options=overriding_options(),
            )
            for name, message_type, qos in topics
        }  # fmt: skip

    @property
    def has_vision_messages(self) -> bool:
        """True when ``~/label_info`` and ``~/detections`` are published."""
        return self._vision is not None

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def publish(
        self, picture: Picture, found: Segmentation, semantic_from: str, *, embeddings: bool = False
    ) -> None:
        """Publish what was found in a picture, with the picture's stamp and frame.

        Args:
            picture: what was segmented.
            found: the result.
            semantic_from: "panoptic" (class of the pixel's segment) or "scores" (class with the
                highest semantic score; every pixel gets one).
            embeddings: fill in ``Segment.embedding``.
        """
        stamp_ns, frame_id = picture.stamp_ns, picture.frame_id
        self._announce(found, stamp_ns)
        count = len(found.vocabulary)

        def semantic() -> Any:  # noqa: ANN401 - rclpy has no types that mypy can see
            if semantic_from == "scores":
                labels = class_labels(found.highest_scores, count)
            else:
                labels = semantic_labels(found.segment_ids, found.segments, count)
            return image_from_labels(labels, stamp_ns, frame_id)

        makers: dict[str, Callable[[], Any]] = {
            "semantic": semantic,
            "panoptic": lambda: image_from_labels(
                packed_panoptic(found.segment_ids, found.segments), stamp_ns, frame_id
            ),
            "confidence": lambda: image_from_labels(
                confidence_bytes(found.confidence), stamp_ns, frame_id
            ),
            "overlay": lambda: image_from_color(
                overlay(picture.color, found.segment_ids, found.segments), stamp_ns, frame_id
            ),
            "segments": lambda: segments_from_segmentation(
                found, stamp_ns, frame_id, embeddings=embeddings
            ),
        }
        vision = self._vision
        if vision is not None:
            makers["detections"] = lambda: detections_from_segmentation(
                vision, found, stamp_ns, frame_id
            )
        for name, make in makers.items():
            if self._publishers[name].get_subscription_count() > 0:
                self._publishers[name].publish(make())

    def _announce(self, found: Segmentation, stamp_ns: int) -> None:
        """Publish the class list before the first picture that is labelled with it."""
        version = found.vocabulary.version
        if self._vision is not None and version != self._announced_version:
            self._publishers["label_info"].publish(
                label_info_from_segmentation(self._vision, found, stamp_ns)
            )
            self._announced_version = version
