"""What a model says about its own depth, as a number from 0 to 1."""

from __future__ import annotations

import torch
from torch import Tensor

# Relative difference of depth between the two heads at which confidence is halved.
_HALF_DIFFERENCE = 0.05
# Error of filled holes, as a share of their depth, where the model is as sure as it can be:
# measured on hidden blocks of held-out rooms (`sensorium evaluate geometry`).
_FILL_ERROR = 0.05


def confidence_from_model(raw: Tensor) -> Tensor:
    """Return 1 - 1 / c of the model's raw confidence c, which lies above 1.

    The model was trained with the loss c * error - alpha * log(c), whose minimum is at
    c = alpha / error: 1 / c is the error that the model expects, as a fraction of the largest that
    it can express (alpha, at c = 1). So 0.5 means half of that error, 0.9 a tenth; it is an order
    of trust within and between views, not a probability, and metres do not follow from it.

    Args:
        raw: any shape; values not above 1 and NaN give 0.
    """
    return (1 - 1 / raw.clamp(min=1)).nan_to_num(0.0).clamp(0, 1)


def agreement_of_heads(depth: Tensor, points_depth: Tensor) -> Tensor:
    """Return 1 / (1 + (d / 0.05)^2) with d the relative difference of two depths of a pixel.

    Args:
        depth: (H, W) of the depth head.
        points_depth: (H, W) z of the point head in the same camera and unit.
    """
    difference = (depth - points_depth).abs() / depth.abs().clamp(min=1e-9)
    agreement: Tensor = 1 / (1 + (difference / _HALF_DIFFERENCE).square())
    return torch.where(points_depth > 0, agreement, 0.0).nan_to_num(0.0)


def confidence_of_filled(depth_m: Tensor, trust: Tensor, half_confidence_noise_m: float) -> Tensor:
    """Return the confidence of filled pixels on the scale of measured ones beside them.

    As of a measurement with the noise s: 1 / (1 + (s / s_half)^2), s = 0.05 z / trust. Filled depth
    then never outweighs what was measured, in a fused map or in tokens.

    Args:
        depth_m: any shape, filled depth z [m].
        trust: the same shape, ``confidence_from_model``.
        half_confidence_noise_m: s_half, the noise at which confidence is one half [m].
    """
    noise_m = _FILL_ERROR * depth_m / trust.clamp(min=1e-6)
    return (1 / (1 + (noise_m / half_confidence_noise_m).square())).nan_to_num(0.0)
