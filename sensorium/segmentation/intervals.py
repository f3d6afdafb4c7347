"""Bootstrap intervals of panoptic quality and mean IoU over scenes.

Views of one scene show the same things, so whole scenes are drawn again, not views
(Efron & Tibshirani 1993, percentile interval).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
RESAMPLES = 1000
COVERAGE = 0.95


@dataclass(frozen=True)
class Interval:
    """A measured value with the interval that covers 95 % of the resampled ones."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """Return the numbers for JSON, which has no NaN."""
        return {
            name: None if np.isnan(number) else round(number, 5)
            for name, number in vars(self).items()
        }


def mean_iou(counts: Float64) -> float:
    """Average the IoU of the classes in the truth; NaN without any.

    Args:
        counts: (classes, 3) pixels in both, in either, in the truth.
    """
    both, either, true = counts[counts[:, 2] > 0].T
    return float(np.mean(both / either)) if true.size else float("nan")


def mean_pq(counts: Float64) -> float:
    """Average panoptic quality over the classes that occurred; NaN without any.

    Args:
        counts: (classes, 4) matched, false positive, false negative, summed IoU.
    """
    matched, false_positive, false_negative, iou = counts[counts[:, :3].sum(1) > 0].T
    pq = iou / (matched + 0.5 * false_positive + 0.5 * false_negative)
    return float(np.mean(pq)) if pq.size else float("nan")


def bootstrap(
    per_scene: Sequence[Float64], statistic: Callable[[Float64], float], seed: int = 0
) -> Interval:
    """Return a statistic of summed counts with its interval.

    Args:
        per_scene: Counts of each scene, all of one shape.
        statistic: Maps summed counts to a number; NaN where a resample does not define it.
        seed: Of the draws.
    """
    counts = np.stack(per_scene).astype(np.float64)
    scenes = len(counts)
    random = np.random.default_rng(seed)
    times = random.multinomial(scenes, np.full(scenes, 1 / scenes), RESAMPLES)
    values = [statistic(np.tensordot(t, counts, 1)) for t in times]
    defined = np.array([v for v in values if not np.isnan(v)])
    if not defined.size:
        return Interval(statistic(counts.sum(0)), float("nan"), float("nan"))
    low, high = np.quantile(defined, ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2))
    return Interval(statistic(counts.sum(0)), float(low), float(high))
