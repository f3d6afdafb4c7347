"""`observation.geometry.global`: the same vector in training and from the geometry engine."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import yaml
from omnivggt_backends import save_small_weights
from test_policy_training import SIZE, K, demonstration

from sensorium.cli import main
from sensorium.configuration import build
from sensorium.frames import CameraModel, RgbdFrame
from sensorium.geometry.omnivggt import OmniVGGTBackend
from sensorium.geometry.omnivggt_configuration import OmniVGGTConfiguration
from sensorium.geometry.sensor import SensorConfiguration
from sensorium.models.policy import load_policy
from sensorium.models.policy.geo.configuration import GEOMETRY_GLOBAL
from sensorium.policy.contract import Contract, ContractError
from sensorium.policy.contract_file import read_contract
from sensorium.policy.dataset import Recorded, build_training_set
from sensorium.policy.dataset_pooled_tokens import pooled_set
from sensorium.policy.features import FeatureRefused, pooled_feature
from sensorium.policy.pooled_tokens import PooledTokensConfiguration, TokenPooler
from sensorium.policy.pooled_tokens_record import check_pooled_tokens, read_record
from sensorium.policy.training import TrainingConfiguration, train

CHANNELS = 64
SIDE = 32


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


def configuration(weights, inputs="rgbd", pooling="mean"):
    return PooledTokensConfiguration(inputs, str(weights), 42, 28, pooling)


def frames(count=3, seed=0):
    """Noise with depth that has holes, and intrinsics off the middle."""
    random = np.random.default_rng(seed)
    rgb = random.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    depth_m = (0.5 + random.random((count, SIDE, SIDE))).astype(np.float32)
    depth_m[:, 3:7, :9] = np.nan
    matrix = np.array([[30.0, 0.0, 14.5], [0.0, 31.0, 15.5], [0.0, 0.0, 1.0]])
    return rgb, depth_m, np.tile(matrix, (count, 1, 1))


def flat(values, prefix=""):
    """Nested parameters by their dotted names."""
    made = {}
    for name, value in values.items():
        made |= (
            flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return made


@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("inputs", ["rgb", "rgbd"])
def test_tokens_of_the_geometry_engine_pooled_are_the_training_feature(weights, inputs, pooling):
    pooler = TokenPooler(configuration(weights, inputs, pooling))
    rgb, depth_m, intrinsics = frames()
    made = pooler(rgb, depth_m, intrinsics)
    assert (made.shape, made.dtype) == ((3, CHANNELS), np.float32)
    values = flat(pooler.record.geometry_parameters) | {"weights": str(weights)}
    backend = OmniVGGTBackend(build(OmniVGGTConfiguration, values), SensorConfiguration())
    backend.configure()
    layout, record = backend.token_layout, pooler.record
    assert (layout.weights_sha256, layout.channels) == (record.weights_sha256, record.channels)
    assert (layout.rows, layout.columns) == (record.rows, record.columns) == (2, 3)
    # One after the other in one window: what came before must not matter.
    for i in range(3):
        camera = CameraModel(SIDE, SIDE, intrinsics[i])
        tokens = backend.add(
            RgbdFrame(i, "camera", "optical", rgb[i], camera, depth_m[i], camera)
        ).newest.tokens
        pooled = pooled_feature(tokens.features, pooling)
        np.testing.assert_allclose(made[i], pooled, rtol=1e-4, atol=1e-5)


def test_depth_matters_exactly_where_it_is_shown(weights):
    rgb, depth_m, intrinsics = frames()
    other = depth_m[:, ::-1].copy()
    for inputs, matters in (("rgb", False), ("rgbd", True)):
        pooler = TokenPooler(configuration(weights, inputs))
        first, second = (pooler(rgb, depth, intrinsics) for depth in (depth_m, other))
        assert np.allclose(first, second, atol=1e-5) != matters


def test_without_the_depth_that_it_needs_nothing_is_made(weights):
    rgb, depth_m, intrinsics = frames()
    pooler = TokenPooler(configuration(weights))
    with pytest.raises(ValueError, match="depth and intrinsics are missing"):
        pooler(rgb)
    with pytest.raises(ValueError, match="no valid depth"):
        pooler(rgb, np.full_like(depth_m, np.nan), intrinsics)


def test_pooling_takes_mean_or_maximum_and_refuses_what_is_not_finite():
    features = np.array([[[1.0, -2.0], [3.0, 4.0]]], np.float32)
    assert pooled_feature(features, "mean").tolist() == [2.0, 1.0]
    assert pooled_feature(features, "max").tolist() == [3.0, 4.0]
    features[0, 1, 0] = np.nan
    with pytest.raises(FeatureRefused, match="1 of 2 tokens"):
        pooled_feature(features, "mean")


def training_set(folder, **options):
    recorded = [
        Recorded("pick_red", "pick up the red cube", demonstration(6, 1)),
        Recorded("touch_blue", "touch the blue cube", demonstration(5, 2)),
    ]
    # 28 px are the least that the backend takes.
    larger = [
        dataclasses.replace(
            one,
            demonstration=dataclasses.replace(
                one.demonstration,
                rgb=np.kron(one.demonstration.rgb, np.ones((1, 2, 2, 1), np.uint8)),
                depth_m=np.kron(one.demonstration.depth_m, np.ones((1, 2, 2), np.float32)),
                intrinsics=np.array([[40.0, 0.0, 15.5], [0.0, 40.0, 15.5], [0.0, 0.0, 1.0]]),
            ),
        )
        for one in recorded
    ]
    assert (SIZE, K[0, 0]) == (SIDE / 2, 20.0)
    return build_training_set(larger, folder, capacity=40, rows=8, columns=8, **options)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return training_set(tmp_path_factory.mktemp("set"), keep_depth=True)


def test_vectors_of_a_set_are_made_once_and_kept_per_weights_and_inputs(data, weights, tmp_path):
    reports = []
    first = pooled_set(data, configuration(weights), reports.append)
    again = pooled_set(data, configuration(weights), reports.append)
    assert len(reports) == 1
    np.testing.assert_array_equal(first.values, again.values)
    pooler = TokenPooler(configuration(weights))
    step = pooler(
        data.arrays["observation.images.camera"][7:8],
        data.arrays["depth_m"][7:8],
        data.arrays["intrinsics"][7:8],
    )
    np.testing.assert_allclose(first.values[7], step[0], rtol=1e-4, atol=1e-5)
    steps = np.arange(len(data))
    np.testing.assert_allclose(first.normalized(steps).mean(0), 0.0, atol=1e-4)
    np.testing.assert_allclose(first.normalized(steps).std(0, correction=0), 1.0, atol=1e-3)
    others = save_small_weights(tmp_path / "others.safetensors", seed=5)
    for changed in (configuration(weights, "rgb"), configuration(others)):
        pooled_set(data, changed, reports.append)
    assert len(reports) == 3
    assert len(list(data.directory.glob("observation.geometry.global.*.npy"))) == 3


def test_a_set_without_depth_trains_on_pictures_only(weights, tmp_path):
    bare = training_set(tmp_path)
    with pytest.raises(ValueError, match="--keep-depth"):
        pooled_set(bare, configuration(weights))
    assert pooled_set(bare, configuration(weights, "rgb")).values.shape == (11, CHANNELS)


@pytest.fixture(scope="module")
def checkpoint(data, weights, tmp_path_factory):
    values = {
        "geometry": "pooled", "steps": 200, "batch_size": 11, "channels": 8, "heads": 2,
        "hidden": 32, "learning_rate": 0.01, "warm_up_steps": 10, "bfloat16": False,
        "injector_widths": [16, 16], "pooled_tokens.weights": str(weights),
        "pooled_tokens.input_width_px": 42, "pooled_tokens.input_height_px": 28,
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("policy")
    return train(data, build(TrainingConfiguration, values), folder)


def test_training_on_pooled_tokens_lowers_the_loss_and_records_what_they_were(
    checkpoint, data, weights
):
    lines = [json.loads(line) for line in (checkpoint / "training.jsonl").read_text().splitlines()]
    assert lines[-1]["total"] < 0.9 * lines[0]["total"]
    made = pooled_set(data, configuration(weights))
    assert read_record(checkpoint) == made.record
    assert len(made.record.weights_sha256) == 64
    policy = load_policy(checkpoint)
    given = {
        "observation.images.camera": np.array(data.arrays["observation.images.camera"][0]),
        "observation.state": np.array(data.arrays["observation.state"][0]),
        GEOMETRY_GLOBAL: made.values[0],
        "task": "pick up the red cube",
    }
    batch = policy._preprocessor(policy._tensors(given))
    torch.testing.assert_close(batch[GEOMETRY_GLOBAL], made.normalized(np.array([0])))
    moved = {**given, GEOMETRY_GLOBAL: made.values[0] + 5 * made.std.numpy()}
    before, after = (policy.predict_action_chunk(one) for one in (given, moved))
    assert before.shape == (8, 4)
    assert not np.allclose(before, after)


def test_a_policy_without_pooled_tokens_has_no_record(checkpoint, tmp_path):
    (tmp_path / "config.json").write_text('{"type": "act"}')
    assert read_record(tmp_path) is None
    content = json.loads((checkpoint / "config.json").read_text())
    del content["pooled_tokens"]
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="does not say which tokens"):
        read_record(tmp_path)


def test_other_weights_than_those_of_the_training_are_refused(checkpoint, weights, tmp_path):
    record = read_record(checkpoint)
    assert TokenPooler.as_recorded(record, str(weights)).record == record
    others = save_small_weights(tmp_path / "others.safetensors", seed=5)
    with pytest.raises(ValueError, match=r"weights_sha256 .*--geometry-weights"):
        TokenPooler.as_recorded(record, str(others))


def contract(folder, entry) -> Contract:
    path = folder / "contract.yaml"
    content = {
        "observations": {GEOMETRY_GLOBAL: entry},
        "action": {"type": "joint_positions", "joints": ["a"]},
    }
    path.write_text(yaml.safe_dump(content))
    return read_contract(path)


def test_a_contract_takes_the_tokens_of_the_training_and_no_others(checkpoint, tmp_path):
    record = read_record(checkpoint)
    entry = record.contract_entry
    fitting = contract(tmp_path, entry)
    assert fitting.shapes == {GEOMETRY_GLOBAL: (CHANNELS,)}
    check_pooled_tokens(fitting, record)
    for change in (
        {"weights_sha256": "0" * 64}, {"channels": 32}, {"pooling": "max"}, {"hints": ["poses"]},
    ):  # fmt: skip
        with pytest.raises(ContractError, match=next(iter(change))):
            check_pooled_tokens(contract(tmp_path, entry | change), record)
    for change, text in (({"weights_sha256": ""}, "is empty"), ({"backend": "sensor"}, "omnivggt")):
        with pytest.raises(ContractError, match=text):
            contract(tmp_path, entry | change)


def test_the_command_takes_other_weights_and_fewer_steps_than_the_recipe(data, weights, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "{geometry: pooled, pooled_tokens.weights: nothing, pooled_tokens.inputs: rgb, steps: 900, "
        "pooled_tokens.input_width_px: 42, batch_size: 4, channels: 8, heads: 2, hidden: 16}"
    )
    arguments = ["--config", str(recipe), "--output", str(tmp_path / "out")]
    arguments += ["--geometry-weights", str(weights), "--steps", "2"]
    assert main(["train", "policy", "--demos", str(data.directory), *arguments]) == 0
    written = json.loads((tmp_path / "out" / "train_config.json").read_text())
    assert (written["trained_steps"], written["pooled_tokens"]["inputs"]) == (2, "rgb")
