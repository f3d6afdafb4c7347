"""The nine numbers per view in which the model reads and writes cameras ("absT_quaR_FoV").

[0:3] translation and [3:7] unit quaternion (x, y, z, w) of camera_from_world, OpenCV axes;
[7] vertical and [8] horizontal field of view in radians.
"""

from __future__ import annotations

import torch
from torch import Tensor

# A predicted field of view can be exactly zero; its focal length would be infinite.
_SMALLEST_FOV_RAD = 1e-3
_LARGEST_FOV_RAD = 3.1


def quaternion_from_rotation(rotation: Tensor) -> Tensor:
    """Quaternion (x, y, z, w) with w >= 0 of rotation matrices.

    Of the four closed forms (each divides by another component) the one with the largest divisor
    is taken, in every element by itself. The matrix is not made orthonormal first.

    Args:
        rotation: (..., 3, 3).

    Returns:
        (..., 4), of unit length where ``rotation`` is orthonormal.
    """
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = rotation.flatten(-2).unbind(-1)
    # Row r is 4 * component r * (w, x, y, z); its diagonal entry is the square.
    products = torch.stack(
        [
            torch.stack([1 + m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01], dim=-1),
            torch.stack([m21 - m12, 1 + m00 - m11 - m22, m10 + m01, m02 + m20], dim=-1),
            torch.stack([m02 - m20, m10 + m01, 1 - m00 + m11 - m22, m12 + m21], dim=-1),
            torch.stack([m10 - m01, m20 + m02, m21 + m12, 1 - m00 - m11 + m22], dim=-1),
        ],
        dim=-2,
    )
    doubled = products.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()  # 2 * |component|
    largest, row = doubled.max(dim=-1)
    chosen = products.gather(-2, row[..., None, None].expand(*row.shape, 1, 4))[..., 0, :]
    # As published the divisor is not allowed below 0.2; an orthonormal matrix has at least 1.
    wxyz = chosen / (2 * largest).clamp(min=0.2)[..., None]
    xyzw = wxyz.roll(-1, dims=-1)
    return torch.where(xyzw[..., 3:] < 0, -xyzw, xyzw)


def rotation_from_quaternion(quaternion: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of quaternions (..., 4) as (x, y, z, w) of any length."""
    x, y, z, w = quaternion.unbind(-1)
    s = 2.0 / quaternion.square().sum(dim=-1)
    rows = [
        1 - s * (y * y + z * z),
        s * (x * y - z * w),
        s * (x * z + y * w),
        s * (x * y + z * w),
        1 - s * (x * x + z * z),
        s * (y * z - x * w),
        s * (x * z - y * w),
        s * (y * z + x * w),
        1 - s * (x * x + y * y),
    ]
    return torch.stack(rows, dim=-1).view(*x.shape, 3, 3)


def encode_cameras(
    camera_from_world: Tensor, focal_px: Tensor, image_size: tuple[int, int]
) -> Tensor:
    """Encodes cameras.

    Args:
        camera_from_world: (..., 3, 4), OpenCV axes.
        focal_px: (..., 2) as (fx, fy) in pixels.
        image_size: (H, W) in pixels.

    Returns:
        (..., 9) pose encodings.
    """
    height, width = image_size
    fov_vertical = 2 * torch.atan(height / 2 / focal_px[..., 1:])
    fov_horizontal = 2 * torch.atan(width / 2 / focal_px[..., :1])
    quaternion = quaternion_from_rotation(camera_from_world[..., :3])
    translation = camera_from_world[..., 3]
    return torch.cat([translation, quaternion, fov_vertical, fov_horizontal], dim=-1)


def decode_cameras(pose_encoding: Tensor, image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Turns pose encodings into matrices.

    Args:
        pose_encoding: (..., 9), for instance ``pose_enc`` of the model.
        image_size: (H, W) of the images in pixels.

    Returns:
        camera_from_world (..., 3, 4) and intrinsics (..., 3, 3) in pixels. The model knows no
        principal point: it is put at (W/2, H/2). Fields of view are kept within 0.001..3.1 rad.
    """
    height, width = image_size
    rotation = rotation_from_quaternion(pose_encoding[..., 3:7])
    camera_from_world = torch.cat([rotation, pose_encoding[..., :3, None]], dim=-1)
    fov = pose_encoding[..., 7:9].clamp(_SMALLEST_FOV_RAD, _LARGEST_FOV_RAD)
    intrinsics = torch.zeros_like(rotation)
    intrinsics[..., 0, 0] = width / 2 / torch.tan(fov[..., 1] / 2)
    intrinsics[..., 1, 1] = height / 2 / torch.tan(fov[..., 0] / 2)
    intrinsics[..., 0, 2] = width / 2
    intrinsics[..., 1, 2] = height / 2
    intrinsics[..., 2, 2] = 1
    return camera_from_world, intrinsics
