"""Objects as sensorium_ros/Objects, as markers, and as vision_msgs where that is installed."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Pose, Vector3
from sensorium_ros.msg import Object, Objects
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from sensorium.objects.labelled_view import UNLABELLED_CLASS
from sensorium.objects.object_map import KnownObject
from sensorium.ros.convert.header import header, time_from_stamp
from sensorium.ros.convert.pose import pose_from_matrix
from sensorium.segmentation.labels import class_color

_OPACITY = 0.35
_TEXT_M = 0.05
_GREY = (0.6, 0.6, 0.6)
# Marker ids are 32 bits wide, identities 64.
_MARKER_IDS = 0x7FFFFFFF


def message_from_object(known: KnownObject) -> Object:
    """Return one object."""
    return Object(
        id=known.identity, name=known.name, class_id=known.class_id, score=float(known.score),
        pose=pose_from_matrix(known.box.world_from_box), size=_size(known),
        first_seen=time_from_stamp(known.first_seen_ns),
        last_seen=time_from_stamp(known.last_seen_ns), observations=known.views,
    )  # fmt: skip


def objects_message(
    known: Sequence[KnownObject], stamp_ns: int, map_frame: str, vocabulary_version: int
) -> Objects:
    """Return all objects as known at a stamp [ns]."""
    return Objects(
        header=header(stamp_ns, map_frame), vocabulary_version=vocabulary_version,
        objects=[message_from_object(one) for one in known],
    )  # fmt: skip


def markers_from_objects(
    known: Sequence[KnownObject], stamp_ns: int, map_frame: str
) -> MarkerArray:
    """Return a box and a name per object; markers of earlier arrays are deleted by the first."""
    head = header(stamp_ns, map_frame)
    markers = [Marker(header=head, action=Marker.DELETEALL)]
    for one in known:
        pose = pose_from_matrix(one.box.world_from_box)
        red, green, blue = _color(one)
        common = {
            "header": head, "id": one.identity & _MARKER_IDS, "action": Marker.ADD,
            "lifetime": Duration(), "frame_locked": False,
        }  # fmt: skip
        markers.append(
            Marker(
                **common, ns="boxes", type=Marker.CUBE, pose=pose, scale=_size(one),
                color=ColorRGBA(r=red, g=green, b=blue, a=_OPACITY),
            )
        )  # fmt: skip
        above = Pose()
        above.orientation.w = 1.0
        above.position.x, above.position.y = pose.position.x, pose.position.y
        above.position.z = pose.position.z + float(one.box.size_m[2]) / 2 + _TEXT_M
        markers.append(
            Marker(
                **common, ns="names", type=Marker.TEXT_VIEW_FACING, pose=above,
                scale=Vector3(x=0.0, y=0.0, z=_TEXT_M), text=f"{one.name} {one.identity}",
                color=ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0),
            )
        )  # fmt: skip
    return MarkerArray(markers=markers)


def detections_from_objects(
    vision: ModuleType, known: Sequence[KnownObject], stamp_ns: int, map_frame: str
) -> Any:  # noqa: ANN401 - a message of an optional package
    """Return vision_msgs/Detection3DArray: ``id`` is the identity, ``class_id`` the name."""
    array = vision.Detection3DArray(header=header(stamp_ns, map_frame))
    for one in known:
        detection = vision.Detection3D(header=header(stamp_ns, map_frame), id=str(one.identity))
        detection.bbox.center = pose_from_matrix(one.box.world_from_box)
        detection.bbox.size = _size(one)
        result = vision.ObjectHypothesisWithPose()
        result.hypothesis.class_id = one.name
        result.hypothesis.score = float(one.score)
        result.pose.pose = detection.bbox.center
        detection.results.append(result)
        array.detections.append(detection)
    return array


def _size(known: KnownObject) -> Vector3:
    x, y, z = known.box.size_m.tolist()
    return Vector3(x=x, y=y, z=z)


def _color(known: KnownObject) -> tuple[float, float, float]:
    if known.class_id == UNLABELLED_CLASS:
        return _GREY
    red, green, blue = class_color(known.class_id)
    return red / 255, green / 255, blue / 255
