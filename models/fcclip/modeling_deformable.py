"""Multi-scale deformable attention (Zhu et al. 2021, section 4.1) as one weighted gather.

Bilinear sampling with zeros outside is a sum over four neighbours, and attention is a sum over
levels and points, so the whole layer is one weighted sum of rows of the value table:
``embedding_bag`` does it for all levels, heads, points and neighbours at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# Zero pixels added to the height and the width of a level.
FRAME = 3


class DeformableAttention(nn.Module):
    """Each query samples a few learned points on every level of the feature pyramid.

    Args:
        dim: Width of queries and values.
        heads: Number of heads.
        levels: Levels of the pyramid.
        points: Sampling points per head and level.
    """

    def __init__(self, dim: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)

    def forward(
        self, query: Tensor, reference_xy: Tensor, values: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Attend to sampled points.

        Args:
            query: (B, Q, dim).
            reference_xy: (Q, 2) in 0..1 of the image width and height, shared by all levels.
            values: (B, N, dim), the levels flattened one after the other.
            sizes: (height, width) of each level; the products sum to N.

        Returns:
            (B, Q, dim).
        """
        batch, queries, _ = query.shape
        shape = (batch, queries, self.heads, self.levels, self.points)
        offset_x_px, offset_y_px = self.sampling_offsets(query).view(*shape, 2).unbind(-1)
        # A softmax over a dozen neighbours in memory is slow on a CPU, over a dozen rows it is not.
        logits = self.attention_weights(query).view(-1, self.levels * self.points)
        weights = logits.T.softmax(0).T.reshape(shape)
        # Pixel centres lie at (i + 0.5) / size; offsets are in pixels of their own level.
        scale = reference_xy.new_tensor([(w, h) for h, w in sizes])
        centre_px = (reference_xy[:, None, None] * scale - 0.5)[..., None, :]
        sampled = _gather_bilinear(
            self.value_proj(values),
            centre_px[..., 0] + offset_x_px,
            centre_px[..., 1] + offset_y_px,
            weights,
            sizes,
        )
        output: Tensor = self.output_proj(sampled.view(batch, queries, -1))
        return output


def _gather_bilinear(
    values: Tensor, x_px: Tensor, y_px: Tensor, weights: Tensor, sizes: Sequence[tuple[int, int]]
) -> Tensor:
    """Sum bilinear samples over levels and points.

    Args:
        values: (B, N, heads * d), N the pixels of all levels.
        x_px: (B, Q, heads, levels, points) in pixels of the level; outside of it values are zero.
        y_px: The same.
        weights: (B, Q, heads, levels, points).
        sizes: (height, width) of each level.

    Returns:
        (B * Q * heads, d).
    """
    batch, _, heads, levels, points = weights.shape
    device = values.device
    parts = torch.split(values, [h * w for h, w in sizes], 1)
    table = torch.cat([_framed(part, size) for part, size in zip(parts, sizes, strict=True)], 1)
    strides = [w + FRAME for _, w in sizes]
    starts = [sum((h + FRAME) * (w + FRAME) for h, w in sizes[:i]) for i in range(levels)]
    stride, start, width, height = (
        torch.tensor(numbers, device=device, dtype=torch.int32).view(levels, 1)
        for numbers in (strides, starts, [w for _, w in sizes], [h for h, _ in sizes])
    )
    picture = torch.arange(batch, device=device, dtype=torch.int32).view(batch, 1, 1, 1, 1)
    head = torch.arange(heads, device=device, dtype=torch.int32).view(heads, 1, 1)

    # One pixel beyond the edge all values are zero, so farther points may be moved there.
    x_px = torch.minimum(x_px.clamp_min(-1), width)
    y_px = torch.minimum(y_px.clamp_min(-1), height)
    left, top = x_px.detach().floor(), y_px.detach().floor()
    to_right, to_bottom = x_px - left, y_px - top
    pixel = start + (top.int() + 1) * stride + left.int() + 1
    row = (picture * table.shape[1] + pixel) * heads + head
    below = stride * heads
    upper, lower = weights * (1 - to_bottom), weights * to_bottom
    bag = (-1, levels * points * 4)
    return functional.embedding_bag(
        torch.stack((row, row + heads, row + below, row + below + heads), -1).view(bag),
        table.reshape(-1, table.shape[-1] // heads),
        per_sample_weights=torch.stack(
            (upper * (1 - to_right), upper * to_right, lower * (1 - to_right), lower * to_right), -1
        ).view(bag),
        mode="sum",
    )


def _framed(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Surround (B, h * w, C) pixels with zeros: one before, two after in both directions."""
    grid = values.view(len(values), *size, -1)
    return functional.pad(grid, (0, 0, 1, FRAME - 1, 1, FRAME - 1)).flatten(1, 2)
