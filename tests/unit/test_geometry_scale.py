"""Metres per unit of a model, against cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sensorium.geometry.scale import (
    ScaleEstimate,
    WindowScale,
    scale_from_baselines,
    scale_from_depth,
)


def poses(*centres):
    result = np.tile(np.eye(4), (len(centres), 1, 1))
    result[:, :3, 3] = centres
    return result


def test_the_scale_by_depth_is_the_median_ratio_of_confident_valid_pixels():
    predicted = np.ones((10, 20))
    measured = np.full((10, 20), 2.5)
    confidence = np.full((10, 20), 3.0)
    measured[0, :4] = (np.nan, np.inf, 0.0, -1.0)
    measured[1, :], confidence[1, :] = 40.0, 1.1
    predicted[2, 0], predicted[2, 1] = 0.0, np.nan
    estimate = scale_from_depth(measured, predicted, confidence)
    assert estimate is not None
    assert estimate.metres_per_unit == pytest.approx(2.5)
    assert estimate.spread == 0.0
    # 200 pixels less 4 invalid, 2 without a prediction and a row of 20 of low confidence.
    assert estimate.count == 174


def test_the_spread_is_the_median_deviation_of_the_logarithms():
    # Logarithms -0.1, 0 and 0.1 in equal parts: the median deviation is 0.1.
    measured = np.exp(np.repeat((-0.1, 0.0, 0.1), 100)).reshape(3, 100)
    estimate = scale_from_depth(measured, np.ones((3, 100)), np.ones((3, 100)))
    assert estimate is not None
    assert estimate.metres_per_unit == pytest.approx(1.0)
    assert estimate.spread == pytest.approx(1.4826 * 0.1)


def test_a_third_of_wild_pixels_does_not_move_the_scale():
    measured = np.full(3000, 1.7)
    measured[:1000] = np.random.default_rng(0).uniform(3.0, 9.0, 1000)
    estimate = scale_from_depth(measured, np.ones(3000), np.ones(3000))
    assert estimate is not None
    assert estimate.metres_per_unit == pytest.approx(1.7)


def test_too_few_pixels_give_no_scale():
    assert scale_from_depth(np.ones((7, 7)), np.ones((7, 7)), np.ones((7, 7))) is None
    nothing = np.full((9, 9), np.nan)
    assert scale_from_depth(nothing, np.ones((9, 9)), np.ones((9, 9))) is None


def test_the_scale_by_baselines_needs_no_common_frame():
    # Centres 3, 4 and 5 m apart; the model sees them at a tenth, elsewhere and turned.
    given = poses((7.0, 0, 0), (7.0, 3.0, 0), (7.0, 0, 4.0))
    turn = np.array(((0.0, -1, 0), (1, 0, 0), (0, 0, 1)))
    predicted = given.copy()
    predicted[:, :3, 3] = given[:, :3, 3] @ turn.T / 10 + 1
    estimate = scale_from_baselines(given, predicted, least_baseline_m=0.1)
    assert estimate is not None
    assert estimate.metres_per_unit == pytest.approx(10.0)
    assert estimate.spread == pytest.approx(0.0, abs=1e-9)
    assert estimate.count == 3


def test_cameras_closer_than_the_noise_give_no_scale():
    given = poses((0, 0, 0), (0.03, 0, 0), (0.2, 0, 0))
    estimate = scale_from_baselines(given, given * 2, least_baseline_m=0.15)
    assert estimate is not None
    assert estimate.count == 2
    assert scale_from_baselines(given, given, least_baseline_m=1.0) is None
    assert scale_from_baselines(given[:1], given[:1], least_baseline_m=0.0) is None
    # A model that sees no motion at all.
    assert scale_from_baselines(given, poses((1, 1, 1), (1, 1, 1), (1, 1, 1)),
                                least_baseline_m=0.1) is None  # fmt: skip


def estimate(metres, spread=0.01, count=1000):
    return ScaleEstimate(metres, spread, count)


def test_depth_wins_and_poses_stand_in():
    both = WindowScale(estimate(2.0), estimate(2.1, count=3))
    assert (both.used, both.source) == (both.by_depth, "depth")
    poses_alone = WindowScale(None, estimate(2.1))
    assert (poses_alone.used, poses_alone.source) == (poses_alone.by_poses, "poses")
    assert (WindowScale().used, WindowScale().source) == (None, "none")


def test_baselines_of_poses_that_show_another_motion_are_not_used():
    scale = WindowScale(None, estimate(2.1), poses_agree=False)
    assert (scale.used, scale.source) == (None, "none")
    assert WindowScale(estimate(2.0), estimate(9.0), poses_agree=False).disagreement == ""


@pytest.mark.parametrize(
    ("poses_scale", "spread", "pairs", "disagrees"),
    [
        (2.4, 0.0, 3, False),  # 20 %
        (2.6, 0.0, 3, True),  # 30 %
        (1.5, 0.0, 3, True),
        (2.6, 0.2, 3, False),  # within twice a spread of 20 %
        (2000.0, 0.2, 6, True),  # millimetres
        (2000.0, 0.0, 2, False),  # two pairs: nobody knows how far they scatter
    ],
)
def test_a_disagreement_is_more_than_a_quarter_and_more_than_the_spread(
    poses_scale, spread, pairs, disagrees
):
    scale = WindowScale(estimate(2.0, 0.0), estimate(poses_scale, spread, pairs))
    text = scale.disagreement
    assert bool(text) is disagrees
    if disagrees:
        assert f"{poses_scale / 2:.2f} times" in text
        assert "check the unit" in text


def test_with_one_source_nothing_can_disagree():
    assert WindowScale(estimate(2.0)).disagreement == ""
    assert WindowScale(None, estimate(2.0)).disagreement == ""
    assert math.isclose(WindowScale(estimate(2.0)).used.metres_per_unit, 2.0)
