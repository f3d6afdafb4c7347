"""The things of one picture, as patches of surface in the world."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.objects.configuration import ObjectsConfiguration
from sensorium.objects.labelled_view import LabelledView, SeenSegment
from sensorium.objects.voxels import SurfacePatch, keys_of, surface_patch, touching_lumps
from sensorium.poses import Float64, transform_points

# Points of one segment that are looked at; more of them add nothing.
_MOST_POINTS = 20000
# Points are connected when their cells, this many voxels wide, touch; separate lumps with less than
# this share of the largest are outliers (the wall behind, seen through a hole of the mask).
_CELL_VOXELS = 5
_LEAST_SHARE = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """A thing in one picture.

    Attributes:
        index: index + 1 in the picture's segments.
        segment: its segment.
        patch: what is seen of its surface.
        low_m: (3,) lowest corner in the world [m].
        high_m: (3,) highest corner [m].
    """

    index: int
    segment: SeenSegment
    patch: SurfacePatch
    low_m: Float64
    high_m: Float64


def observations(
    view: LabelledView,
    kept: NDArray[np.bool_],
    world_from_camera: Float64,
    settings: ObjectsConfiguration,
) -> Iterator[Observation]:
    """Yield the things of a picture that have enough points.

    Args:
        view: the picture.
        kept: (H, W) pixels whose label and point can be believed.
        world_from_camera: (4, 4) pose of its optical frame.
        settings: limits.
    """
    flat = np.flatnonzero(kept & (view.points_m[..., 2] <= settings.max_range_m))
    segment = view.segment.reshape(-1)[flat]
    order = np.argsort(segment, kind="stable")
    flat, segment = flat[order], segment[order]
    points = view.points_m.reshape(-1, 3)
    for index, seen in enumerate(view.segments, 1):
        start, end = np.searchsorted(segment, (index, index + 1))
        if not seen.is_thing or end - start < settings.min_points:
            continue
        chosen = flat[start : end : -(-(end - start) // _MOST_POINTS)]
        world = transform_points(world_from_camera, points[chosen].astype(np.float64))
        world = world[_in_large_lumps(world, _CELL_VOXELS * settings.voxel_size_m)]
        if len(world) < settings.min_points:
            continue
        patch = surface_patch(world, settings.voxel_size_m)
        yield Observation(index, seen, patch, world.min(axis=0), world.max(axis=0))


def _in_large_lumps(points_m: Float64, cell_m: float) -> NDArray[np.bool_]:
    """Return which points (N, 3) lie in lumps that are not small beside the largest."""
    cells, cell_of, counts = np.unique(
        keys_of(points_m, cell_m), return_inverse=True, return_counts=True
    )
    lump = touching_lumps(cells)
    sizes = np.bincount(lump, weights=counts)
    large = sizes >= _LEAST_SHARE * sizes.max()
    kept: NDArray[np.bool_] = large[lump[cell_of.reshape(-1)]]
    return kept
