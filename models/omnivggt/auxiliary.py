"""Known cameras and depth on their way into the model: normalised, and free of metric scale.

Both inputs lose their scale here, separately. Metres have to be recovered afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sensorium.models.omnivggt.pose_encoding import encode_cameras


class KnownCameras(NamedTuple):
    """Cameras of some views, as the model reads them.

    Attributes:
        views: (K,) int64 indices of the views, in the order they were listed.
        encoding: (B, K, 9) float32 pose encodings of the normalised cameras.
    """

    views: Tensor
    encoding: Tensor


class KnownDepth(NamedTuple):
    """Depth of some views, as the model reads it.

    Attributes:
        views: (D,) int64 indices of the views, in the order they were listed.
        depth_and_mask: (B, D, 2, H, W) normalised depth and its mask.
    """

    views: Tensor
    depth_and_mask: Tensor


def normalise_cameras(camera_from_world: Tensor) -> Tensor:
    """Moves the world to the first camera and divides lengths by the mean baseline.

    The first camera becomes the identity; translations are divided by the mean distance of the
    *other* cameras to it, at least 1e-6. A single camera is not scaled. The inverse of the first
    camera is closed-form (R^T, -R^T t): a rotation that is not orthonormal is not repaired.

    Args:
        camera_from_world: (B, K, 3, 4), OpenCV axes, any length unit.

    Returns:
        (B, K, 3, 4) in the same dtype.
    """
    rotation, translation = camera_from_world[..., :3], camera_from_world[..., 3:]
    first_rotation_t = rotation[:, :1].transpose(-1, -2)
    relative_rotation = rotation @ first_rotation_t
    relative_translation = translation - relative_rotation @ translation[:, :1]
    if camera_from_world.shape[1] > 1:
        distance = relative_translation[:, 1:].norm(dim=-2).mean(dim=1)  # (B, 1)
        relative_translation = relative_translation / distance.clamp(min=1e-6)[:, None, None]
    return torch.cat([relative_rotation, relative_translation], dim=-1)


def normalise_depth(depth: Tensor, mask: Tensor) -> Tensor:
    """Divides depth by its mean over all valid pixels of all listed views of a batch element.

    Args:
        depth: (B, D, H, W) finite, any unit.
        mask: (B, D, H, W) valid where positive; the result is multiplied by it.

    Returns:
        (B, D, H, W); all zero for a batch element without a valid pixel.
    """
    valid = (mask > 0).to(depth.dtype)
    total = (depth * valid).sum(dim=(1, 2, 3), keepdim=True)
    count = valid.sum(dim=(1, 2, 3), keepdim=True)
    mean = total / count.clamp(min=1)
    return depth / (mean + 1e-8) * mask * (count > 0)


def known_cameras(
    extrinsics: Tensor, intrinsics: Tensor, views: Sequence[int], image_size: tuple[int, int]
) -> KnownCameras:
    """Picks the listed cameras, normalises and encodes them.

    Args:
        extrinsics: (B, S, 3, 4) camera from world, OpenCV axes.
        intrinsics: (B, S, 3, 3) in pixels of the images; only fx and fy are read.
        views: Listed views; the first one becomes the origin of the world.
        image_size: (H, W) of the images in pixels.

    Returns:
        The encodings. They are computed in float64, so that a world origin kilometres away costs
        no accuracy, and rounded to float32 as the published code does.
    """
    index = torch.tensor(list(views), dtype=torch.int64).to(extrinsics.device, non_blocking=True)
    normalised = normalise_cameras(extrinsics.index_select(1, index).double())
    focal = intrinsics.index_select(1, index).double()
    focal_px = torch.stack([focal[..., 0, 0], focal[..., 1, 1]], dim=-1)
    return KnownCameras(index, encode_cameras(normalised, focal_px, image_size).float())


def known_depth(depth: Tensor, mask: Tensor | None, views: Sequence[int]) -> KnownDepth:
    """Picks the listed depth maps and normalises them together.

    Args:
        depth: (B, S, H, W, 1) z-depth, finite on the listed views, any unit.
        mask: (B, S, H, W), positive where the depth is valid; None: where the depth is positive.
        views: Listed views.

    Returns:
        The normalised depth with its mask, in the dtype of ``depth``.
    """
    index = torch.tensor(list(views), dtype=torch.int64).to(depth.device, non_blocking=True)
    listed = depth.index_select(1, index)[..., 0]
    valid = (listed > 0) if mask is None else mask.index_select(1, index)
    valid = valid.to(listed.dtype)
    return KnownDepth(index, torch.stack([normalise_depth(listed, valid), valid], dim=2))
