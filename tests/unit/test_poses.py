import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.poses import (
    PoseError,
    interpolate,
    inverse,
    pose_from_quaternion,
    quaternion_from_pose,
    transform_points,
    validated_pose,
)

components = st.floats(-1, 1, allow_nan=False).filter(lambda v: abs(v) > 1e-3)
quaternions = st.tuples(components, components, components, components)
translations = st.tuples(*[st.floats(-100, 100)] * 3)


def test_a_quarter_turn_about_z_takes_x_to_y():
    pose = pose_from_quaternion((1, 2, 3), (0, 0, np.sqrt(0.5), np.sqrt(0.5)))
    np.testing.assert_allclose(transform_points(pose, np.array((1.0, 0, 0))), (1, 3, 3), atol=1e-12)


@given(quaternions, translations)
def test_quaternions_survive_the_matrix_and_inverses_cancel(quaternion, translation):
    pose = validated_pose(pose_from_quaternion(translation, quaternion))
    unit = np.asarray(quaternion) / np.linalg.norm(quaternion)
    unit *= 1 if unit[3] >= 0 else -1
    np.testing.assert_allclose(quaternion_from_pose(pose), unit, atol=1e-9)
    np.testing.assert_allclose(pose @ inverse(pose), np.eye(4), atol=1e-9)


@pytest.mark.parametrize("axis", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0)])
def test_half_turns_have_their_axis_as_quaternion(axis):
    np.testing.assert_allclose(quaternion_from_pose(pose_from_quaternion((0, 0, 0), axis)), axis)


def test_interpolation_halves_a_rotation_and_a_translation():
    first = np.eye(4)
    second = pose_from_quaternion((2, 0, 0), (0, 0, np.sin(0.4), np.cos(0.4)))
    middle = interpolate(first, second, 0.5)
    np.testing.assert_allclose(middle[:3, 3], (1, 0, 0))
    np.testing.assert_allclose(quaternion_from_pose(middle), (0, 0, np.sin(0.2), np.cos(0.2)))


@pytest.mark.parametrize(
    ("matrix", "text"),
    [
        (np.eye(3), "4 x 4"),
        (np.full((4, 4), np.nan), "non-finite"),
        (np.diag((2.0, 1, 1, 1)), "not rigid"),
        (np.diag((-1.0, 1, 1, 1)), "mirrors"),
        (np.eye(4) + np.eye(4)[::-1], "last row"),
    ],
)
def test_what_is_not_rigid_is_refused_with_the_reason(matrix, text):
    with pytest.raises(PoseError, match=text):
        validated_pose(matrix)


def test_a_zero_quaternion_is_refused():
    with pytest.raises(PoseError, match="no direction"):
        pose_from_quaternion((0, 0, 0), (0, 0, 0, 0))
