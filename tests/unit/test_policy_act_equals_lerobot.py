"""ACT against answers of LeRobot 0.4.4 itself, for checkpoints that the test writes from seeds."""

from pathlib import Path

import numpy as np
import pytest
from policy_checkpoint import VARIANTS, observations, write_act_checkpoint

from sensorium.models.policy import load_policy

ANSWERS = np.load(Path(__file__).with_name("policy_act_lerobot.npz"))
TOLERANCE = 1e-5


@pytest.fixture(params=VARIANTS)
def variant(request, tmp_path):
    directory = write_act_checkpoint(tmp_path / "checkpoint", VARIANTS[request.param])
    steps = observations(VARIANTS[request.param], len(ANSWERS[f"{request.param}/chunk"]))
    return request.param, load_policy(directory), steps


def test_chunks_and_selected_actions_equal_lerobots(variant):
    name, policy, steps = variant
    chunks = [policy.predict_action_chunk(step) for step in steps]
    selected = [policy.select_action(step) for step in steps]
    np.testing.assert_allclose(chunks, ANSWERS[f"{name}/chunk"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(selected, ANSWERS[f"{name}/selected"], rtol=0, atol=TOLERANCE)


def test_reset_starts_the_sequence_anew(variant):
    name, policy, steps = variant
    for step in steps[:3]:
        policy.select_action(step)
    policy.reset()
    selected = [policy.select_action(step) for step in steps[:5]]
    np.testing.assert_allclose(selected, ANSWERS[f"{name}/selected"][:5], rtol=0, atol=TOLERANCE)


def test_predicting_a_chunk_between_selections_changes_none_of_them(variant):
    name, policy, steps = variant
    selected = []
    for i, step in enumerate(steps[:5]):
        policy.predict_action_chunk(steps[-1 - i])
        selected.append(policy.select_action(step))
    np.testing.assert_allclose(selected, ANSWERS[f"{name}/selected"][:5], rtol=0, atol=TOLERANCE)
