"""Losses of omnivggt-small, after VGGT (arXiv 2503.11651, section 3.4)."""

from __future__ import annotations

import math

import torch
from samples import Batch
from torch import Tensor
from torch.nn import functional

from sensorium.models.omnivggt.pose_encoding import encode_cameras

_CAMERA_WEIGHT = 2.0
_CONFIDENCE_WEIGHT = 0.2
_GRADIENT_WEIGHT = 1.0
_RELATIVE_WEIGHT = 4.0
_LARGEST_RELATIVE = 2.0
_EARLIER_ITERATION = 0.6


def camera_loss(encodings: list[Tensor], batch: Batch) -> Tensor:
    """L1 of translation, quaternion and half of the field of view; later iterations weigh more."""
    height, width = batch.images.shape[-2:]
    focal_px = torch.stack([batch.intrinsics[..., 0, 0], batch.intrinsics[..., 1, 1]], dim=-1)
    target = encode_cameras(batch.camera_from_world, focal_px, (height, width))
    total = target.new_zeros(())
    for earlier, encoding in enumerate(reversed(encodings)):
        error = (encoding.float() - target).abs()
        each = error[..., :3].mean() + error[..., 3:7].mean() + 0.5 * error[..., 7:].mean()
        total = total + _EARLIER_ITERATION**earlier * each
    return _CAMERA_WEIGHT * total


def depth_loss(depth: Tensor, confidence: Tensor, target: Tensor) -> Tensor:
    """Confidence-weighted L1 of the logarithm, L1 of its gradient over 1 and 4 pixels, and AbsRel.

    The published model takes the error of depth itself; that of its logarithm counts near and far
    alike. The confidence that the network learns makes edges count little, where most of the error
    is; AbsRel, not weighted, makes up for that.

    Args:
        depth: (B, S, H, W) predicted.
        confidence: (B, S, H, W), above 1.
        target: (B, S, H, W) exact.
    """
    error = depth.float().log() - target.log()
    loss = _weighted(error.abs(), confidence.float())
    relative = (error.clamp(max=math.log1p(_LARGEST_RELATIVE)).exp() - 1).abs()
    loss = loss + _RELATIVE_WEIGHT * relative.mean()
    for step in (1, 4):
        across = error[..., step:] - error[..., :-step]
        down = error[..., step:, :] - error[..., :-step, :]
        loss = loss + _GRADIENT_WEIGHT * (across.abs().mean() + down.abs().mean()) / step**0.5
    return loss


def points_loss(points: Tensor, confidence: Tensor, batch: Batch) -> Tensor:
    """Confidence-weighted L1 of points (B, S, H, W, 3) in the first camera's frame."""
    error = functional.l1_loss(points.float(), first_camera_points(batch), reduction="none")
    return _weighted(error.mean(dim=-1), confidence.float())


def first_camera_points(batch: Batch) -> Tensor:
    """Exact points (B, S, H, W, 3) in the first camera's frame."""
    height, width = batch.depth.shape[-2:]
    device = batch.depth.device
    row = torch.arange(height, device=device, dtype=torch.float32) + 0.5 - height / 2
    column = torch.arange(width, device=device, dtype=torch.float32) + 0.5 - width / 2
    focal = batch.intrinsics[..., 0, 0][..., None, None]
    depth = batch.depth
    x, y = column * depth / focal, row[:, None] * depth / focal
    in_camera = torch.stack([x, y, depth], dim=-1)
    rotation, translation = batch.camera_from_world[..., :3], batch.camera_from_world[..., 3]
    shifted = in_camera - translation[:, :, None, None]
    return torch.einsum("bsji,bshwj->bshwi", rotation, shifted)


def _weighted(error: Tensor, confidence: Tensor) -> Tensor:
    return (confidence * error - _CONFIDENCE_WEIGHT * confidence.log()).mean()
