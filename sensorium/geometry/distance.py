"""How far points lie from a cloud, for judging maps against measurements."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Cells per axis that a key can tell apart.
_CELLS = 1 << 20


def distance_to_nearest(
    points_m: NDArray[np.floating], cloud_m: NDArray[np.floating], limit_m: float
) -> NDArray[np.float64]:
    """Return exact distances (N,) [m] to the nearest point of a cloud; infinite beyond the limit.

    The cloud is sorted into cells of the size of the limit, so that a nearest point within the
    limit is in one of the 27 cells around the query. Choose the limit a few times the spacing of
    the cloud: time grows with its cube.

    Args:
        points_m: (N, 3) queries.
        cloud_m: (M, 3) cloud.
        limit_m: distance up to which is searched [m].

    Raises:
        ValueError: the limit is not positive, or so small that the cells cannot be numbered.
    """
    points, cloud = np.asarray(points_m, np.float64), np.asarray(cloud_m, np.float64)
    nearest = np.full(len(points), np.inf)
    if limit_m <= 0:
        raise ValueError(f"limit is {limit_m:g} m; it must be positive")
    if len(points) == 0 or len(cloud) == 0:
        return nearest
    origin = np.minimum(points.min(axis=0), cloud.min(axis=0)) - 2 * limit_m
    extent = np.maximum(points.max(axis=0), cloud.max(axis=0)) - origin
    if extent.max() / limit_m > _CELLS - 2:
        raise ValueError(f"limit {limit_m:g} m is too small for an extent of {extent.max():g} m")
    strides = np.array((_CELLS * _CELLS, _CELLS, 1))
    keys = np.floor((cloud - origin) / limit_m).astype(np.int64) @ strides
    order = np.argsort(keys, kind="stable")
    keys, cloud = keys[order], cloud[order]
    home = np.floor((points - origin) / limit_m).astype(np.int64)
    for step in np.ndindex(3, 3, 3):
        key = (home + np.array(step) - 1) @ strides
        first = np.searchsorted(keys, key, "left")
        count = np.searchsorted(keys, key, "right") - first
        for offset in range(int(count.max())):
            index = np.flatnonzero(count > offset)
            gap = np.linalg.norm(points[index] - cloud[first[index] + offset], axis=1)
            nearest[index] = np.minimum(nearest[index], gap)
    nearest[nearest > limit_m] = np.inf
    return nearest
