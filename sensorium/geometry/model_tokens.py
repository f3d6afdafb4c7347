"""Learned tokens of a model on a patch grid, with the place in space that each one sees."""

from __future__ import annotations

import torch
from torch import Tensor

from sensorium.geometry.token_reduction import TokenReduction
from sensorium.geometry.tokens import PatchGrid, Tokens, patch_surfaces


def token_grid(rows: int, columns: int, native: tuple[int, int]) -> tuple[int, int]:
    """Return the token grid for wanted rows and columns (0: the model's own).

    Args:
        rows: wanted rows.
        columns: wanted columns.
        native: rows and columns of patches in the model's input.

    Raises:
        ValueError: more tokens than patches in a direction.
    """
    grid = (rows or native[0], columns or native[1])
    if grid[0] > native[0] or grid[1] > native[1]:
        raise ValueError(
            f"a token grid of {grid[0]} x {grid[1]} is finer than the model's {native[0]} x "
            f"{native[1]} patches: lower omnivggt.tokens.rows or columns, or take a larger input"
        )
    return grid


def model_tokens(
    features: Tensor,
    grid: tuple[int, int],
    points_m: Tensor,
    confidence: Tensor,
    reduction: TokenReduction | None,
) -> Tokens:
    """Return tokens with the surface that each patch shows.

    Where the grid is coarser than the model's patches, features are averaged (adaptive average:
    patch r covers the model's rows floor(r R / rows) to ceil((r + 1) R / rows)).

    Args:
        features: (R, C, channels) patch features of the model.
        grid: rows and columns wanted.
        points_m: (H, W, 3) float32 of the part of the image that the patches cover; NaN where
            invalid.
        confidence: (H, W) float32.
        reduction: linear reduction of the features, or None.
    """
    rows, columns = grid
    if features.shape[:2] != grid:
        channels_first = features.float().permute(2, 0, 1)
        pooled = torch.nn.functional.adaptive_avg_pool2d(channels_first, grid)
        features = pooled.permute(1, 2, 0)
    values = features.float().flatten(0, 1).cpu().numpy()
    height, width = points_m.shape[:2]
    patches = PatchGrid(rows, columns, height, width, points_m.device)
    surfaces = patch_surfaces(patches, points_m, confidence)
    return Tokens(
        rows,
        columns,
        surfaces.xyz_m.cpu().numpy(),
        surfaces.confidence.cpu().numpy(),
        values if reduction is None else reduction.apply(values),
    )
