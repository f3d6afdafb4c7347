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
        offsets_px = self.sampling_offsets(query).view(*shape, 2)
        weights = self.attention_weights(query).view(*shape[:3], -1).softmax(-1).view(shape)
        wh = torch.tensor([(w, h) for h, w in sizes], device=query.device, dtype=query.dtype)
        # Pixel centres lie at (i + 0.5) / size; offsets are in pixels of their own level.
        points_px = reference_xy[:, None, None, None] * wh[:, None] + offsets_px - 0.5
        table = self.value_proj(values).reshape(-1, query.shape[-1] // self.heads)
        sampled = _gather_bilinear(table, points_px, weights, sizes)
        output: Tensor = self.output_proj(sampled.view(batch, queries, -1))
        return output


def _gather_bilinear(
    table: Tensor, points_px: Tensor, weights: Tensor, sizes: Sequence[tuple[int, int]]
) -> Tensor:
    """Sum bilinear samples over levels and points.

    Args:
        table: (B * N * heads, d) value rows, N the pixels of all levels.
        points_px: (B, Q, heads, levels, points, 2) x and y in pixels of the level.
        weights: (B, Q, heads, levels, points).
        sizes: (height, width) of each level.

    Returns:
        (B * Q * heads, d).
    """
    batch, _, heads, levels, points, _ = points_px.shape
    device = table.device
    starts = [sum(h * w for h, w in sizes[:i]) for i in range(levels)]
    pixels = sum(h * w for h, w in sizes)
    limits = torch.tensor([(w - 1, h - 1) for h, w in sizes], device=device).view(levels, 1, 2)
    start = torch.tensor(starts, device=device).view(levels, 1)
    head = torch.arange(heads, device=device).view(heads, 1, 1)
    first_row = (torch.arange(batch, device=device) * pixels).view(batch, 1, 1, 1, 1)

    corner_px = points_px.detach().floor()
    toward_next = points_px - corner_px
    corner = corner_px.long()
    rows, row_weights = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            xy = corner + torch.tensor((dx, dy), device=device)
            inside = ((xy >= 0) & (xy <= limits)).all(-1)
            xy = torch.minimum(xy.clamp_min(0), limits)
            pixel = first_row + start + xy[..., 1] * (limits[..., 0] + 1) + xy[..., 0]
            rows.append(pixel * heads + head)
            share_x = toward_next[..., 0] if dx else 1 - toward_next[..., 0]
            share_y = toward_next[..., 1] if dy else 1 - toward_next[..., 1]
            row_weights.append(weights * share_x * share_y * inside)
    bag = (-1, levels * points * 4)
    return functional.embedding_bag(
        torch.stack(rows, -1).view(bag),
        table,
        per_sample_weights=torch.stack(row_weights, -1).view(bag),
        mode="sum",
    )
