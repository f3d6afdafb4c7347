"""Poses, transforms and stamps survive the way through messages; what is none is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

geometry_msgs = pytest.importorskip("geometry_msgs.msg")

from builtin_interfaces.msg import Time

from sensorium.poses import pose_from_quaternion
from sensorium.ros.convert import ConversionError
from sensorium.ros.convert.header import header, stamp_from_time, time_from_stamp
from sensorium.ros.convert.pose import (
    matrix_from_pose,
    matrix_from_transform,
    pose_from_matrix,
    stamped_transform,
    transform_from_matrix,
)

POSES = st.builds(
    pose_from_quaternion,
    st.tuples(*[st.floats(-1000, 1000)] * 3),
    st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1),
)
LAST_NS = 2**31 * 10**9 - 1


@given(POSES)
def test_poses_and_transforms_make_the_round_trip(pose):
    np.testing.assert_allclose(matrix_from_pose(pose_from_matrix(pose)), pose, atol=1e-12)
    read = matrix_from_transform(transform_from_matrix(pose))
    np.testing.assert_allclose(read, pose, atol=1e-12)


def test_a_stamped_transform_names_both_frames():
    parent_from_child = np.eye(4)
    parent_from_child[:3, 3] = (1, 2, 3)
    message = stamped_transform(parent_from_child, 1_500_000_000, "map", "camera")
    assert (message.header.frame_id, message.child_frame_id) == ("map", "camera")
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1, 500_000_000)
    translation, rotation = message.transform.translation, message.transform.rotation
    assert (translation.x, translation.y, translation.z) == (1, 2, 3)
    assert (rotation.x, rotation.y, rotation.z, rotation.w) == (0, 0, 0, 1)


def test_a_quarter_turn_about_z_is_the_known_quaternion():
    pose = np.eye(4)
    pose[:2, :2] = ((0, -1), (1, 0))
    q = pose_from_matrix(pose).orientation
    np.testing.assert_allclose((q.x, q.y, q.z, q.w), (0, 0, np.sqrt(0.5), np.sqrt(0.5)))


def test_a_zero_quaternion_is_refused_with_the_remedy():
    message = geometry_msgs.Pose()
    message.orientation.w = 0.0
    with pytest.raises(ConversionError, match=r"no direction.*identity is w = 1"):
        matrix_from_pose(message)


def test_numbers_that_are_not_finite_are_refused():
    message = geometry_msgs.Transform()
    message.translation.x = float("nan")
    with pytest.raises(ConversionError, match="non-finite"):
        matrix_from_transform(message)


def test_a_matrix_that_is_not_rigid_is_refused():
    with pytest.raises(ConversionError, match="not rigid"):
        pose_from_matrix(np.diag((2.0, 2.0, 2.0, 1.0)))


@given(st.integers(0, LAST_NS))
def test_stamps_are_exact(stamp_ns):
    message = time_from_stamp(stamp_ns)
    assert message.sec * 10**9 + message.nanosec == stamp_ns
    assert stamp_from_time(message) == stamp_ns
    assert header(np.int64(stamp_ns), "camera").stamp == message


@pytest.mark.parametrize("stamp_ns", [-1, LAST_NS + 1])
def test_stamps_that_ros_cannot_hold_are_refused(stamp_ns):
    with pytest.raises(ConversionError, match=f"stamp is {stamp_ns} ns"):
        time_from_stamp(stamp_ns)


def test_stamps_in_floats_are_refused_because_they_lost_digits():
    with pytest.raises(ConversionError, match="never floats"):
        time_from_stamp(1.5e18)


def test_stamps_of_broken_clocks_are_refused():
    for message in (Time(sec=-1), Time(nanosec=10**9)):
        with pytest.raises(ConversionError, match="sec="):
            stamp_from_time(message)
