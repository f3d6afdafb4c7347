"""The contract: typed, strict, and checked against the policy before anything moves."""

from pathlib import Path

import pytest
import yaml

from sensorium.policy.contract import ContractError, TipTargets, check_contract
from sensorium.policy.contract_file import read_contract

CONTRACTS = Path(__file__).resolve().parents[2] / "config" / "contracts"
GOOD = {
    "general": {"rate_hz": 20.0, "base_frame": "base", "tip_link": "tool"},
    "joint_states": {"topic": "joints"},
    "observations": {
        "observation.images.front": {"type": "image", "topic": "front", "size_px": [48, 64]},
        "observation.images.wrist": {"type": "rgbd_frame", "topic": "wrist"},
        "observation.state": {
            "type": "joint_state", "select": ["tip.position", "position.grip", "effort.a"],
        },
        "observation.geometry": {"type": "tokens", "rows": 4, "columns": 8, "channels": 7},
        "observation.signals.contact": {
            "type": "signal_estimate", "topic": "s", "classes": ["no", "yes"],
        },
    },
    "action": {
        "type": "tip_targets", "joints": ["a", "b"], "gripper_joint": "grip", "gripper_at_1": 0.04,
    },
}  # fmt: skip
SHAPES = {
    "observation.images.front": (3, 48, 64),
    "observation.images.wrist": (3, 96, 96),
    "observation.state": (5,),
    "observation.geometry.points": (32, 3),
    "observation.geometry.features": (32, 7),
    "observation.geometry.valid": (32,),
    "observation.signals.contact": (2,),
}


def written(folder, content):
    path = folder / "contract.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def changed(*keys, value):
    """GOOD with one entry replaced, or removed by value None."""
    content = yaml.safe_load(yaml.safe_dump(GOOD))
    place = content
    for key in keys[:-1]:
        place = place[key]
    if value is None:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    return content


def test_a_contract_tells_features_joints_and_units(tmp_path):
    contract = read_contract(written(tmp_path, GOOD))
    check_contract(contract, SHAPES, action_size=4)
    assert contract.period_ns == 50_000_000
    assert contract.commanded_joints == ("a", "b", "grip")
    assert contract.action_names == ("tip_x [m]", "tip_y [m]", "tip_z [m]", "gripper [0..1]")
    assert contract.needs_kinematics
    assert isinstance(contract.action, TipTargets)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (changed("general", "rate", value=3.0), "unknown parameter 'rate'; did you mean 'rate_hz'"),
        (changed("speed", value={}), "section 'speed' is unknown; allowed are general"),
        (changed("general", "rate_hz", value="fast"), "'rate_hz' is 'fast'"),
        (changed("general", "tip_link", value=None), "tip_link is empty"),
        (changed("observations", "observation.state", "select", value=["angle.a"]), "'angle.a'"),
        (changed("observations", "observation.state", "select", value=[]), "select is empty"),
        (changed("observations", "observation.state", "type", value="odometry"), "'odometry'"),
        (changed("observations", "observation.images.front", "topic", value=None), "give a topic"),
        (changed("observations", "observation.images.front", "max_age", value=1), "'max_age'"),
        (changed("observations", "observation.signals.contact", "classes", value=None), "classes"),
        (changed("action", "type", value="twist"), "allowed are joint_positions, tip_targets"),
        (changed("action", "joints", value=["a", "a"]), "name each once"),
        (changed("action", "quaternion_xyzw", value=[1.0]), "quaternion_xyzw has 1"),
        (changed("action", value=None), "action is None"),
        ([1], "the file is [1]"),
    ],
)
def test_what_is_unknown_or_missing_is_refused_by_name(tmp_path, content, text):
    with pytest.raises(ContractError) as refusal:
        read_contract(written(tmp_path, content))
    assert text in str(refusal.value)
    assert "contract.yaml" in str(refusal.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(ContractError, match="nowhere"):
        read_contract(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("shapes", "action_size", "text"),
    [
        (SHAPES | {"observation.images.top": (3, 8, 8)}, 4, "needs 'observation.images.top'"),
        (SHAPES | {"observation.images.front": (3, 64, 48)}, 4, "(3, 48, 64) by the contract"),
        (SHAPES | {"observation.state": (4,)}, 4, "'observation.state' has shape (5,)"),
        (SHAPES | {"observation.geometry.points": (64, 3)}, 4, "(64, 3) for the policy"),
        (SHAPES, 7, "actions have 7 columns, the contract names 4"),
    ],
)
def test_a_contract_that_does_not_fit_the_policy_is_refused(tmp_path, shapes, action_size, text):
    contract = read_contract(written(tmp_path, GOOD))
    with pytest.raises(ContractError) as refusal:
        check_contract(contract, shapes, action_size)
    assert text in str(refusal.value)


@pytest.mark.parametrize("path", sorted(CONTRACTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_contracts_can_be_read(path):
    assert read_contract(path).commanded_joints
