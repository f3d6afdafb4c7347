"""Metres for a model that knows none: from sensor depth, and apart from it from given poses.

A feed-forward model predicts in a unit of its own, which changes from window to window. Each source
of metres gives one ratio per pixel or per pair of cameras; the median of their logarithms is the
scale, and their spread says how far to believe it. The two sources are never mixed: that they agree
is the one check on both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from sensorium.poses import Float64

# Median absolute deviation of a normal distribution to its standard deviation.
_MAD_TO_SIGMA = 1.4826
# Fewer pixels or an exact zero of the model say nothing.
_MIN_PIXELS = 50
_MIN_PREDICTED = 1e-9
# Two sources disagree when they differ by more than this factor and by more than their spread.
_DISAGREEMENT = 1.25
_SPREADS = 2.0
# Below this many pairs of cameras the spread of the ratios is not known.
_MIN_PAIRS = 3


@dataclass(frozen=True, slots=True)
class ScaleEstimate:
    """Metres per unit of the model in one window.

    Attributes:
        metres_per_unit: exp of the median of log(measured / predicted).
        spread: robust standard deviation of these logarithms (1.4826 times their median absolute
            deviation): 0.05 means that a typical pixel or baseline is 5 % off the scale.
        count: pixels or pairs of cameras.
    """

    metres_per_unit: float
    spread: float
    count: int


@dataclass(frozen=True, slots=True)
class WindowScale:
    """The scale of one window by both sources.

    Attributes:
        by_depth: from sensor depth, or None.
        by_poses: from the baselines of given poses, or None.
        poses_agree: False when given and predicted poses show different motion (``trust.py``): the
            ratio of their baselines then means nothing and is not used.
    """

    by_depth: ScaleEstimate | None = None
    by_poses: ScaleEstimate | None = None
    poses_agree: bool = True

    @property
    def used(self) -> ScaleEstimate | None:
        """The scale to use: by depth where there is one, since it has thousands of ratios."""
        return self.by_depth or (self.by_poses if self.poses_agree else None)

    @property
    def source(self) -> str:
        """Name of the source of `used`: "depth", "poses" or "none"."""
        if self.by_depth is not None:
            return "depth"
        return "none" if self.used is None else "poses"

    @property
    def disagreement(self) -> str:
        """Why the two sources cannot both be right, in one sentence; "" when nothing says so.

        They disagree when they differ by more than 25 % and by more than twice their joint spread.
        Nothing is said where the poses show another motion than the model sees (which is reported
        by itself), or with fewer than three pairs of cameras, whose spread is unknown.
        """
        depth, poses = self.by_depth, self.by_poses
        if depth is None or poses is None or poses.count < _MIN_PAIRS or not self.poses_agree:
            return ""
        ratio = poses.metres_per_unit / depth.metres_per_unit
        allowed = max(math.log(_DISAGREEMENT), _SPREADS * math.hypot(depth.spread, poses.spread))
        if abs(math.log(ratio)) <= allowed:
            return ""
        return (
            f"the scale by poses is {ratio:.2f} times the scale by depth (allowed "
            f"{math.exp(-allowed):.2f} to {math.exp(allowed):.2f}): check the unit of the depth "
            "image and the poses (TF, odometry); depth is used"
        )


def scale_from_depth(
    measured_m: NDArray[np.floating],
    predicted: NDArray[np.floating],
    confidence: NDArray[np.floating],
) -> ScaleEstimate | None:
    """Return the scale by sensor depth, over valid pixels that are at least of median confidence.

    Args:
        measured_m: (..., H, W) sensor depth [m]; NaN, infinite, zero and negative are invalid.
        predicted: (..., H, W) depth of the model in its unit.
        confidence: (..., H, W) the model's confidence in any unit that grows with trust.

    Returns:
        None with fewer than 50 such pixels.
    """
    usable = (measured_m > 0) & np.isfinite(measured_m)
    usable &= (predicted > _MIN_PREDICTED) & np.isfinite(predicted)
    if np.count_nonzero(usable) < _MIN_PIXELS:
        return None
    trusted = confidence[usable] >= np.median(confidence[usable])
    ratios = measured_m[usable][trusted] / predicted[usable][trusted]
    return _estimate(ratios) if len(ratios) >= _MIN_PIXELS else None


def scale_from_baselines(
    world_from_camera: NDArray[np.float64],
    window_from_camera: NDArray[np.float64],
    *,
    least_baseline_m: float,
) -> ScaleEstimate | None:
    """Return the scale by the distances between cameras.

    Args:
        world_from_camera: (N, 4, 4) given poses [m].
        window_from_camera: (N, 4, 4) poses of the same cameras by the model, in its unit.
        least_baseline_m: pairs that are closer are left out: their distance is mostly noise [m].

    Returns:
        None when no pair is far enough apart.
    """
    ratios = []
    for first, second in combinations(range(len(world_from_camera)), 2):
        given_m = _distance(world_from_camera, first, second)
        predicted = _distance(window_from_camera, first, second)
        if given_m >= least_baseline_m and predicted > _MIN_PREDICTED:
            ratios.append(given_m / predicted)
    return _estimate(np.array(ratios)) if ratios else None


def _distance(poses: Float64, first: int, second: int) -> float:
    return float(np.linalg.norm(poses[first, :3, 3] - poses[second, :3, 3]))


def _estimate(ratios: NDArray[np.floating]) -> ScaleEstimate:
    logs = np.log(ratios.astype(np.float64))
    middle = float(np.median(logs))
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(logs - middle)))
    return ScaleEstimate(math.exp(middle), spread, len(logs))
