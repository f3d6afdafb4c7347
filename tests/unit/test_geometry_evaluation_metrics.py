"""Measures of depth and poses against values worked out by hand and other formulas."""

import cv2
import numpy as np
import pytest

from sensorium.geometry.evaluation_metrics import (
    PairErrors,
    absolute_relative_error,
    accuracy_within,
    area_under_curve,
    best_parameter,
    bootstrap,
    median_scale,
    pair_errors,
    within_delta,
)


def test_depth_measures_of_four_pixels_by_hand():
    true = np.array((1.0, 2.0, 4.0, 5.0))
    predicted = np.array((1.1, 2.0, 5.2, 3.0))
    assert absolute_relative_error(predicted, true) == pytest.approx((0.1 + 0 + 0.3 + 0.4) / 4)
    assert within_delta(predicted, true) == 0.5
    # Ratios true / predicted: 0.909, 1, 0.769, 1.667; the median is the reciprocal of the median of
    # predicted / true: 1.1, 1, 1.3, 0.6.
    assert median_scale(predicted, true) == pytest.approx(1 / 1.05)


def test_depth_measures_without_pixels_are_unknown():
    nothing = np.array(())
    assert np.isnan(absolute_relative_error(nothing, nothing))
    assert np.isnan(within_delta(nothing, nothing))
    assert np.isnan(median_scale(nothing, nothing))


def poses(vectors_deg, centres):
    """camera_from_world (S, 4, 4) of cameras with these rotation vectors and centres."""
    result = []
    for vector, centre in zip(vectors_deg, centres, strict=True):
        pose = np.eye(4)
        pose[:3, :3] = cv2.Rodrigues(np.radians(vector))[0]
        pose[:3, 3] = centre
        result.append(np.linalg.inv(pose))
    return np.stack(result)


def test_a_turned_camera_errs_by_its_angle_in_every_pair_it_is_in():
    true = poses([(0, 0, 0), (0, 20, 0), (10, 0, 5)], [(0, 0, 0), (1, 0, 0), (0, 1, 0)])
    turned = poses([(0, 0, 0), (0, 27, 0), (10, 0, 5)], [(0, 0, 0), (1, 0, 0), (0, 1, 0)])
    errors = pair_errors(turned, true)
    # Pairs: 0-1, 0-2, 1-2.
    np.testing.assert_allclose(errors.rotation_deg, (7, 0, 7), atol=1e-6)


def test_directions_are_those_of_the_baselines_in_the_second_camera():
    true = poses([(0, 0, 0)] * 2, [(0, 0, 0), (1, 0, 0)])
    shifted = poses([(0, 0, 0)] * 2, [(0, 0, 0), (3 * np.cos(0.2), 3 * np.sin(0.2), 0)])
    errors = pair_errors(shifted, true)
    np.testing.assert_allclose(errors.direction_deg, np.degrees([0.2]), atol=1e-6)
    opposite = poses([(0, 0, 0)] * 2, [(0, 0, 0), (-1, 0, 0)])
    np.testing.assert_allclose(pair_errors(opposite, true).direction_deg, (180,), atol=1e-6)


def test_neither_world_frame_nor_scale_of_the_prediction_matters():
    random = np.random.default_rng(3)
    vectors, centres = random.uniform(-40, 40, (4, 3)), random.uniform(-1, 1, (4, 3))
    true = poses(vectors, centres)
    moved = poses([(30, 60, -20)], [(4, 5, 6)])[0]
    elsewhere = true @ moved
    elsewhere[:, :3, 3] *= 2.5
    errors = pair_errors(elsewhere[:, :3], true)
    np.testing.assert_allclose(errors.rotation_deg, 0, atol=1e-5)
    np.testing.assert_allclose(errors.direction_deg, 0, atol=1e-5)


def test_pairs_without_a_baseline_do_not_count_for_directions():
    true = poses([(0, 0, 0)] * 3, [(0, 0, 0), (0.001, 0, 0), (1, 0, 0)])
    errors = pair_errors(true, true)
    assert np.isnan(errors.direction_deg[0])
    assert accuracy_within(errors.direction_deg, 5) == 1.0
    assert area_under_curve(errors) == 1.0


def test_the_area_under_the_curve_is_the_mean_of_the_accuracies_of_the_worse_error():
    random = np.random.default_rng(5)
    errors = PairErrors(random.uniform(0, 50, 40), random.uniform(0, 50, 40))
    worse = np.maximum(errors.rotation_deg, errors.direction_deg)
    # PoseDiffusion: a histogram of one-degree bins, summed up and averaged.
    histogram, _ = np.histogram(worse, bins=np.arange(31))
    assert area_under_curve(errors) == pytest.approx(float(np.cumsum(histogram / 40).mean()))


def test_bootstrap_intervals_hold_the_mean_as_often_as_they_say():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        interval = bootstrap(random.normal(2.0, 1.0, 30), draws=300)
        held += interval.low <= 2.0 <= interval.high
    assert 0.87 < held / 200 < 0.99


def test_bootstrap_leaves_out_what_could_not_be_measured():
    interval = bootstrap([1.0, float("nan"), 3.0])
    assert interval.mean == 2.0
    assert np.isnan(bootstrap([float("nan")]).mean)


def test_the_best_parameter_is_found_on_the_grid():
    assert best_parameter(lambda x: (x - 0.3) ** 2, -1, 1, steps=201) == pytest.approx(0.3)
