"""Actions become joint positions, measurements become features: against independent formulas."""

import numpy as np
import pytest
import yaml

from sensorium.policy.actions import ActionMapper
from sensorium.policy.contract import ContractError, Picture, StateVector
from sensorium.policy.contract_file import read_contract
from sensorium.policy.features import (
    FeatureRefused,
    JointReading,
    picture_feature,
    state_feature,
    token_features,
)
from sensorium.policy.kinematics import Kinematics
from sensorium.policy.rejections import Reason, Rejection

# Three sliding joints along x, y and z: the tip stands where the joints are.
LIMIT = "<limit lower='-1' upper='1' velocity='1' effort='1'/>"
GANTRY = (
    "<robot name='gantry'><link name='base'/>"
    + "".join(
        f"<link name='{child}'/><joint name='{name}' type='prismatic'><parent link='{parent}'/>"
        f"<child link='{child}'/><axis xyz='{axis}'/>{LIMIT}</joint>"
        for name, parent, child, axis in (
            ("x", "base", "one", "1 0 0"),
            ("y", "one", "two", "0 1 0"),
            ("z", "two", "tool", "0 0 1"),
        )
    )
    + "</robot>"
)


@pytest.fixture
def kinematics():
    return Kinematics(GANTRY, "base", "tool")


def contract(folder, **action):
    content = {
        "general": {"base_frame": "base", "tip_link": "tool"},
        "observations": {},
        "action": action,
    }
    path = folder / "contract.yaml"
    path.write_text(yaml.safe_dump(content))
    return read_contract(path)


def tip_targets(folder, **changes):
    defaults = {"type": "tip_targets", "joints": ["z", "x", "y"], "gripper_joint": "grip"}
    return contract(folder, **(defaults | changes))


def test_tip_targets_become_joints_in_command_order_relative_to_the_observation(
    tmp_path, kinematics
):
    mapper = ActionMapper(
        tip_targets(tmp_path, scale_m=0.5, gripper_at_0=0.04, gripper_at_1=0.0), kinematics
    )
    chain = np.array([0.1, -0.2, 0.3])
    actions = np.array([[0.2, 0.0, -0.4, 0.0], [0.4, 0.2, 0.0, 1.3]], np.float32)
    positions = mapper.positions(actions, chain)
    expected = [[0.1, 0.2, -0.2, 0.04], [0.3, 0.3, -0.1, 0.0]]
    np.testing.assert_allclose(positions, expected, atol=2e-4)


def test_a_first_target_out_of_reach_is_refused_and_a_later_one_holds(tmp_path, kinematics):
    mapper = ActionMapper(tip_targets(tmp_path), kinematics)
    far, near = [3.0, 0.0, 0.0, 0.0], [0.1, 0.0, 0.0, 0.0]
    refusal = mapper.positions(np.array([far, near], np.float32), np.zeros(3))
    assert isinstance(refusal, Rejection)
    assert refusal.reason is Reason.UNREACHABLE
    held = mapper.positions(np.array([near, far], np.float32), np.zeros(3))
    np.testing.assert_allclose(held[1], held[0])


def test_values_that_are_not_finite_are_left_to_the_guards(tmp_path, kinematics):
    mapper = ActionMapper(tip_targets(tmp_path), kinematics)
    positions = mapper.positions(np.full((2, 4), np.inf, np.float32), np.zeros(3))
    assert np.isnan(positions).all()
    assert positions.shape == (2, 4)


def test_joint_positions_pass_unchanged(tmp_path):
    mapper = ActionMapper(contract(tmp_path, type="joint_positions", joints=["x", "y"]), None)
    actions = np.array([[0.1, np.nan]], np.float32)
    np.testing.assert_array_equal(mapper.positions(actions, None), actions)


def test_targets_of_other_joints_than_the_robots_are_refused(tmp_path, kinematics):
    with pytest.raises(ContractError, match="has x, y, z"):
        ActionMapper(tip_targets(tmp_path, joints=["x", "y"]), kinematics)


def test_a_state_vector_holds_what_was_selected_in_order(kinematics):
    reading = JointReading(
        ["z", "grip", "y", "x"], [0.3, 0.02, 0.2, 0.1], effort=[1.0, 2.0, 3.0, 4.0]
    )
    state = StateVector(select=("tip.position", "position.grip", "effort.y"))
    expected = np.array([0.1, 0.2, 0.3, 0.02, 3.0], np.float32)
    np.testing.assert_allclose(state_feature(state, reading, kinematics), expected)
    with pytest.raises(FeatureRefused, match="lacks velocity"):
        state_feature(StateVector(select=("velocity.x",)), reading, None)
    with pytest.raises(FeatureRefused, match="lacks wrist"):
        state_feature(StateVector(select=("position.wrist",)), reading, None)


def test_tokens_are_moved_to_the_base_and_those_without_depth_are_masked():
    base_from_camera = np.eye(4)
    base_from_camera[:3] = [[0, 0, 1, 0.5], [-1, 0, 0, 0], [0, -1, 0, 0.2]]
    xyz = np.array([[[1, 2, 3], [np.nan, 0, 0]]], np.float32)
    features = np.array([[[7.0, np.nan], [8.0, 9.0]]], np.float32)
    points, values, valid = token_features(xyz, features, base_from_camera)
    np.testing.assert_allclose(points, [[3.5, -1.0, -1.8], [0, 0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(values, [[7.0, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(valid, [1.0, 0.0])
    assert {a.dtype for a in (points, values, valid)} == {np.dtype(np.float32)}


def test_pictures_are_resized_by_means_over_areas():
    color = np.zeros((4, 4, 3), np.uint8)
    color[:2, :2] = 200
    color[0, 0] = 100
    resized = picture_feature(Picture(topic="t", size_px=(2, 2)), color)
    assert resized.shape == (2, 2, 3)
    assert resized[0, 0, 0] == 175
    assert picture_feature(Picture(topic="t"), color) is color
