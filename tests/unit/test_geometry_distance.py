"""Nearest distances against brute force."""

import numpy as np
import pytest

from sensorium.geometry.distance import distance_to_nearest


def test_distances_within_the_limit_are_exact_and_others_infinite():
    random = np.random.default_rng(0)
    cloud, points = random.uniform(0, 1, (800, 3)), random.uniform(-0.1, 1.1, (300, 3))
    expected = np.linalg.norm(points[:, None] - cloud, axis=-1).min(axis=1)
    found = distance_to_nearest(points, cloud, 0.1)
    assert (expected < 0.1).sum() > 100
    assert (expected > 0.1).sum() > 10
    np.testing.assert_allclose(found[expected < 0.1], expected[expected < 0.1])
    assert np.isinf(found[expected > 0.1]).all()


def test_nothing_is_near_an_empty_cloud():
    assert np.isinf(distance_to_nearest(np.zeros((4, 3)), np.zeros((0, 3)), 1.0)).all()
    assert distance_to_nearest(np.zeros((0, 3)), np.zeros((4, 3)), 1.0).shape == (0,)


def test_a_useless_limit_is_refused():
    with pytest.raises(ValueError, match="must be positive"):
        distance_to_nearest(np.zeros((1, 3)), np.zeros((1, 3)), 0.0)
    with pytest.raises(ValueError, match="too small"):
        distance_to_nearest(np.zeros((1, 3)), np.full((1, 3), 1e9), 0.1)
