"""A surface as a bounded set of voxels, each with its mean point and what speaks for it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

_BITS = 21
_HALF = 1 << (_BITS - 1)
_MASK = (1 << _BITS) - 1
# A step along an axis changes a key by this much.
_STEPS = np.array((1 << 2 * _BITS, 1 << _BITS, 1), np.int64)
_NEIGHBOURS = np.concatenate(([0], _STEPS, -_STEPS))
# Of the 26 voxels around one, the half whose keys are larger.
_HALF_OF_CORNER_NEIGHBOURS = sorted(
    key for step in product((-1, 0, 1), repeat=3) if (key := int(np.dot(step, _STEPS))) > 0
)
_MOST_EVIDENCE = 10
# Points are connected when their cells, this many voxels wide, touch; separate lumps with less than
# this share of the largest do not count.
_CELL_VOXELS = 3
_LEAST_SHARE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class SurfacePatch:
    """The voxels that one picture shows of a thing.

    Attributes:
        keys: (N,) sorted keys of the voxels.
        sums_m: (N, 3) sum of the points in each [m].
        counts: (N,) number of points in each.
    """

    keys: Int64
    sums_m: Float64
    counts: Int64


def keys_of(points_m: NDArray[np.floating], voxel_size_m: float) -> Int64:
    """Return the key of the voxel of each point (N, 3) [m], as sortable integers (N,)."""
    cells = np.floor(points_m / voxel_size_m).astype(np.int64) + _HALF
    keys: Int64 = cells.clip(0, _MASK) @ _STEPS
    return keys


def surface_patch(points_m: NDArray[np.floating], voxel_size_m: float) -> SurfacePatch:
    """Sort points (N, 3) in the world [m] into voxels."""
    return _gathered(
        keys_of(points_m, voxel_size_m),
        points_m.astype(np.float64),
        np.ones(len(points_m), np.int64),
    )


def touching_lumps(keys: Int64) -> Int64:
    """Return for each voxel (N,), keys sorted and unique, the least position in its lump.

    Voxels that share a corner are in one lump.
    """
    first, second = [], []
    for step in _HALF_OF_CORNER_NEIGHBOURS:
        found = np.searchsorted(keys, keys + step).clip(max=len(keys) - 1)
        touches = keys[found] == keys + step
        first.append(np.flatnonzero(touches))
        second.append(found[touches])
    one, other = np.concatenate(first), np.concatenate(second)
    lump = np.arange(len(keys))
    while True:
        least = np.minimum(lump[one], lump[other])
        joined = lump.copy()
        np.minimum.at(joined, lump[one], least)
        np.minimum.at(joined, lump[other], least)
        # Each voxel looks up the lump of its lump, which halves the way to the least.
        joined = joined[joined]
        if (joined == lump).all():
            return joined
        lump = joined


def large_lumps(points_m: NDArray[np.floating], voxel_size_m: float) -> Int64:
    """Return a number for the lump of each point (N, 3) [m], -1 in one that is small.

    Ones that are small beside the largest are outliers: the wall behind, seen through a hole of
    the mask, or a part of another thing that the mask covers too.
    """
    cells, cell_of, counts = np.unique(
        keys_of(points_m, _CELL_VOXELS * voxel_size_m), return_inverse=True, return_counts=True
    )
    lump = touching_lumps(cells)
    sizes = np.bincount(lump, weights=counts)
    lump = np.where(sizes[lump] >= _LEAST_SHARE * sizes.max(), lump, -1)
    return lump[cell_of.reshape(-1)]


def in_large_lumps(points_m: NDArray[np.floating], voxel_size_m: float) -> NDArray[np.bool_]:
    """Return which points (N, 3) [m] lie in lumps that are not small beside the largest."""
    return large_lumps(points_m, voxel_size_m) >= 0


def coarser(patch: SurfacePatch, level: int) -> SurfacePatch:
    """Return a patch in voxels 2^level as large."""
    if level == 0:
        return patch
    return _gathered(_coarser_keys(patch.keys, level), patch.sums_m, patch.counts)


class Surface:
    """Voxels gathered over pictures; coarser ones when they become too many.

    The evidence for a voxel grows by one with each picture that shows it as part of the thing and
    falls with each that contradicts; it is bounded, so that a changed world is believed after a few
    pictures. A voxel without evidence is dropped.

    Args:
        patch: the first picture's voxels.
        voxel_size_m: their edge [m].
        max_voxels: most voxels kept.

    Attributes:
        level: the voxels are 2^level as large as those of patches.
    """

    def __init__(self, patch: SurfacePatch, voxel_size_m: float, max_voxels: int) -> None:
        self._voxel_size_m = voxel_size_m
        self._max_voxels = max_voxels
        self.level = 0
        self._patch = patch
        self._evidence = np.ones(len(patch.keys), np.int64)
        self._limit()

    def __len__(self) -> int:
        return len(self._patch.keys)

    @property
    def voxel_size_m(self) -> float:
        """Edge of the voxels now [m]."""
        return float(self._voxel_size_m * 2**self.level)

    @property
    def points_m(self) -> Float64:
        """(N, 3) mean point of each voxel in the world [m]."""
        points: Float64 = self._patch.sums_m / self._patch.counts[:, None]
        return points

    def supported_points_m(self, evidence: int) -> Float64:
        """(M, 3) mean points of the voxels with at least this evidence [m]."""
        points: Float64 = self.points_m[self._evidence >= evidence]
        return points

    def common(self, patch: SurfacePatch) -> tuple[int, int]:
        """Compare with a patch at this surface's resolution.

        Returns:
            (voxels of the patch, those of them that lie in or beside one of this surface).
        """
        near = self._beside(coarser(patch, self.level).keys)
        return len(near), int(near.sum())

    def share_in(self, patch: SurfacePatch) -> float:
        """Return the share of this surface's voxels that a patch has too, neighbours apart."""
        return float(np.isin(self._patch.keys, _coarser_keys(patch.keys, self.level)).mean())

    def near(self, patch: SurfacePatch) -> NDArray[np.bool_]:
        """Return which voxels (N,) of a patch lie in or beside one of this surface."""
        return self._beside(_coarser_keys(patch.keys, self.level))

    def add(self, patch: SurfacePatch) -> None:
        """Add what a picture shows of the thing."""
        patch = coarser(patch, self.level)
        self._join(patch, np.ones(len(patch.keys), np.int64))

    def merge(self, other: Surface) -> None:
        """Add all of another surface."""
        while self.level < other.level:
            self._coarsen()
        level = self.level - other.level
        keys = _coarser_keys(other._patch.keys, level)
        order = np.argsort(keys, kind="stable")
        starts = _starts(keys[order])
        evidence = np.maximum.reduceat(other._evidence[order], starts)
        self._join(coarser(other._patch, level), evidence)

    def contradict(self, refuted: NDArray[np.bool_]) -> None:
        """Lower the evidence for some voxels (N,); those without any are dropped."""
        self._evidence[refuted] -= 1
        self._keep(self._evidence > 0)

    def _beside(self, keys: Int64) -> NDArray[np.bool_]:
        own = self._patch.keys
        near = np.zeros(len(keys), np.bool_)
        for step in _NEIGHBOURS:
            found = np.searchsorted(own, keys + step)
            near |= own[np.minimum(found, len(own) - 1)] == keys + step
        return near

    def _join(self, patch: SurfacePatch, evidence: Int64) -> None:
        mine = self._patch
        keys = np.concatenate((mine.keys, patch.keys))
        order = np.argsort(keys, kind="stable")
        starts = _starts(keys[order])
        self._patch = _gathered(
            keys,
            np.concatenate((mine.sums_m, patch.sums_m)),
            np.concatenate((mine.counts, patch.counts)),
        )
        total = np.add.reduceat(np.concatenate((self._evidence, evidence))[order], starts)
        self._evidence = np.minimum(total, _MOST_EVIDENCE)
        self._limit()

    def _limit(self) -> None:
        while len(self._patch.keys) > self._max_voxels:
            self._coarsen()

    def _coarsen(self) -> None:
        keys = _coarser_keys(self._patch.keys, 1)
        order = np.argsort(keys, kind="stable")
        self._evidence = np.maximum.reduceat(self._evidence[order], _starts(keys[order]))
        self._patch = coarser(self._patch, 1)
        self.level += 1

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        patch = self._patch
        self._patch = SurfacePatch(patch.keys[kept], patch.sums_m[kept], patch.counts[kept])
        self._evidence = self._evidence[kept]


def _coarser_keys(keys: Int64, level: int) -> Int64:
    """Return the keys of voxels 2^level as large."""
    coarse = np.zeros_like(keys)
    for step in _STEPS:
        # Halved about the middle of the range, so that the origin stays a corner of voxels.
        cell = ((keys // step & _MASK) - _HALF >> level) + _HALF
        coarse += cell * step
    return coarse


def _gathered(keys: Int64, sums_m: Float64, counts: Int64) -> SurfacePatch:
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    if not len(keys):
        return SurfacePatch(keys, sums_m, counts)
    starts = _starts(keys)
    return SurfacePatch(
        keys[starts],
        np.add.reduceat(sums_m[order], starts, axis=0),
        np.add.reduceat(counts[order], starts),
    )


def _starts(sorted_keys: Int64) -> Int64:
    """Return where each new key begins."""
    return np.flatnonzero(np.concatenate(([True], sorted_keys[1:] != sorted_keys[:-1])))
