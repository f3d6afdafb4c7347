"""Rigid transforms and quaternions in float64.

A pose named ``a_from_b`` is a (4, 4) matrix with ``p_a = a_from_b @ p_b`` (metres). Quaternions are
(x, y, z, w), scalar last, as in geometry_msgs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]

_ORTHONORMAL_TOLERANCE = 1e-3


class PoseError(ValueError):
    """A matrix or quaternion that is not a rigid transform."""


def validated_pose(matrix: ArrayLike, name: str = "pose") -> Float64:
    """Return `matrix` as a (4, 4) float64 rigid transform.

    Raises:
        PoseError: wrong shape, non-finite, last row not (0, 0, 0, 1), or a rotation that is not
            orthonormal with determinant +1 (tolerance 1e-3).
    """
    pose = np.asarray(matrix, dtype=np.float64)
    if pose.shape != (4, 4):
        raise PoseError(f"{name} has shape {pose.shape}; a pose is a 4 x 4 matrix")
    if not np.isfinite(pose).all():
        raise PoseError(f"{name} has non-finite numbers")
    if not np.allclose(pose[3], (0.0, 0.0, 0.0, 1.0), atol=1e-9):
        raise PoseError(f"{name} has last row {pose[3].tolist()}; it must be 0 0 0 1")
    rotation = pose[:3, :3]
    error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if error > _ORTHONORMAL_TOLERANCE:
        raise PoseError(f"{name} is not rigid: |R R^T - 1| is {error:.2g}, allowed is 1e-3")
    if np.linalg.det(rotation) < 0:
        raise PoseError(f"{name} mirrors: det R is negative")
    return pose


def inverse(pose: Float64) -> Float64:
    """Return ``b_from_a`` of ``a_from_b`` (4, 4)."""
    result = np.eye(4)
    result[:3, :3] = pose[:3, :3].T
    result[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return result


def pose_from_quaternion(translation_m: ArrayLike, quaternion_xyzw: ArrayLike) -> Float64:
    """Return the (4, 4) pose of a translation (3,) and a quaternion (4,), which need not be unit.

    Raises:
        PoseError: a number is not finite or the quaternion is zero.
    """
    translation = np.asarray(translation_m, dtype=np.float64)
    quaternion = np.asarray(quaternion_xyzw, dtype=np.float64)
    norm = float(np.linalg.norm(quaternion))
    if not (np.isfinite(translation).all() and np.isfinite(norm)):
        raise PoseError("translation or quaternion has non-finite numbers")
    if norm < 1e-6:
        raise PoseError(f"quaternion {quaternion.tolist()} has no direction (norm {norm:.1g})")
    x, y, z, w = quaternion / norm
    pose = np.eye(4)
    pose[:3, :3] = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    pose[:3, 3] = translation
    return pose


def quaternion_from_pose(pose: Float64) -> Float64:
    """Return the unit quaternion (x, y, z, w), w >= 0, of the rotation in `pose` (4, 4)."""
    r = pose[:3, :3]
    # Shepperd's method: divide by the largest of the four squared components.
    squares = np.array(
        (
            1 + r[0, 0] - r[1, 1] - r[2, 2],
            1 - r[0, 0] + r[1, 1] - r[2, 2],
            1 - r[0, 0] - r[1, 1] + r[2, 2],
            1 + r[0, 0] + r[1, 1] + r[2, 2],
        )
    )
    largest = int(np.argmax(squares))
    if largest == 0:
        q = (squares[0], r[1, 0] + r[0, 1], r[2, 0] + r[0, 2], r[2, 1] - r[1, 2])
    elif largest == 1:
        q = (r[1, 0] + r[0, 1], squares[1], r[2, 1] + r[1, 2], r[0, 2] - r[2, 0])
    elif largest == 2:
        q = (r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], squares[2], r[1, 0] - r[0, 1])
    else:
        q = (r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], squares[3])
    quaternion = np.asarray(q, dtype=np.float64)
    quaternion /= np.linalg.norm(quaternion)
    return -quaternion if quaternion[3] < 0 else quaternion


def interpolate(first: Float64, second: Float64, fraction: float) -> Float64:
    """Return the pose at `fraction` (0 to 1) between two (4, 4) poses: lerp and slerp."""
    a, b = quaternion_from_pose(first), quaternion_from_pose(second)
    cosine = float(a @ b)
    if cosine < 0:
        b, cosine = -b, -cosine
    if cosine > 1 - 1e-9:
        quaternion = a + fraction * (b - a)
    else:
        angle = np.arccos(cosine)
        quaternion = np.sin((1 - fraction) * angle) * a + np.sin(fraction * angle) * b
    translation = (1 - fraction) * first[:3, 3] + fraction * second[:3, 3]
    return pose_from_quaternion(translation, quaternion)


def transform_points(pose: Float64, points_m: Float64) -> Float64:
    """Apply ``a_from_b`` (4, 4) to points (..., 3) in b [m]; returns (..., 3) in a [m]."""
    result: Float64 = points_m @ pose[:3, :3].T + pose[:3, 3]
    return result
