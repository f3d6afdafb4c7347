"""How good the geometry of a run is, in millimetres.

With exact depth in the recording (rendered scenes): published depth and points against it, pixel by
pixel; the fused map by the exact distance of its points to the surfaces of the scene. Without: the
agreement of the map with the depth of the frames, which is no ground truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.demo.recorded import RecordedFrame
from sensorium.demo.scene_distance import distance_to_scene
from sensorium.frames import valid_depth
from sensorium.geometry.distance import distance_to_nearest
from sensorium.poses import transform_points
from sensorium.sources.scene import Scene

# Distances beyond are outliers and counted as such.
LIMIT_M = 0.05
# Farther depth is not fused (map.filters.max_range_m).
_FARTHEST_M = 5.0
_COVERED_M = 0.03
_MOST_POINTS = 30_000


@dataclass(frozen=True, slots=True)
class ErrorSummary:
    """Errors of many points.

    Attributes:
        name: what was compared, for the table.
        is_truth: True when the reference is exact, False for mere agreement.
        points: number of comparisons.
        median_mm: median of the absolute error [mm].
        p90_mm: 90th percentile [mm].
        beyond: share of the points farther off than `LIMIT_M`; they are in the percentiles.
    """

    name: str
    is_truth: bool
    points: int
    median_mm: float
    p90_mm: float
    beyond: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The judgement of a run.

    Attributes:
        errors: one entry per comparison.
        covered: share of the visible true surface (or of the measured points) that has a map point
            within 30 mm; None without a map.
        frames: frames compared.
        notes: what could not be judged, and why.
    """

    errors: tuple[ErrorSummary, ...]
    covered: float | None
    frames: int
    notes: tuple[str, ...]


def evaluate(
    frames: Sequence[RecordedFrame],
    map_points_m: NDArray[np.floating],
    scene: Scene | None,
) -> Evaluation:
    """Judge a run.

    Args:
        frames: a sample of its frames.
        map_points_m: (N, 3) the saved map, in the frame of the poses [m].
        scene: the rendered scene, in the same frame, or None when it is not known.
    """
    errors: list[ErrorSummary] = []
    notes: list[str] = []
    with_truth = [frame for frame in frames if frame.truth_depth_m is not None]
    for name, differences in (
        ("published depth to exact depth", [_depth_error(frame) for frame in with_truth]),
        ("published points to exact points", [_point_error(frame) for frame in with_truth]),
    ):
        if differences:
            errors.append(_summary(name, True, np.concatenate(differences)))
    posed = [frame for frame in frames if frame.world_from_camera is not None]
    covered = None
    if not len(map_points_m):
        notes.append("the map is empty and was not judged")
    else:
        if scene is not None:
            # Beyond the limit, distances are cut to it: only `beyond` and p90 could notice.
            distance = distance_to_scene(_thinned(map_points_m), scene, 2 * LIMIT_M)
            errors.append(_summary("fused map to exact surface", True, distance))
        if posed:
            measured = not with_truth
            points = np.concatenate([_seen_points(frame, measured) for frame in posed])
            nearest = distance_to_nearest(_thinned(points), map_points_m, LIMIT_M)
            covered = float((nearest <= _COVERED_M).mean()) if len(nearest) else None
            if measured:
                errors.append(_summary("measured depth to fused map", False, nearest))
            elif scene is None:
                errors.append(_summary("exact points to fused map", True, nearest))
        else:
            notes.append("no pose of a frame is known in the map frame: the map was not judged")
    return Evaluation(tuple(errors), covered, len(frames), tuple(notes))


def _depth_error(frame: RecordedFrame) -> NDArray[np.float64]:
    assert frame.truth_depth_m is not None  # noqa: S101 - chosen by the caller
    depth = frame.depth_m if frame.points_depth_m is None else frame.points_depth_m
    both = valid_depth(depth) & valid_depth(frame.truth_depth_m)
    difference: NDArray[np.float64] = depth[both].astype(np.float64) - frame.truth_depth_m[both]
    return np.abs(difference)


def _point_error(frame: RecordedFrame) -> NDArray[np.float64]:
    assert frame.truth_depth_m is not None  # noqa: S101 - chosen by the caller
    if frame.points_m is None or frame.points_m.shape[:2] != frame.truth_depth_m.shape:
        return np.zeros(0)
    gap = frame.points_m.astype(np.float64) - back_projected(frame.truth_depth_m, frame.K)
    distance: NDArray[np.float64] = np.linalg.norm(gap, axis=2)
    return distance[np.isfinite(distance)]


def back_projected(depth_m: NDArray[np.float32], K: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (H, W, 3) points of a depth image in its optical frame [m]; NaN where invalid."""
    v, u = np.mgrid[: depth_m.shape[0], : depth_m.shape[1]].astype(np.float64)
    y = (v - K[1, 2]) / K[1, 1]
    x = (u - K[0, 2] - K[0, 1] * y) / K[0, 0]
    z = np.where(valid_depth(depth_m), depth_m, np.nan).astype(np.float64)
    return np.stack((x * z, y * z, z), axis=-1)


def _seen_points(frame: RecordedFrame, measured: bool) -> NDArray[np.float64]:
    """Return (N, 3) points in the world that the map should hold."""
    assert frame.world_from_camera is not None  # noqa: S101 - chosen by the caller
    valid = valid_depth(frame.depth_m) & (frame.depth_m <= _FARTHEST_M)
    depth = frame.depth_m
    if not measured and frame.truth_depth_m is not None:
        depth = frame.truth_depth_m
        valid &= valid_depth(depth)
    points = back_projected(depth, frame.K)[valid]
    return transform_points(frame.world_from_camera, points)


def _thinned(points: NDArray[np.floating]) -> NDArray[np.floating]:
    return points[:: max(1, len(points) // _MOST_POINTS)]


def _summary(name: str, is_truth: bool, error_m: NDArray[np.float64]) -> ErrorSummary:
    if not len(error_m):
        return ErrorSummary(name, is_truth, 0, float("nan"), float("nan"), float("nan"))
    # Not np.percentile: it would interpolate between infinities.
    ordered = np.sort(error_m)
    median, p90 = (float(ordered[int(share * (len(ordered) - 1))]) * 1e3 for share in (0.5, 0.9))
    beyond = float((error_m > LIMIT_M).mean())
    return ErrorSummary(name, is_truth, len(error_m), median, p90, beyond)
