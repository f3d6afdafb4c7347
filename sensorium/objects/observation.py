"""The things of one picture, as patches of surface in the world."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sensorium.objects.configuration import ObjectsConfiguration
from sensorium.objects.labelled_view import UNLABELLED_CLASS, LabelledView, SeenSegment
from sensorium.objects.voxels import SurfacePatch, large_lumps, surface_patch
from sensorium.poses import Float64, transform_points

# Points of one segment that are looked at; more of them add nothing.
_MOST_POINTS = 20000


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """A thing in one picture: a segment, or one of its lumps where it hangs apart in the world.

    A network that takes two things of a kind for one gives them one segment; what stands in front
    of a thing parts its segment, too. The known objects tell which it is.

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

    def without(self, left_out: NDArray[np.bool_]) -> Observation:
        """The same without some voxels (N,), not all."""
        kept = ~left_out
        patch = SurfacePatch(
            self.patch.keys[kept], self.patch.sums_m[kept], self.patch.counts[kept]
        )
        points_m = patch.sums_m / patch.counts[:, None]
        return replace(self, patch=patch, low_m=points_m.min(axis=0), high_m=points_m.max(axis=0))


def observations(
    view: LabelledView,
    kept: NDArray[np.bool_],
    world_from_camera: Float64,
    settings: ObjectsConfiguration,
) -> Iterator[Observation]:
    """Yield the things of a picture that have enough points, lump by lump.

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
        if seen.class_id == UNLABELLED_CLASS:
            # One lump before its border was left out; so of a low thing a ring may be left.
            lumps = np.zeros(len(world), np.int64)
        else:
            lumps = large_lumps(world, settings.voxel_size_m)
        for lump in np.unique(lumps[lumps >= 0]):
            part = world[lumps == lump]
            if len(part) >= settings.min_points:
                patch = surface_patch(part, settings.voxel_size_m)
                yield Observation(index, seen, patch, part.min(axis=0), part.max(axis=0))
