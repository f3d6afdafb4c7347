"""Messages as what the page shows of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2
from sensorium_ros.msg import ActionChunk, Objects
from trajectory_msgs.msg import JointTrajectory

from sensorium.poses import Float64
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.pointcloud import colors_from_cloud, field_from_cloud, points_from_cloud
from sensorium.ros.convert.pose import matrix_from_pose
from sensorium.segmentation.labels import class_color
from sensorium.viewer.panel import ActionView
from sensorium.viewer.scene import NamedBox

_UNLABELLED = (110, 110, 110)
_PLAIN = (150, 170, 190)
# A class list is never longer; what lies above is "unlabelled" in every label type.
_COLORED_CLASSES = 4096
_MOST_JOINTS = 8


def cloud_colors(message: PointCloud2, *, labelled: bool) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return points (..., 3) [m] and their colours (..., 3) uint8 RGB.

    Args:
        message: the cloud.
        labelled: True colours each point by the class in its field `label`, grey where the value is
            no class; else its field `rgb` is shown, one colour for all where there is none.

    Raises:
        ConversionError: the layout is broken, or `label` is missing.
    """
    points = points_from_cloud(message)
    if labelled:
        labels = np.asarray(field_from_cloud(message, "label"), np.float64)
        known = (labels >= 0) & (labels < _COLORED_CLASSES)
        classes = np.where(known, labels, 0).astype(np.int64)
        used, position = np.unique(classes, return_inverse=True)
        table = np.array([class_color(int(index)) for index in used], np.uint8).reshape(-1, 3)
        colors = table[position.reshape(labels.shape)]
        colors[~known] = _UNLABELLED
        return points, colors
    if {field.name for field in message.fields} & {"rgb", "rgba"}:
        return points, colors_from_cloud(message)
    return points, np.broadcast_to(np.array(_PLAIN, np.uint8), points.shape)


def boxes_of(message: Objects, world_from_objects: Float64) -> list[NamedBox]:
    """Return the boxes of known objects in the world.

    Raises:
        ConversionError: a pose is not a rigid transform, or a size is not positive.
    """
    boxes = []
    for found in message.objects:
        size_m = (found.size.x, found.size.y, found.size.z)
        if not all(0 < edge_m < math.inf for edge_m in size_m):
            raise ConversionError(
                f"object {found.id} ('{found.name[:40]}') has size {size_m} m; edges are positive"
            )
        pose = world_from_objects @ matrix_from_pose(found.pose)
        color = class_color(found.class_id)
        boxes.append(NamedBox(found.id, found.name, float(found.score), pose, size_m, color))
    return boxes


def action_view(message: ActionChunk) -> ActionView:
    """Return what is shown of a chunk.

    Raises:
        ConversionError: the number of actions is not a multiple of that of their names.
    """
    names = tuple(message.action_names)
    width = max(len(names), 1)
    actions = np.array(message.actions, np.float32)
    if len(actions) % width:
        raise ConversionError(
            f"a chunk of {message.policy} has {len(actions)} actions for {len(names)} names"
        )
    return ActionView(
        title=": ".join(filter(None, (message.policy, message.instruction))),
        names=names, rate_hz=float(message.rate_hz), actions=actions.reshape(-1, width),
        published=bool(message.published), rejections=tuple(message.rejections),
        latency_s=float(message.latency_s),
    )  # fmt: skip


def command_text(message: JointTrajectory) -> str:
    """Say where a trajectory ends, joint by joint."""
    if not message.points:
        return "last command: an empty trajectory (stop)"
    last = message.points[-1]
    ends_s = last.time_from_start.sec + last.time_from_start.nanosec / 1e9
    positions = zip(message.joint_names, last.positions, strict=False)
    joints = ", ".join(f"{name} {value:.3f}" for name, value in list(positions)[:_MOST_JOINTS])
    return f"last command: {len(message.points)} points, in {ends_s:.2f} s at {joints}"
