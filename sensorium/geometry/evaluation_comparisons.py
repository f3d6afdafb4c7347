"""The judged comparisons: what an evaluation has to show beside the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.geometry.evaluation import EXACT_DEPTH, Scores
from sensorium.geometry.evaluation_metrics import (
    Interval,
    absolute_relative_error,
    best_parameter,
    bootstrap,
    median_scale,
)

Float64 = NDArray[np.float64]

LARGEST_DEPTH_ERROR = 0.03
LARGEST_FILLED_ERROR = 0.08
LEAST_GAIN = 0.30

# Pixels per group that a predictor without images is fitted and judged on.
_PIXELS = 4000


@dataclass(frozen=True)
class Comparison:
    """One number with its interval, and the rule that it has to keep.

    Attributes:
        name: What was measured.
        value: Mean over groups with its interval.
        rule: In words.
        passed: Whether the mean keeps it, or None where there is no rule: for information.
    """

    name: str
    value: Interval
    rule: str = ""
    passed: bool | None = None


def comparisons(scores: Scores) -> tuple[Comparison, ...]:
    """Returns every comparison that the scores allow."""
    return (
        *_given_depth(scores),
        *_completion(scores),
        *_predictors(scores),
        *_auxiliaries(scores),
    )


def _given_depth(scores: Scores) -> list[Comparison]:
    result = []
    rule = f"AbsRel at most {LARGEST_DEPTH_ERROR:g}"
    labels = {
        "depth 100 %": "model, sensor depth given in all views",
        EXACT_DEPTH: "model, exact depth given in all views",
    }
    for condition, label in labels.items():
        if condition in scores.metrics:
            value = bootstrap(scores.metrics[condition]["AbsRel"])
            result.append(Comparison(label, value, rule, value.mean <= LARGEST_DEPTH_ERROR))
    # Of a recording, what was measured is the truth: refined depth would be judged by itself.
    if EXACT_DEPTH in scores.metrics:
        value = bootstrap([errors.refined for errors in scores.completion])
        label = "refined depth: sensor depth, its holes filled, metres"
        result.append(Comparison(label, value, rule, value.mean <= LARGEST_DEPTH_ERROR))
    for label, shares in (
        (
            "share of the image with depth, as measured",
            [e.measured_share for e in scores.completion],
        ),
        ("share of the image with depth, refined", [e.refined_share for e in scores.completion]),
    ):
        result.append(Comparison(label, bootstrap(shares)))
    return result


def _completion(scores: Scores) -> list[Comparison]:
    errors = scores.completion
    filled = np.array([each.filled for each in errors])
    value = bootstrap(filled)
    result = [
        Comparison(
            "hidden blocks filled from borders, colour and model, AbsRel in metres",
            value,
            f"AbsRel at most {LARGEST_FILLED_ERROR:g}",
            value.mean <= LARGEST_FILLED_ERROR,
        )
    ]
    alone = np.array([each.without_model for each in errors])
    result.append(Comparison("hidden blocks filled from borders and colour", bootstrap(alone)))
    result.append(Comparison("hidden blocks: what the model takes off that", _gain(filled, alone)))
    rivals = {
        "nearest neighbour": [each.nearest for each in errors],
        "cv2.inpaint, Telea": [each.telea for each in errors],
        "cv2.inpaint, Navier-Stokes": [each.navier_stokes for each in errors],
    }
    for name, values in rivals.items():
        result.append(Comparison(f"hidden blocks filled by {name}", bootstrap(values)))
    for name, values in rivals.items():
        gain = _gain(filled, np.array(values))
        label = f"hidden blocks: error below that of {name} by"
        result.append(Comparison(label, gain, "above 0", gain.mean > 0))
    return result


def _predictors(scores: Scores) -> list[Comparison]:
    own = np.array(scores.metrics["none"]["AbsRel"])
    result = [Comparison("images alone, AbsRel", bootstrap(own))]
    groups = [_pixels(depth) for depth in scores.true_depth_m]
    slope = best_parameter(
        lambda value: float(np.mean(_row_errors(groups, value))), -0.98, 0.98, steps=197
    )
    for name, errors in (
        ("best constant", _row_errors(groups, 0.0)),
        ("best linear in the row", _row_errors(groups, slope)),
    ):
        result.append(Comparison(f"{name}, AbsRel", bootstrap(errors)))
        gain = _gain(own, errors)
        label = f"images alone: error below that of the {name} by"
        rule = f"at least {LEAST_GAIN:.0%}"
        result.append(Comparison(label, gain, rule, gain.mean >= LEAST_GAIN))
    return result


def _auxiliaries(scores: Scores) -> list[Comparison]:
    """Paired differences: what each input does for the numbers that it is given for."""
    result = []
    for condition, metric, sign in (
        ("depth 100 %", "AbsRel", -1),
        ("depth 100 %", "d<1.25", 1),
        ("cameras 100 %", "RRA@5", 1),
        ("cameras 100 %", "RTA@5", 1),
        ("cameras 100 %", "AUC@30", 1),
    ):
        with_input = np.array(scores.metrics[condition][metric])
        without = np.array(scores.metrics["none"][metric])
        value = bootstrap(sign * (with_input - without))
        label = f"{condition} against none: {metric} better by"
        result.append(Comparison(label, value, "above 0", value.mean > 0))
    return result


def _gain(own: Float64, rival: Float64) -> Interval:
    """1 - mean(own) / mean(rival), both over the same resampled groups."""
    kept = np.isfinite(own) & np.isfinite(rival)
    own, rival = own[kept], rival[kept]
    if not len(own):
        return Interval(math.nan, math.nan, math.nan)
    rival = np.maximum(rival, 1e-12)
    index = np.random.default_rng(0).integers(len(own), size=(2000, len(own)))
    gains = 1 - own[index].mean(axis=1) / rival[index].mean(axis=1)
    low, high = np.quantile(gains, (0.025, 0.975))
    return Interval(float(1 - own.mean() / rival.mean()), float(low), float(high))


def _row_errors(groups: Sequence[tuple[Float64, Float64]], slope: float) -> Float64:
    """AbsRel per group of depth 1 + slope * row, aligned as the model's depth is."""
    errors = []
    for row, true in groups:
        predicted = 1 + slope * row
        errors.append(absolute_relative_error(predicted * median_scale(predicted, true), true))
    return np.array(errors)


def _pixels(true_depth_m: NDArray[np.float32]) -> tuple[Float64, Float64]:
    """Rows, from -1 at the top to 1, and depth of evenly spaced pixels with known depth."""
    height = true_depth_m.shape[1]
    rows = np.broadcast_to(np.linspace(-1, 1, height)[:, None], true_depth_m.shape)
    known = np.flatnonzero(true_depth_m > 0)
    known = known[:: max(1, len(known) // _PIXELS)]
    return rows.reshape(-1)[known], true_depth_m.reshape(-1)[known].astype(np.float64)
