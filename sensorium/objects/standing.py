"""What stands on a level surface, whole: geometry completes the masks of the network.

A network that overlooks a part of a thing on a table, because it has the table's colour, gives it
to the table. Its points rise above the table all the same. Source of the idea: tabletop
segmentation (Rusu 2009, "Semantic 3D Object Maps for Everyday Manipulation").
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sensorium.objects.configuration import ObjectsConfiguration
from sensorium.objects.labelled_view import (
    UNLABELLED_CLASS,
    UNNAMED,
    LabelledView,
    SeenSegment,
)
from sensorium.objects.level_surface import (
    Bool,
    LevelSurface,
    groups,
    level_surfaces,
    pitch_rad,
)
from sensorium.objects.voxels import Int64, keys_of, touching_lumps
from sensorium.poses import Float64, transform_points

# Of the points of a picture so many are enough to find surfaces and lumps.
_MOST_POINTS = 80000
# A segment names a lump when it has this share of the lump's points, and the lump this share of
# those of the segment that rise.
_SHARE_OF_LUMP = 0.3
_SHARE_OF_SEGMENT = 0.3
# A lump is an unnamed thing when so much of it is unlabelled or labelled as the surface.
_UNNAMED_SHARE = 0.7
# Nothing farther above a surface is looked at.
_REACH_M = 2.0
_UNNAMED_SEGMENT = SeenSegment(0, UNLABELLED_CLASS, UNNAMED, is_thing=True, score=0.0)


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
    world = transform_points(world_from_camera, coarse[usable].astype(np.float64))
    spacing_m = coarse[usable, 2] * pitch_rad(view.points_m[::step, ::step])
    segments = list(view.segments)
    result = view.segment
    # From low to high: what stands on a table that stands on the floor is judged by the table.
    for surface in sorted(
        level_surfaces(segment, world, spacing_m, settings), key=lambda one: one.plane[2]
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
    for lump, chosen in groups(lump_of_cell[cell_of.reshape(-1)]):
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
