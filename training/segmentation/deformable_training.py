"""The sums of deformable attention in a form whose gradient is cheap.

Inference gathers with ``embedding_bag``, whose backward pass sorts millions of indices; sampling
level by level with ``grid_sample`` gives the same values and learns twice as fast on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

from sensorium.models.fcclip import modeling_deformable


def sum_samples(
    values: Tensor, x_px: Tensor, y_px: Tensor, weights: Tensor, sizes: Sequence[tuple[int, int]]
) -> Tensor:
    """Sum bilinear samples over levels and points; arguments and result as in inference."""
    batch, queries, heads, _, _ = weights.shape
    parts = values.split([height * width for height, width in sizes], 1)
    total = values.new_zeros(())
    for level, (part, (height, width)) in enumerate(zip(parts, sizes, strict=True)):
        maps = part.unflatten(-1, (heads, -1)).permute(0, 2, 3, 1)
        maps = maps.reshape(batch * heads, -1, height, width)
        x = (2 * x_px[..., level, :] + 1) / width - 1
        y = (2 * y_px[..., level, :] + 1) / height - 1
        grid = torch.stack((x, y), -1).transpose(1, 2).flatten(0, 1)
        sampled = functional.grid_sample(maps, grid, align_corners=False)
        weight = weights[..., level, :].transpose(1, 2).flatten(0, 1)[:, None]
        total = total + (sampled * weight).sum(-1)
    summed = total.view(batch, heads, -1, queries).permute(0, 3, 1, 2)
    return summed.reshape(batch * queries * heads, -1)


@contextmanager
def cheap_gradients() -> Iterator[None]:
    """Let deformable attention sum this way inside the block."""
    original = modeling_deformable._gather_bilinear
    modeling_deformable._gather_bilinear = sum_samples
    try:
        yield
    finally:
        modeling_deformable._gather_bilinear = original
