"""Clouds small enough for a browser."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def thinned(
    points_m: NDArray[Any], colors: NDArray[np.uint8], most: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return at most `most` of the finite points, evenly chosen, with their colours.

    Args:
        points_m: (H, W, 3) organised or (N, 3) unorganised [m]; non-finite is no point.
        colors: uint8 RGB of the same shape.
        most: points wanted at most, 1 or more.

    Returns:
        points (M, 3) float32 and colours (M, 3) uint8.
    """
    if points_m.ndim == 3:
        # Every s-th row and column: a step along the flat array would draw stripes.
        step = max(1, math.isqrt(points_m.shape[0] * points_m.shape[1] // (4 * most)))
        points_m, colors = points_m[::step, ::step], colors[::step, ::step]
    flat = points_m.reshape(-1, 3)
    valid = np.flatnonzero(np.isfinite(flat).all(axis=1))
    if len(valid) > most:
        valid = valid[np.linspace(0, len(valid) - 1, most).astype(np.int64)]
    return flat[valid].astype(np.float32), colors.reshape(-1, 3)[valid]
