"""Where on the token grid a place of the robot's base is seen, from the tokens themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["cell_of", "grid_from_base"]

Float64 = NDArray[np.float64]

_FEWEST_TOKENS = 16
_LEAST_DEPTH_M = 0.01
# A token lies anywhere in its patch; farther off it belongs to another surface.
_OUTLIER_CELLS = 1.5


def grid_from_base(
    points: NDArray[np.floating],
    valid: NDArray[np.floating],
    base_from_camera: Float64,
    rows: int,
    columns: int,
) -> Float64 | None:
    """The pinhole projection from the base to the grid, fitted to the tokens of one picture.

    Args:
        points: (rows * columns, 3) tokens in the base frame [m], row-major.
        valid: (rows * columns,) 1 where a token has a position.
        base_from_camera: (4, 4) pose of the camera, OpenCV axes.
        rows: Rows of the grid.
        columns: Columns of the grid.

    Returns:
        (3, 4) matrix P with ``(column, row, 1) * w == P @ (x, y, z, 1)``, in cells with the centre
        of the first at 0.5; None with too few tokens.
    """
    rotation, origin = base_from_camera[:3, :3], base_from_camera[:3, 3]
    in_camera = (np.asarray(points, dtype=np.float64) - origin) @ rotation
    index = np.flatnonzero((np.asarray(valid) > 0) & (in_camera[:, 2] > _LEAST_DEPTH_M))
    if index.size < _FEWEST_TOKENS:
        return None
    intrinsics = np.eye(3)
    for axis, cell in ((0, index % columns), (1, index // columns)):
        ratio = in_camera[index, axis] / in_camera[index, 2]
        wanted = cell + 0.5
        kept = np.ones(index.size, dtype=np.bool_)
        for _ in range(3):
            if kept.sum() < _FEWEST_TOKENS or np.ptp(ratio[kept]) < 1e-6:
                return None
            design = np.column_stack((ratio, np.ones_like(ratio)))
            solution = np.linalg.lstsq(design[kept], wanted[kept], rcond=None)[0]
            kept = np.abs(design @ solution - wanted) < _OUTLIER_CELLS
        intrinsics[axis, axis], intrinsics[axis, 2] = solution
    camera_from_base = np.column_stack((rotation.T, -rotation.T @ origin))
    return np.asarray(intrinsics @ camera_from_base, dtype=np.float64)


def cell_of(
    projection: Float64 | None, place_m: NDArray[np.floating], rows: int, columns: int
) -> int:
    """The cell, row-major, in which a place (3,) of the base is seen; -1 where it is not."""
    if projection is None:
        return -1
    column, row, depth = projection @ np.append(place_m, 1.0)
    if depth <= _LEAST_DEPTH_M:
        return -1
    i, j = int(np.floor(row / depth)), int(np.floor(column / depth))
    return i * columns + j if 0 <= i < rows and 0 <= j < columns else -1
