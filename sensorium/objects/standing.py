"""What stands on a level surface, whole: geometry completes the masks of the network.

A network that overlooks a part of a thing on a table, because it has the table's colour, gives it
to the table. Its points rise above the table all the same. Source of the idea: tabletop
segmentation (Rusu 2009, "Semantic 3D Object Maps for Everyday Manipulation").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from sensorium.objects.configuration import ObjectsConfiguration
from sensorium.objects.labelled_view import (
    UNLABELLED_CLASS,
    UNNAMED,
    LabelledView,
    SeenSegment,
)
from sensorium.objects.voxels import keys_of, touching_lumps
from sensorium.poses import Float64, transform_points

Bool = NDArray[np.bool_]
Int64 = NDArray[np.int64]

# Of the points of a picture so many are enough to find surfaces and lumps, of one segment so many
# to fit its level.
_MOST_POINTS = 80000
_MOST_FITTED = 4000
# Of a segment, so much must lie on one level to be a surface that things stand on, and so many
# points; it may be tilted by so much (rise per run).
_LEVEL_SHARE = 0.3
_FEWEST_LEVEL_POINTS = 200
_LARGEST_SLOPE = 0.1
_LEVEL_M = 0.01
# What rises by less than this many spreads of the surface's own points is noise.
_NOISE = 4.0
# A segment names a lump when it has this share of the lump's points, and the lump this share of
# those of the segment that rise.
_SHARE_OF_LUMP = 0.3
_SHARE_OF_SEGMENT = 0.3
# A lump is an unnamed thing when so much of it is unlabelled or labelled as the surface.
_UNNAMED_SHARE = 0.7
# Points are of one lump when their cells touch; these are so many voxels wide and so many times as
# wide as the distance of neighbouring points where the surface faces the camera.
_CELL_VOXELS, _CELL_SPACINGS = 1.5, 2.5
# Side of the picture of an outline.
_OUTLINE_PX = 256
# Nothing farther above a surface is looked at.
_REACH_M = 2.0
_UNNAMED_SEGMENT = SeenSegment(0, UNLABELLED_CLASS, UNNAMED, is_thing=True, score=0.0)


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
        return max(voxel_size_m, _NOISE * self.spread_m)

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


def completed(
    view: LabelledView, world_from_camera: Float64, settings: ObjectsConfiguration
) -> LabelledView:
    """Return a picture in which things that stand on level surfaces are whole.

    What rises above a surface and hangs together is one lump. Pixels of a lump that are unlabelled
    or labelled as the surface become those of the thing that has most of the rest of the lump;
    where no thing has enough of it they become unlabelled, or with ``unnamed_things`` those of a
    new segment named ``UNNAMED``. Pixels of things stay what they are.

    Args:
        view: the picture.
        world_from_camera: (4, 4) pose of its optical frame in a world whose z points up.
        settings: ``standing_m`` is the height of the highest things; 0 changes nothing.
    """
    if settings.standing_m <= 0:
        return view
    height, width = view.segment.shape
    step = int(np.ceil(np.sqrt(height * width / _MOST_POINTS)))
    coarse = view.points_m[::step, ::step].reshape(-1, 3)
    segment = view.segment[::step, ::step].reshape(-1)
    usable = coarse[:, 2] <= settings.max_range_m  # False where there is no point
    segment = segment[usable]
    depth_m = coarse[usable, 2]
    world = transform_points(world_from_camera, coarse[usable].astype(np.float64))
    pitch_rad = _pitch_rad(view.points_m[::step, ::step])
    segments = list(view.segments)
    result = view.segment
    # From low to high: what stands on a table that stands on the floor is judged by the table.
    for surface in sorted(
        _level_surfaces(segment, world, depth_m * pitch_rad, settings), key=lambda one: one.plane[2]
    ):
        found = _owned_cells(surface, world, segment, segments, settings, step)
        if found is None:
            continue
        segment = _given(found, surface, world, segment, settings)
        if result is view.segment:
            result = result.copy()
        row, column = _lost_pixels(surface, view, result, world_from_camera, settings)
        every = transform_points(world_from_camera, view.points_m[row, column].astype(np.float64))
        result[row, column] = _given(found, surface, every, result[row, column], settings)
    if result is view.segment:
        return view
    return replace(view, segment=result, segments=tuple(segments))


def _pitch_rad(points_m: NDArray[np.float32]) -> float:
    """Usual angle between neighbouring points (H, W, 3) of a row."""
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.diff(points_m[..., 0] / points_m[..., 2], axis=1)
    known = slope[np.isfinite(slope)]
    return float(np.median(known)) if len(known) else 0.0


def _level_surfaces(
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
    for index, chosen in _groups(segment):
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


@dataclass(frozen=True, slots=True)
class _OwnedCells:
    """Cells of lumps, sorted keys, and the index + 1 of the thing that each belongs to."""

    keys: Int64
    owner: NDArray[np.uint16]


def _owned_cells(
    surface: LevelSurface,
    world: Float64,
    segment: NDArray[np.uint16],
    segments: list[SeenSegment],
    settings: ObjectsConfiguration,
    step: int,
) -> _OwnedCells | None:
    """What stands on a surface, lump by lump; None where no point of it was lost.

    ``segments`` grows by those of unnamed things.
    """
    height = surface.height_m(world)
    rising = np.flatnonzero((height > surface.least_m(settings.voxel_size_m)) & (height < _REACH_M))
    rising = rising[surface.encloses(world[rising])]
    fewest = max(settings.min_points // step**2, 4)
    if len(rising) < fewest:
        return None
    height, segment = height[rising], segment[rising]
    is_thing = np.array([False, *(one.is_thing for one in segments)])
    sizes = np.bincount(segment, minlength=len(is_thing))
    cells, cell_of = np.unique(keys_of(world[rising], surface.cell_m), return_inverse=True)
    lump_of_cell = touching_lumps(cells)
    owner = np.zeros(len(cells), np.uint16)
    kept = np.zeros(len(cells), np.bool_)
    for lump, chosen in _groups(lump_of_cell[cell_of.reshape(-1)]):
        lost = (segment[chosen] == 0) | (segment[chosen] == surface.index)
        if (
            lost.any()
            and len(chosen) >= fewest
            and float(height[chosen].max()) <= settings.standing_m
        ):
            own = lump_of_cell == lump
            name = _owner(segment[chosen][~lost], len(chosen), is_thing, sizes)
            if not name and settings.unnamed_things and lost.mean() >= _UNNAMED_SHARE:
                segments.append(_UNNAMED_SEGMENT)
                name = len(segments)
            owner[own] = name
            kept |= own
    return _OwnedCells(cells[kept], owner[kept]) if kept.any() else None


def _owner(named: NDArray[np.uint16], size: int, is_thing: Bool, sizes: Int64) -> int:
    """Index + 1 of the thing that a lump is, from its named points (N,); 0 when none."""
    counts = np.bincount(named, minlength=len(sizes))
    claims = is_thing & (counts >= _SHARE_OF_LUMP * size) & (counts >= _SHARE_OF_SEGMENT * sizes)
    return int(np.where(claims, counts, 0).argmax()) if claims.any() else 0


def _lost_pixels(
    surface: LevelSurface,
    view: LabelledView,
    segment: NDArray[np.uint16],
    world_from_camera: Float64,
    settings: ObjectsConfiguration,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of pixels above a surface that are the surface's or nobody's."""
    up = np.array((-surface.plane[0], -surface.plane[1], 1.0))
    normal = (up @ world_from_camera[:3, :3]).astype(np.float32)
    offset = float(up @ world_from_camera[:3, 3] - surface.plane[2])
    height = view.points_m @ normal
    rises = height > surface.least_m(settings.voxel_size_m) - offset
    row, column = np.nonzero(rises & ((segment == 0) | (segment == surface.index)))
    return row, column


def _given(
    cells: _OwnedCells,
    surface: LevelSurface,
    world: Float64,
    segment: NDArray[np.uint16],
    settings: ObjectsConfiguration,
) -> NDArray[np.uint16]:
    """Give lost points (N, 3) of lumps to the things that own them; returns segments (N,)."""
    keys = keys_of(world, surface.cell_m)
    at = np.searchsorted(cells.keys, keys).clip(max=len(cells.keys) - 1)
    is_lost = (segment == 0) | (segment == surface.index)
    rises = surface.height_m(world) > surface.least_m(settings.voxel_size_m)
    result: NDArray[np.uint16] = np.where(
        is_lost & rises & (cells.keys[at] == keys), cells.owner[at], segment
    )
    return result


def _groups(values: NDArray[np.integer]) -> Iterator[tuple[int, Int64]]:
    """Yield each value of an array (N,) with the positions that have it."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order].astype(np.int64), prepend=-1))
    for start, end in pairwise([*starts.tolist(), len(order)]):
        yield int(values[order[start]]), order[start:end]
