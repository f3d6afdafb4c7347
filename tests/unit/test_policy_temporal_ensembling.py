"""Temporal ensembling against its written formula (Zhao et al. 2023, Algorithm 2)."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_checkpoint import VARIANTS, edit_json, observations, write_act_checkpoint

from sensorium.models.policy import load_policy
from sensorium.models.policy.ensembling import TemporalEnsembler, ensembling_weights


def by_formula(chunks, step, coefficient):
    """Weighted mean of all predictions for ``step``; chunk p row j speaks about step p + j."""
    size = len(chunks[0])
    oldest = max(0, step - size + 1)
    total, weight_sum = 0.0, 0.0
    for age_rank, predicted_at in enumerate(range(oldest, step + 1)):
        weight = math.exp(-coefficient * age_rank)
        total = total + weight * np.float64(chunks[predicted_at][step - predicted_at])
        weight_sum += weight
    return total / weight_sum


@settings(max_examples=50, deadline=None)
@given(
    coefficient=st.floats(-1.0, 1.0),
    size=st.integers(1, 7),
    steps=st.integers(1, 15),
    seed=st.integers(0, 1000),
)
def test_every_action_is_the_formulas_weighted_mean(coefficient, size, steps, seed):
    chunks = np.random.default_rng(seed).normal(size=(steps, size, 3)).astype(np.float32)
    ensembler = TemporalEnsembler(coefficient, size)
    for step, chunk in enumerate(chunks):
        action = ensembler.update(torch.from_numpy(chunk)).numpy()
        np.testing.assert_allclose(action, by_formula(chunks, step, coefficient), atol=1e-6)


def test_weights_sum_to_one_and_fall_from_the_oldest_by_the_coefficient():
    weights = ensembling_weights(4, 0.01)
    assert float(weights.sum()) == pytest.approx(1.0)
    assert (weights[1:] / weights[:-1]).tolist() == pytest.approx([math.exp(-0.01)] * 3)


def test_a_policy_with_the_coefficient_in_its_configuration_selects_by_the_formula(tmp_path):
    configuration = VARIANTS["pre_norm_gelu"]
    directory = write_act_checkpoint(tmp_path, configuration)
    edit_json(
        directory / "config.json",
        lambda c: c.update(temporal_ensemble_coeff=0.05, n_action_steps=1),
    )
    policy = load_policy(directory)
    steps = observations(configuration, 10)
    chunks = [policy.predict_action_chunk(step) for step in steps]
    selected = [policy.select_action(step) for step in steps]
    expected = [by_formula(chunks, i, 0.05) for i in range(len(steps))]
    np.testing.assert_allclose(selected, expected, atol=1e-6)
