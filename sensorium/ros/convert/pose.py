"""geometry_msgs poses and transforms to and from (4, 4) matrices."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Transform, TransformStamped, Vector3

from sensorium.poses import (
    Float64,
    PoseError,
    pose_from_quaternion,
    quaternion_from_pose,
    validated_pose,
)
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.header import header


def matrix_from_pose(message: Pose) -> Float64:
    """Return the (4, 4) float64 pose [m] of geometry_msgs/Pose; the quaternion is normalised.

    Raises:
        ConversionError: non-finite numbers or a zero quaternion.
    """
    return _matrix(message.position, message.orientation)


def matrix_from_transform(message: Transform) -> Float64:
    """Return ``parent_from_child`` (4, 4) float64 [m] of geometry_msgs/Transform.

    Raises:
        ConversionError: non-finite numbers or a zero quaternion.
    """
    return _matrix(message.translation, message.rotation)


def pose_from_matrix(pose: Float64) -> Pose:
    """Return geometry_msgs/Pose of a (4, 4) pose [m], with a unit quaternion.

    Raises:
        ConversionError: the matrix is not a rigid transform.
    """
    (x, y, z), quaternion = _parts(pose)
    return Pose(position=Point(x=x, y=y, z=z), orientation=quaternion)


def transform_from_matrix(parent_from_child: Float64) -> Transform:
    """Return geometry_msgs/Transform of ``parent_from_child`` (4, 4) [m].

    Raises:
        ConversionError: the matrix is not a rigid transform.
    """
    (x, y, z), quaternion = _parts(parent_from_child)
    return Transform(translation=Vector3(x=x, y=y, z=z), rotation=quaternion)


def stamped_transform(
    parent_from_child: Float64, stamp_ns: int, parent_frame: str, child_frame: str
) -> TransformStamped:
    """Return geometry_msgs/TransformStamped of ``parent_from_child`` (4, 4) [m].

    Raises:
        ConversionError: the matrix is not a rigid transform, or a stamp that ROS cannot hold.
    """
    return TransformStamped(
        header=header(stamp_ns, parent_frame),
        child_frame_id=child_frame,
        transform=transform_from_matrix(parent_from_child),
    )


def _matrix(translation: Point | Vector3, rotation: Quaternion) -> Float64:
    try:
        return pose_from_quaternion(
            (translation.x, translation.y, translation.z),
            (rotation.x, rotation.y, rotation.z, rotation.w),
        )
    except PoseError as error:
        raise ConversionError(f"{error}; fill in a unit quaternion (identity is w = 1)") from error


def _parts(pose: Float64) -> tuple[tuple[float, float, float], Quaternion]:
    try:
        matrix = validated_pose(pose)
    except PoseError as error:
        raise ConversionError(str(error)) from error
    x, y, z, w = quaternion_from_pose(matrix).tolist()
    tx, ty, tz = np.asarray(matrix[:3, 3]).tolist()
    return (tx, ty, tz), Quaternion(x=x, y=y, z=z, w=w)
