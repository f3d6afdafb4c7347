"""A path from overlapping windows, each in a frame and unit of its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from omnivggt_backends import at

from sensorium.geometry.visual_odometry import OdometryConfiguration, VisualOdometry, mean_pose
from sensorium.poses import inverse

# Where the first camera was, seen from the path's frame: looking along x, z up.
BODY_FROM_OPTICAL = np.array(((0.0, 0, 1, 0), (-1, 0, 0, 0), (0, -1, 0, 0), (0, 0, 0, 1)))
WORLD_FROM_FIRST = at(4.0, 5.0, 6.0, 0.7)


def true_pose(stamp):
    """A walk: forwards along the optical axis, sideways, turning."""
    return WORLD_FROM_FIRST @ at(0.1 * stamp, 0.02 * stamp**2, 0.3 * stamp, 0.05 * stamp)


def window(stamps, unit):
    """Poses of a window as a model gives them: its first view is the origin, lengths in units."""
    first = inverse(true_pose(stamps[0]))
    poses = np.stack([first @ true_pose(stamp) for stamp in stamps])
    poses[:, :3, 3] /= unit
    return poses


def expected(stamp):
    return BODY_FROM_OPTICAL @ inverse(true_pose(0)) @ true_pose(stamp)


def keys(stamps, name="wrist"):
    return [(name, stamp) for stamp in stamps]


@pytest.mark.parametrize("unit", [0.25, 1.0, 7.0])
def test_metric_windows_join_to_the_true_path(unit):
    odometry = VisualOdometry(OdometryConfiguration())
    for newest in range(8):
        stamps = list(range(max(0, newest - 2), newest + 1))
        pose = odometry.update(keys(stamps), window(stamps, unit * (1 + newest)),
                               unit * (1 + newest))  # fmt: skip
        assert pose.reference_frame == "visual_odom"
        np.testing.assert_allclose(pose.reference_from_camera, expected(newest), atol=1e-9)
    assert odometry.restarts == 0


def test_a_path_without_metres_keeps_the_unit_of_its_first_window():
    odometry = VisualOdometry(OdometryConfiguration(frame="path"))
    odometry.update(keys([0]), window([0], 2.0), None)
    for newest in range(1, 8):
        stamps = list(range(max(0, newest - 3), newest + 1))
        # The unit changes from the third window on; shared views give it away.
        unit = 2.0 if newest < 3 else 0.3 * newest
        pose = odometry.update(keys(stamps), window(stamps, unit), None)
        assert pose.reference_frame == "path_unscaled"
        wanted = expected(newest)
        wanted[:3, 3] /= 2.0
        np.testing.assert_allclose(pose.reference_from_camera, wanted, atol=1e-9)


def test_a_metric_path_goes_on_when_metres_stop_coming():
    odometry = VisualOdometry(OdometryConfiguration())
    for newest in range(8):
        stamps = list(range(max(0, newest - 3), newest + 1))
        metres = 3.0 if newest < 4 else None
        pose = odometry.update(keys(stamps), window(stamps, 3.0 + (newest > 5)), metres)
    assert pose.reference_frame == "visual_odom"
    np.testing.assert_allclose(pose.reference_from_camera, expected(7), atol=1e-9)


def test_a_path_begins_anew_when_metres_become_known_or_no_view_is_shared():
    odometry = VisualOdometry(OdometryConfiguration())
    odometry.update(keys([0]), window([0], 1.0), None)
    odometry.update(keys([0, 1]), window([0, 1], 1.0), None)
    pose = odometry.update(keys([0, 1, 2]), window([0, 1, 2], 1.0), 1.0)
    assert pose.reference_frame == "visual_odom"
    np.testing.assert_array_equal(pose.reference_from_camera, BODY_FROM_OPTICAL)
    assert odometry.restarts == 1
    pose = odometry.update(keys([7, 8]), window([7, 8], 1.0), 1.0)
    np.testing.assert_array_equal(pose.reference_from_camera, BODY_FROM_OPTICAL)
    assert odometry.restarts == 2


def test_two_cameras_of_one_window_share_the_frame():
    odometry = VisualOdometry(OdometryConfiguration())
    odometry.update([("wrist", 0)], window([0], 1.0), 1.0)
    pose = odometry.update([("wrist", 0), ("scene", 1)], window([0, 1], 1.0), 1.0)
    np.testing.assert_allclose(pose.reference_from_camera, expected(1), atol=1e-9)


def test_the_covariance_grows_with_every_step_by_the_assumed_errors():
    settings = OdometryConfiguration(translation_error=0.1, rotation_error_rad=0.02)
    odometry = VisualOdometry(settings)
    straight = [np.stack((at(), at(z=0.5)))] * 3
    first = odometry.update(keys([0]), at()[None], 1.0)
    np.testing.assert_array_equal(first.covariance, np.zeros((6, 6)))
    one = odometry.update(keys([0, 1]), straight[0], 1.0)
    np.testing.assert_allclose(np.diag(one.covariance), [0.05**2] * 3 + [0.02**2] * 3)
    two = odometry.update(keys([1, 2]), straight[1], 1.0)
    np.testing.assert_allclose(np.diag(two.covariance), [2 * 0.05**2] * 3 + [2 * 0.02**2] * 3)


def test_views_that_contradict_each_other_widen_the_covariance():
    odometry = VisualOdometry(OdometryConfiguration(translation_error=0.0, rotation_error_rad=0.0))
    odometry.update(keys([0]), at()[None], 1.0)
    odometry.update(keys([0, 1]), np.stack((at(), at(x=1.0))), 1.0)
    # Seen from view 0 the newest is at x = 2.2, seen from view 1 at 1 + 1 = 2.
    pose = odometry.update(keys([0, 1, 2]), np.stack((at(), at(x=1.2), at(x=2.2))), 1.0)
    # x of the camera is -y of the path: mean -2.1, variance 2 * 0.1^2 over one degree of freedom.
    assert pose.reference_from_camera[1, 3] == pytest.approx(-2.1)
    assert pose.covariance[1, 1] == pytest.approx(0.02)
    assert pose.covariance[0, 0] == pytest.approx(0.0, abs=1e-12)


def test_the_mean_of_poses_and_their_scatter():
    poses = np.stack((at(1.0, yaw_rad=0.1), at(3.0, yaw_rad=0.3)))
    pose, covariance = mean_pose(poses)
    np.testing.assert_allclose(pose, at(2.0, yaw_rad=0.2), atol=1e-12)
    assert covariance[0, 0] == pytest.approx(2.0)
    assert covariance[5, 5] == pytest.approx(2 * math.sin(0.1) ** 2)
    assert covariance[0, 5] == pytest.approx(2 * 1.0 * math.sin(0.1))
