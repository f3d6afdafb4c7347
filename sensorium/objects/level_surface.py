"""Level surfaces of a picture on which things stand: tables, floors, boards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from sensorium.objects.configuration import ObjectsConfiguration
from sensorium.objects.voxels import Int64
from sensorium.poses import Float64

Bool = NDArray[np.bool_]

# Of the points of one segment so many are enough to fit its level.
_MOST_FITTED = 4000
# Of a segment, so much must lie on one level to be a surface that things stand on, and so many
# points; it may be tilted by so much (rise per run).
_LEVEL_SHARE = 0.3
_FEWEST_LEVEL_POINTS = 200
_LARGEST_SLOPE = 0.1
_LEVEL_M = 0.01
# What rises by less than this many spreads of the surface's own points is noise.
_NOISE = 4.0
# Points are of one lump when their cells touch; these are so many voxels wide and so many times as
# wide as the distance of neighbouring points where the surface faces the camera.
_CELL_VOXELS, _CELL_SPACINGS = 1.5, 2.5
# Side of the picture of an outline.
_OUTLINE_PX = 256


@dataclass(frozen=True, slots=True, eq=False)
class LevelSurface:
    """A level part of a segment.

    Attributes:
        index: index + 1 of the segment.
        cell_m: points that stand on it are connected when cells of this edge touch [m].
        plane: (3,) a, b, c of the surface z = a x + b y + c in the world [m].
        spread_m: usual distance of its points from it [m].
        outline_m: (N, 1, 2) float32 convex outline of its points, x and y in the world [m].
    """

    index: int
    cell_m: float
    plane: Float64
    spread_m: float
    outline_m: NDArray[np.float32]

    def height_m(self, world: Float64) -> Float64:
        """Height (N,) of points (N, 3) of the world above it [m]."""
        height: Float64 = world[:, 2] - world[:, :2] @ self.plane[:2] - self.plane[2]
        return height

    def least_m(self, voxel_size_m: float) -> float:
        """What rises by less may be its noise [m]."""
        return max(voxel_size_m / 2, _NOISE * self.spread_m)

    def encloses(self, world: Float64) -> Bool:
        """Return which points (N, 3) lie above or below the inside of its outline."""
        low, high = self.outline_m.min(axis=(0, 1)), self.outline_m.max(axis=(0, 1))
        inside: Bool = ((world[:, :2] >= low) & (world[:, :2] <= high)).all(axis=1)
        # The outline as a picture: a lookup for each point.
        picture = np.zeros((_OUTLINE_PX, _OUTLINE_PX), np.uint8)
        scale = (_OUTLINE_PX - 1) / np.maximum(high - low, 1e-6)
        cv2.fillConvexPoly(
            picture, np.rint((self.outline_m[:, 0] - low) * scale).astype(np.int32), 1
        )
        column, row = np.rint((world[inside, :2] - low) * scale).astype(np.intp).T
        inside[inside] = picture[row, column] > 0
        return inside


def pitch_rad(points_m: NDArray[np.float32]) -> float:
    """Usual angle between neighbouring points (H, W, 3) of a row."""
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.diff(points_m[..., 0] / points_m[..., 2], axis=1)
    known = slope[np.isfinite(slope)]
    return float(np.median(known)) if len(known) else 0.0


def level_surfaces(
    segment: NDArray[np.uint16],
    world: Float64,
    spacing_m: NDArray[np.float32],
    settings: ObjectsConfiguration,
) -> Iterator[LevelSurface]:
    """Yield the main level surface of each segment that has one.

    Args:
        segment: (N,) index + 1 of each point's.
        world: (N, 3) points [m].
        spacing_m: (N,) distance of neighbours on a surface that faces the camera there [m].
        settings: the edge of voxels.
    """
    for index, chosen in groups(segment):
        if index and len(chosen) >= _FEWEST_LEVEL_POINTS:
            some = chosen[:: -(-len(chosen) // _MOST_FITTED)]
            spacings_m = _CELL_SPACINGS * float(np.median(spacing_m[some]))
            cell_m = max(_CELL_VOXELS * settings.voxel_size_m, spacings_m)
            surface = _level_surface(index, cell_m, world[some])
            if surface is not None:
                yield surface


def _level_surface(index: int, cell_m: float, world: Float64) -> LevelSurface | None:
    """The level at which most points (N, 3) lie, if enough do."""
    level = np.floor(world[:, 2] / _LEVEL_M).astype(np.int64)
    levels, counts = np.unique(level, return_counts=True)
    middle = (levels[counts.argmax()] + 0.5) * _LEVEL_M
    inside = np.abs(world[:, 2] - middle) <= 3 * _LEVEL_M
    plane = np.array((0.0, 0.0, middle))
    spread_m = _LEVEL_M
    for _ in range(3):
        near = world[inside]
        if len(near) < max(_LEVEL_SHARE * len(world), 3):
            return None
        design = np.column_stack((near[:, :2], np.ones(len(near))))
        plane = np.linalg.lstsq(design, near[:, 2], rcond=None)[0]
        if float(np.hypot(*plane[:2])) > _LARGEST_SLOPE:
            return None
        distance = np.abs(world[:, 2] - world[:, :2] @ plane[:2] - plane[2])
        # 1.48 times the median is the standard deviation of normal noise.
        spread_m = 1.48 * float(np.median(distance[inside]))
        inside = distance <= max(3 * spread_m, 0.3 * _LEVEL_M)
    outline = cv2.convexHull(world[inside, :2].astype(np.float32))
    return LevelSurface(index, cell_m, plane, spread_m, outline)


def groups(values: NDArray[np.integer]) -> Iterator[tuple[int, Int64]]:
    """Yield each value of an array (N,) with the positions that have it."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order].astype(np.int64), prepend=-1))
    for start, end in pairwise([*starts.tolist(), len(order)]):
        yield int(values[order[start]]), order[start:end]
