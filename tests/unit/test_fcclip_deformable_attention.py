"""Deformable attention against explicit loops over queries, heads, levels and points."""

import math

import pytest
import torch

from sensorium.models.fcclip.modeling_deformable import DeformableAttention


def pixel_or_zero(grid, x, y):
    height, width, _ = grid.shape
    return grid[y, x] if 0 <= x < width and 0 <= y < height else torch.zeros(grid.shape[-1])


def sample(grid, x, y):
    left, top = math.floor(x), math.floor(y)
    value = torch.zeros(grid.shape[-1])
    for dy in (0, 1):
        for dx in (0, 1):
            share = (1 - abs(x - left - dx)) * (1 - abs(y - top - dy))
            value += share * pixel_or_zero(grid, left + dx, top + dy)
    return value


def attention_by_loops(layer, query, reference_xy, values, sizes):
    heads, levels, points = layer.heads, layer.levels, layer.points
    batch, queries, dim = query.shape
    projected = layer.value_proj(values)
    output = torch.zeros(batch, queries, dim)
    for b in range(batch):
        grids = [
            part.view(*size, heads, -1)
            for part, size in zip(projected[b].split([h * w for h, w in sizes]), sizes, strict=True)
        ]
        for q in range(queries):
            offsets = layer.sampling_offsets(query[b, q]).view(heads, levels, points, 2)
            weights = layer.attention_weights(query[b, q]).view(heads, -1).softmax(-1)
            per_head = []
            for h in range(heads):
                total = torch.zeros(dim // heads)
                for level, (height, width) in enumerate(sizes):
                    for p in range(points):
                        x = reference_xy[q, 0].item() * width + offsets[h, level, p, 0].item() - 0.5
                        y = (
                            reference_xy[q, 1].item() * height
                            + offsets[h, level, p, 1].item()
                            - 0.5
                        )
                        value = sample(grids[level][:, :, h], x, y)
                        total = total + weights[h, level * points + p] * value
                per_head.append(total)
            output[b, q] = torch.cat(per_head)
    return layer.output_proj(output)


@pytest.mark.parametrize("offset_px", [0.5, 3.0, 40.0])
@torch.no_grad()
def test_equals_explicit_loops_inside_at_and_far_beyond_the_edge(offset_px):
    torch.manual_seed(0)
    sizes = [(2, 3), (4, 5), (1, 1)]
    layer = DeformableAttention(dim=12, heads=3, levels=3, points=2)
    torch.nn.init.normal_(layer.sampling_offsets.bias, std=offset_px)
    pixels = sum(h * w for h, w in sizes)
    query, values = torch.randn(2, 7, 12), torch.randn(2, pixels, 12)
    reference_xy = torch.rand(7, 2)
    ours = layer(query, reference_xy, values, sizes)
    expected = attention_by_loops(layer, query, reference_xy, values, sizes)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_point_on_a_pixel_centre_returns_that_pixel():
    layer = DeformableAttention(dim=4, heads=1, levels=1, points=1)
    for module in (layer.sampling_offsets, layer.value_proj, layer.output_proj):
        torch.nn.init.zeros_(module.weight)
        torch.nn.init.zeros_(module.bias)
    torch.nn.init.eye_(layer.value_proj.weight)
    torch.nn.init.eye_(layer.output_proj.weight)
    values = torch.randn(1, 6, 4)
    centres = torch.tensor([[(x + 0.5) / 3, (y + 0.5) / 2] for y in range(2) for x in range(3)])
    output = layer(torch.randn(1, 6, 4), centres, values, [(2, 3)])
    torch.testing.assert_close(output, values)


def test_gradients_of_offsets_weights_and_values_are_those_of_the_loops():
    torch.manual_seed(1)
    sizes = [(3, 3), (2, 2)]
    layer = DeformableAttention(dim=4, heads=2, levels=2, points=1).double()
    values = torch.randn(1, 13, 4, dtype=torch.float64, requires_grad=True)
    query = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    reference_xy = torch.rand(3, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda q, v: layer(q, reference_xy, v, sizes), (query, values), eps=1e-6, atol=1e-4
    )
