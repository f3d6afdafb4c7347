import threading

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
from sensorium.poses import inverse, pose_from_quaternion
from sensorium.ros.tf import TransformBuffer, TransformError

S = 1_000_000_000


def turn_z(angle, translation=(0, 0, 0)):
    return pose_from_quaternion(translation, (0, 0, np.sin(angle / 2), np.cos(angle / 2)))


@pytest.fixture
def robot():
    buffer = TransformBuffer(cache_s=10.0)
    for i in range(11):
        buffer.set("map", "base", i * S, turn_z(0.1 * i, (i, 0, 0)), is_static=False)
    buffer.set("base", "arm", 0, turn_z(0.0, (0, 0, 1)), is_static=True)
    buffer.set("arm", "camera", 0, turn_z(0.5, (0, 1, 0)), is_static=True)
    return buffer


def test_a_chain_of_moving_and_static_frames_is_interpolated_at_the_stamp(robot):
    expected = turn_z(0.25, (2.5, 0, 0)) @ turn_z(0, (0, 0, 1)) @ turn_z(0.5, (0, 1, 0))
    found = robot.lookup("map", "camera", int(2.5 * S))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(
        robot.lookup("camera", "map", int(2.5 * S)), inverse(expected), atol=1e-12
    )


def test_a_frame_relative_to_itself_is_the_identity(robot):
    np.testing.assert_array_equal(robot.lookup("camera", "camera", 0), np.eye(4))


def test_it_never_extrapolates_and_says_what_is_known(robot):
    with pytest.raises(TransformError, match=r"known from 0.000 s to 10.000 s, asked for 10.500"):
        robot.lookup("map", "camera", int(10.5 * S))


def test_unconnected_frames_are_named(robot):
    with pytest.raises(TransformError, match="no connection between map and gripper"):
        robot.lookup("map", "gripper", 0)


def test_a_lookup_waits_for_a_transform_that_is_under_way(robot):
    later = threading.Timer(
        0.1, lambda: robot.set("map", "base", 11 * S, turn_z(1.1, (11, 0, 0)), False)
    )
    later.start()
    found = robot.lookup("map", "base", int(10.5 * S), timeout_s=10.0)
    np.testing.assert_allclose(found[:3, 3], (10.5, 0, 0))


def test_old_transforms_are_forgotten_and_a_clock_that_goes_back_starts_anew(robot):
    robot.set("map", "base", 30 * S, turn_z(0), False)
    with pytest.raises(TransformError):
        robot.lookup("map", "base", 5 * S)
    robot.set("map", "base", 1 * S, turn_z(0, (7, 0, 0)), False)
    np.testing.assert_allclose(robot.lookup("map", "base", 1 * S)[:3, 3], (7, 0, 0))


def test_a_loop_of_frames_is_refused():
    buffer = TransformBuffer()
    buffer.set("a", "b", 0, np.eye(4), True)
    buffer.set("b", "a", 0, np.eye(4), True)
    with pytest.raises(TransformError, match="loop"):
        buffer.lookup("a", "c", 0)
