"""Segments as sensorium_ros/Segments, and as vision_msgs where that package is installed."""

from __future__ import annotations

from array import array
from types import ModuleType
from typing import Any

from sensorium_ros.msg import Segment, Segments

from sensorium.ros.convert.header import header
from sensorium.segmentation.labels import panoptic_id
from sensorium.segmentation.segmenter import Segmentation


def vision_messages() -> ModuleType | None:
    """The module vision_msgs.msg, or None where the package is not installed."""
    try:
        import vision_msgs.msg
    except ImportError:
        return None
    module: ModuleType = vision_msgs.msg
    return module


def segments_from_segmentation(
    found: Segmentation, stamp_ns: int, frame_id: str, *, embeddings: bool = False
) -> Segments:
    """Return the segments of a picture with the class list that named them.

    Args:
        found: the result.
        stamp_ns: stamp of the picture [ns].
        frame_id: its frame.
        embeddings: fill in what the segments can be compared with texts by.
    """
    height, width = found.segment_ids.shape
    message = Segments(
        header=header(stamp_ns, frame_id), height=height, width=width,
        vocabulary_version=found.vocabulary.version, class_names=list(found.class_names),
    )  # fmt: skip
    for segment in found.segments:
        x_min, y_min, x_max, y_max = segment.box
        message.segments.append(
            Segment(
                panoptic_id=panoptic_id(segment), class_id=segment.category_id, name=segment.name,
                is_thing=segment.is_thing, score=float(segment.score), area=segment.area,
                x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max,
            )
        )  # fmt: skip
    if embeddings:
        for segment, vector in zip(message.segments, found.embeddings, strict=True):
            segment.embedding = array("f", vector.tobytes())
    return message


def label_info_from_segmentation(vision: ModuleType, found: Segmentation, stamp_ns: int) -> Any:  # noqa: ANN401 - a message of an optional package
    """Return vision_msgs/LabelInfo of the class list that a picture was labelled with.

    The message has no field for a version; ``header.frame_id``, which has no other meaning for a
    class list, is ``vocabulary_<version>``.
    """
    return vision.LabelInfo(
        header=header(stamp_ns, f"vocabulary_{found.vocabulary.version}"),
        class_map=[
            vision.VisionClass(class_id=i, class_name=name)
            for i, name in enumerate(found.class_names)
        ],
        threshold=0.0,
    )


def detections_from_segmentation(
    vision: ModuleType, found: Segmentation, stamp_ns: int, frame_id: str
) -> Any:  # noqa: ANN401
    """Return vision_msgs/Detection2DArray of the things.

    ``id`` is "<vocabulary version>/<panoptic id>", ``class_id`` the name, boxes in pixels.
    """
    array = vision.Detection2DArray(header=header(stamp_ns, frame_id))
    version = found.vocabulary.version
    for segment in found.segments:
        if not segment.is_thing:
            continue
        x_min, y_min, x_max, y_max = segment.box
        detection = vision.Detection2D(
            header=header(stamp_ns, frame_id), id=f"{version}/{panoptic_id(segment)}"
        )
        detection.bbox.center.position.x = (x_min + x_max) / 2
        detection.bbox.center.position.y = (y_min + y_max) / 2
        detection.bbox.size_x = float(x_max - x_min)
        detection.bbox.size_y = float(y_max - y_min)
        result = vision.ObjectHypothesisWithPose()
        result.hypothesis.class_id = segment.name
        result.hypothesis.score = float(segment.score)
        detection.results.append(result)
        array.detections.append(detection)
    return array
