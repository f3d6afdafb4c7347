"""Measures of depth and camera poses, as papers on multi-view geometry report them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

_DELTA = 1.25
# Between cameras nearer than this there is no direction to judge.
LEAST_BASELINE_M = 0.02


@dataclass(frozen=True)
class Interval:
    """A mean over scenes with its bootstrap interval."""

    mean: float
    low: float
    high: float


def absolute_relative_error(predicted: Float64, true: Float64) -> float:
    """AbsRel: mean of |predicted - true| / true over pixels (N,); NaN without any."""
    return float(np.mean(np.abs(predicted - true) / true)) if len(true) else float("nan")


def within_delta(predicted: Float64, true: Float64) -> float:
    """Share of pixels (N,) with max(predicted / true, true / predicted) below 1.25."""
    if not len(true):
        return float("nan")
    ratio = np.maximum(predicted / true, true / np.maximum(predicted, 1e-12))
    return float(np.mean(ratio < _DELTA))


def median_scale(predicted: Float64, true: Float64) -> float:
    """Factor that brings the median of predicted / true to 1; NaN without pixels."""
    return float(1 / np.median(predicted / true)) if len(true) else float("nan")


@dataclass(frozen=True)
class PairErrors:
    """Errors of the relative pose of every pair of cameras of a scene.

    Attributes:
        rotation_deg: (P,) angle of the rotation between predicted and true relative rotation.
        direction_deg: (P,) angle between predicted and true direction of the baseline, 0 to 180;
            NaN where the true baseline is below ``LEAST_BASELINE_M``.
    """

    rotation_deg: Float64
    direction_deg: Float64


def pair_errors(predicted: Float64, true: Float64) -> PairErrors:
    """Compares the relative poses of all pairs; neither scale nor world frame matters.

    Args:
        predicted: (S, 4, 4) or (S, 3, 4) camera_from_world in any unit.
        true: the same in metres.
    """
    rotations, directions = [], []
    for first in range(len(true)):
        for second in range(first + 1, len(true)):
            own, wanted = (_relative(poses, first, second) for poses in (predicted, true))
            rotations.append(_rotation_angle_deg(own[:3, :3], wanted[:3, :3]))
            baseline_m = float(np.linalg.norm(wanted[:3, 3]))
            directions.append(
                _angle_deg(own[:3, 3], wanted[:3, 3])
                if baseline_m >= LEAST_BASELINE_M
                else float("nan")
            )
    return PairErrors(np.array(rotations, np.float64), np.array(directions, np.float64))


def accuracy_within(errors_deg: Float64, threshold_deg: float) -> float:
    """RRA or RTA: share of pairs with an error below a threshold; pairs with NaN do not count."""
    counted = errors_deg[np.isfinite(errors_deg)]
    return float(np.mean(counted < threshold_deg)) if len(counted) else float("nan")


def area_under_curve(errors: PairErrors, largest_deg: int = 30) -> float:
    """AUC: mean over 1, 2, ... ``largest_deg`` of the share of pairs below, in both errors.

    The error of a pair is the larger one of rotation and direction, counted in bins of one degree
    (PoseDiffusion, Wang et al. 2023).
    """
    counted = np.isfinite(errors.direction_deg)
    if not counted.any():
        return float("nan")
    worst = np.maximum(errors.rotation_deg, errors.direction_deg)[counted]
    thresholds = np.arange(1, largest_deg + 1)
    return float(np.mean(worst[:, None] < thresholds))


def bootstrap(
    values: Sequence[float] | Float64, *, seed: int = 0, draws: int = 2000, share: float = 0.95
) -> Interval:
    """Mean over scenes, and the interval of means of scenes drawn with replacement.

    Args:
        values: One number per scene; NaN (not measurable there) is left out.
        seed: Of the draws: the same in every run.
        draws: Number of resamples.
        share: Of the resampled means inside the interval.
    """
    kept = np.asarray(values, np.float64)
    kept = kept[np.isfinite(kept)]
    if not len(kept):
        return Interval(float("nan"), float("nan"), float("nan"))
    index = np.random.default_rng(seed).integers(len(kept), size=(draws, len(kept)))
    low, high = np.quantile(kept[index].mean(axis=1), ((1 - share) / 2, (1 + share) / 2))
    return Interval(float(kept.mean()), float(low), float(high))


def best_parameter(
    error: Callable[[float], float], low: float, high: float, steps: int = 81
) -> float:
    """Parameter in [low, high] with the least error, by grid search."""
    grid = np.linspace(low, high, steps)
    return float(grid[int(np.argmin([error(float(value)) for value in grid]))])


def _relative(poses: Float64, first: int, second: int) -> Float64:
    """Pose of camera ``first`` in camera ``second``."""
    return _square(poses[second]) @ np.linalg.inv(_square(poses[first]))


def _square(pose: Float64) -> Float64:
    result = np.eye(4)
    result[:3] = pose[:3]
    return result


def _rotation_angle_deg(predicted: Float64, true: Float64) -> float:
    # The sine keeps small angles exact, where the cosine has lost them to rounding.
    difference = predicted @ true.T
    axis = np.array(
        (
            difference[2, 1] - difference[1, 2],
            difference[0, 2] - difference[2, 0],
            difference[1, 0] - difference[0, 1],
        )
    )
    return float(np.degrees(np.arctan2(np.linalg.norm(axis) / 2, (np.trace(difference) - 1) / 2)))


def _angle_deg(a: Float64, b: Float64) -> float:
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))
