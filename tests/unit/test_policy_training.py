"""From demonstrations to a checkpoint: features as in the live graph, labels, behaviour cloning."""

import json

import numpy as np
import pytest
import torch
from geo_policies import observation

from sensorium.cli import main
from sensorium.configuration import build
from sensorium.frames import CameraModel, RgbdFrame
from sensorium.geometry.sensor import SensorBackend, SensorConfiguration
from sensorium.geometry.tokens import TokensConfiguration
from sensorium.models.policy import ObservationError, load_policy
from sensorium.policy.dataset import (
    CELL,
    Recorded,
    TrainingSet,
    build_training_set,
    is_training_set,
    keyframe_steps,
)
from sensorium.policy.dataset_features import GEOMETRY, IMAGE, STATE, FrameFeatures
from sensorium.policy.features import token_features
from sensorium.policy.training import TrainingConfiguration, train
from sensorium.tabletop.demonstrations import Demonstration, record_demonstrations
from sensorium.tabletop.options import TabletopOptions

SIZE = 16
K = np.array([[20.0, 0.0, 7.5], [0.0, 20.0, 7.5], [0.0, 0.0, 1.0]])
LOOKING_DOWN = np.array(
    [[1.0, 0.0, 0.0, 0.5], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 1.0], [0.0, 0.0, 0.0, 1.0]]
)


def demonstration(steps=6, seed=0):
    random = np.random.default_rng(seed)
    tip = np.array([0.5, 0.0, 0.2]) + np.cumsum(random.normal(size=(steps, 3)) * 0.01, axis=0)
    gripper = np.array([1.0] * (steps // 2) + [0.0] * (steps - steps // 2))
    return Demonstration(
        rgb=random.integers(0, 256, (steps, SIZE, SIZE, 3), dtype=np.uint8),
        depth_m=(0.9 + 0.1 * random.random((steps, SIZE, SIZE))).astype(np.float32),
        intrinsics=K,
        base_from_camera=LOOKING_DOWN,
        joint_positions_rad=np.zeros((steps, 7), np.float32),
        tip_position_m=tip.astype(np.float32),
        gripper_opening_m=np.full(steps, 0.08, np.float32),
        action=np.column_stack((random.normal(size=(steps, 3)) * 0.02, gripper)).astype(np.float32),
        stamps_ns=np.arange(steps) * 100_000_000,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    recorded = [
        Recorded("pick_red", "pick up the red cube", demonstration(6, 1)),
        Recorded("touch_blue", "touch the blue cube", demonstration(5, 2)),
    ]
    folder = tmp_path_factory.mktemp("set")
    return build_training_set(recorded, folder, capacity=40, rows=8, columns=8)


def test_an_equal_frame_gives_equal_features_live_and_in_training(data):
    one = demonstration(6, 1)
    camera = CameraModel(SIZE, SIZE, K)
    backend = SensorBackend(SensorConfiguration(tokens=TokensConfiguration(8, 8)))
    for step in range(6):
        view = RgbdFrame(step, "c", "c", one.rgb[step], camera, one.depth_m[step], camera)
        tokens = backend.add(view).newest.tokens
        points, features, valid = token_features(tokens.xyz_m, tokens.features, LOOKING_DOWN)
        np.testing.assert_array_equal(data.arrays[f"{GEOMETRY}.points"][step], points)
        np.testing.assert_array_equal(data.arrays[f"{GEOMETRY}.valid"][step], valid)
        np.testing.assert_allclose(
            data.arrays[f"{GEOMETRY}.features"][step], features, rtol=1e-3, atol=1e-3
        )
        np.testing.assert_array_equal(data.arrays[IMAGE][step], one.rgb[step])
        np.testing.assert_array_equal(data.arrays[STATE][step][:3], one.tip_position_m[step])


def test_points_of_features_lie_in_the_base():
    depth = np.full((SIZE, SIZE), 0.8, np.float32)
    rgb = np.zeros((SIZE, SIZE, 3), np.uint8)
    made = FrameFeatures(8, 8)(rgb, depth, K, LOOKING_DOWN, tip_m=(0.5, 0.0, 0.2), finger_m=0.04)
    np.testing.assert_allclose(made[f"{GEOMETRY}.points"][:, 2], 0.2, atol=1e-6)
    np.testing.assert_allclose(made[STATE], [0.5, 0.0, 0.2, 0.04], rtol=1e-6)


def test_rows_of_a_chunk_are_targets_relative_to_the_tip_at_the_observation(data):
    one = demonstration(6, 1)
    motion, gripper, mask = data.chunks(np.array([1]), 8)
    wanted = one.tip_position_m[1:] + one.action[1:, :3] - one.tip_position_m[1]
    np.testing.assert_allclose(motion[0, :5], wanted, atol=1e-6)
    np.testing.assert_array_equal(gripper[0, :5], one.action[1:, 3])
    assert mask[0].tolist() == [1, 1, 1, 1, 1, 0, 0, 0]


def test_the_next_keyframe_is_the_next_change_of_the_gripper_or_the_end():
    gripper = np.array([1, 1, 0, 0, 0, 1, 1])
    assert keyframe_steps(gripper).tolist() == [2, 2, 5, 5, 5, 6, 6]
    assert keyframe_steps(np.ones(3)).tolist() == [2, 2, 2]


def test_the_cell_is_where_the_tip_of_the_keyframe_projects(data):
    one = demonstration(6, 1)
    x, y, z = one.tip_position_m[3].astype(np.float64)
    u, v = 20 * (x - 0.5) / (1 - z) + 7.5, 20 * -y / (1 - z) + 7.5
    expected = int((v + 0.5) * 8 / SIZE) * 8 + int((u + 0.5) * 8 / SIZE)
    assert data.arrays[CELL][0] == expected


def test_a_set_holds_the_sentences_of_each_task(data):
    assert data.instructions == [["pick up the red cube"], ["touch the blue cube"]]
    assert (data.episodes, len(data), data.image_size) == (2, 11, (SIZE, SIZE))


@pytest.mark.parametrize("geometry", ["tokens", "none", "point_cloud"])
def test_training_writes_a_checkpoint_that_loads_and_lowers_its_loss(data, tmp_path, geometry):
    values = {
        "geometry": geometry, "steps": 200, "batch_size": 11, "channels": 8, "heads": 2,
        "hidden": 32, "learning_rate": 0.01, "warm_up_steps": 10, "bfloat16": False,
        "injector_widths": [16, 16], "geometry_dropout": 0.0,
    }  # fmt: skip
    train(data, build(TrainingConfiguration, values), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "training.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 200
    assert lines[-1]["total"] < 0.9 * lines[0]["total"]
    policy = load_policy(tmp_path)
    given = observation(policy)
    chunk = policy.predict_action_chunk(given)
    assert chunk.shape == (8, 4)
    assert set(chunk[:, 3]) <= {0.0, 1.0}
    assert np.abs(chunk[:, :3]).max() < 0.5
    with pytest.raises(ObservationError, match="instruction"):
        policy.predict_action_chunk({k: v for k, v in given.items() if k != "task"})


def test_a_training_goes_on_where_it_stopped(data, tmp_path):
    values = {"batch_size": 4, "channels": 8, "heads": 2, "hidden": 16, "bfloat16": False}
    train(data, build(TrainingConfiguration, values | {"steps": 3}), tmp_path)
    before = torch.load(tmp_path / "training_state.pt", weights_only=True)
    train(data, build(TrainingConfiguration, values | {"steps": 5}), tmp_path, resume=True)
    after = torch.load(tmp_path / "training_state.pt", weights_only=True)
    assert (before["step"], after["step"]) == (3, 5)
    assert json.loads((tmp_path / "train_config.json").read_text())["trained_steps"] == 5


def test_the_command_trains_on_recorded_demonstrations_and_keeps_their_features(tmp_path, capsys):
    pytest.importorskip("mujoco", reason="the tabletop world needs mujoco-core")
    demos, kept, output = tmp_path / "demos", tmp_path / "features", tmp_path / "policy"
    size = TabletopOptions(image_width_px=32, image_height_px=32)
    (entry,) = record_demonstrations(demos, 1, 7, size)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("{steps: 2, batch_size: 4, channels: 8, heads: 2, hidden: 16}")
    common = ["--config", str(recipe), "--output", str(output)]
    assert main(["train", "policy", "--demos", str(demos), "--features", str(kept), *common]) == 0
    assert f"1 demonstrations, {entry['rows']} steps" in capsys.readouterr().out
    assert len(TrainingSet(kept)) == entry["rows"]
    assert load_policy(output).chunk_size == 8
    assert main(["train", "policy", "--demos", str(kept), *common, "--resume"]) == 0


def test_a_set_without_demonstrations_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nothing to train on"):
        build_training_set([], tmp_path, capacity=10)
    assert not is_training_set(tmp_path)
