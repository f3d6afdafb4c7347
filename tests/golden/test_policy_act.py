"""ACT against the golden tensors of the checkpoint directory in shared/ (LeRobot 0.4.4)."""

import json
from pathlib import Path

import numpy as np
import pytest

from sensorium.models.policy import load_policy

CHECKPOINT = Path(__file__).parents[2].parent / "shared" / "reference" / "policy" / "act"
TOLERANCE = 1e-5

if not (CHECKPOINT / "golden.npz").is_file():
    pytest.skip(f"{CHECKPOINT} is not present", allow_module_level=True)


@pytest.fixture(scope="module")
def golden():
    with np.load(CHECKPOINT / "golden.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def steps(golden):
    return [
        {
            "observation.state": golden["state"][i],
            "observation.images.front": golden["front"][i],
            "observation.images.wrist": golden["wrist"][i],
            "task": "reach",
        }
        for i in range(len(golden["state"]))
    ]


@pytest.fixture(scope="module")
def policy():
    return load_policy(CHECKPOINT)


def test_normalized_chunks_equal_the_golden_ones(policy, golden, steps):
    chunks = [policy.predict_normalized_chunk(step) for step in steps]
    expected = golden["chunk_normalised"][:, 0]
    np.testing.assert_allclose(chunks, expected, rtol=0, atol=TOLERANCE)


def test_chunks_in_physical_units_equal_the_golden_ones(policy, golden, steps):
    chunks = [policy.predict_action_chunk(step) for step in steps]
    np.testing.assert_allclose(chunks, golden["chunk"][:, 0], rtol=0, atol=TOLERANCE)


def test_selected_actions_since_one_reset_equal_the_golden_ones(policy, golden, steps):
    policy.reset()
    selected = [policy.select_action(step) for step in steps]
    np.testing.assert_allclose(selected, golden["selected"][:, 0], rtol=0, atol=TOLERANCE)


def test_the_policy_describes_its_inputs_and_outputs(policy):
    shapes = {name: feature.shape for name, feature in policy.input_features.items()}
    assert shapes == {
        "observation.state": (7,),
        "observation.images.front": (3, 96, 128),
        "observation.images.wrist": (3, 96, 128),
    }
    assert (policy.chunk_size, policy.action_size) == (10, 6)


def test_temporal_ensembling_by_configuration_weighs_golden_chunks_by_the_formula(
    golden, steps, tmp_path
):
    for file in CHECKPOINT.iterdir():
        (tmp_path / file.name).symlink_to(file)
    configuration = json.loads((CHECKPOINT / "config.json").read_text())
    configuration |= {"temporal_ensemble_coeff": 0.01, "n_action_steps": 1}
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(configuration))
    policy = load_policy(tmp_path)
    chunks = golden["chunk"][:, 0].astype(np.float64)
    for now, step in enumerate(steps):
        weights = np.exp(-0.01 * np.arange(now + 1))
        predictions = np.stack([chunks[made][now - made] for made in range(now + 1)])
        expected = (weights[:, None] * predictions).sum(axis=0) / weights.sum()
        np.testing.assert_allclose(policy.select_action(step), expected, rtol=0, atol=TOLERANCE)
