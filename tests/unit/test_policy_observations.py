"""Observations as robots give them: what fits is used, what does not is refused by name."""

import numpy as np
import pytest
from policy_checkpoint import VARIANTS, edit_json, observations, write_act_checkpoint

from sensorium.models.policy import ObservationError, load_policy

CONFIGURATION = VARIANTS["two_cameras"]
STATE, FRONT = "observation.state", "observation.images.front"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_act_checkpoint(tmp_path_factory.mktemp("policy"), CONFIGURATION)


@pytest.fixture(scope="module")
def policy(directory):
    return load_policy(directory)


@pytest.fixture
def observation(policy):
    policy.reset()
    return observations(CONFIGURATION, 1)[0]


def both_ways(policy, observation):
    """Runs both entry points; select_action also when a queued action could answer."""
    with pytest.raises(ObservationError) as by_chunk:
        policy.predict_action_chunk(observation)
    policy.reset()
    policy.select_action(observations(CONFIGURATION, 1)[0])
    with pytest.raises(ObservationError) as by_action:
        policy.select_action(observation)
    assert str(by_chunk.value) == str(by_action.value)
    return str(by_chunk.value)


def test_outputs_have_the_promised_shapes_and_dtype(policy, observation):
    chunk, action = policy.predict_action_chunk(observation), policy.select_action(observation)
    assert (chunk.shape, chunk.dtype) == ((6, 4), np.float32)
    assert (action.shape, action.dtype) == ((4,), np.float32)


def test_the_given_arrays_stay_as_they_are(policy, observation):
    before = {k: v.copy() for k, v in observation.items() if k != "task"}
    policy.select_action(observation)
    assert all(np.array_equal(observation[name], value) for name, value in before.items())


def test_a_task_is_optional_and_entries_the_policy_does_not_use_are_ignored(policy, observation):
    expected = policy.predict_action_chunk(observation)
    del observation["task"]
    observation["observation.effort"] = np.full(7, np.nan)
    np.testing.assert_array_equal(policy.predict_action_chunk(observation), expected)


def test_float64_states_and_strided_or_readonly_images_are_accepted(policy, observation):
    expected = policy.predict_action_chunk(observation)
    observation[STATE] = observation[STATE].astype(np.float64)
    wide = np.repeat(observation[FRONT], 2, axis=1)
    observation[FRONT] = wide[:, ::2]
    observation["observation.images.wrist"].setflags(write=False)
    np.testing.assert_array_equal(policy.predict_action_chunk(observation), expected)


@pytest.mark.parametrize("name", list(CONFIGURATION["input_features"]))
def test_each_missing_feature_is_named_with_what_was_given(policy, observation, name):
    del observation[name]
    text = both_ways(policy, observation)
    assert f"lacks {name}" in text
    assert "task" in text


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (FRONT, np.zeros((3, 48, 96), np.uint8), "(48, 96, 3)"),
        (FRONT, np.zeros((96, 48, 3), np.uint8), "(48, 96, 3)"),
        (FRONT, np.zeros((48, 96, 4), np.uint8), "(48, 96, 3)"),
        (FRONT, np.zeros((1, 48, 96, 3), np.uint8), "(48, 96, 3)"),
        (FRONT, np.zeros((48, 96, 3), np.float32), "uint8"),
        (FRONT, [[0, 0, 0]], "numpy array"),
        (STATE, np.zeros(4, np.float32), "(5,)"),
        (STATE, np.zeros((1, 5), np.float32), "(5,)"),
        (STATE, np.zeros(5, np.int64), "floating"),
        (STATE, np.array(["0"] * 5), "floating"),
        (STATE, None, "numpy array"),
        ("task", 3, "string"),
    ],
)
def test_a_wrong_shape_or_dtype_is_refused_with_the_expected_one(
    policy, observation, name, value, expected
):
    observation[name] = value
    text = both_ways(policy, observation)
    assert name in text
    assert expected in text


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_state_that_is_not_finite_is_refused_with_its_index(policy, observation, bad):
    observation[STATE][2] = bad
    assert "index [2]" in both_ways(policy, observation)


def test_a_finite_float64_beyond_float32_is_refused(policy, observation):
    observation[STATE] = observation[STATE].astype(np.float64)
    observation[STATE][1] = 1e300
    assert "index [1]" in both_ways(policy, observation)


def test_a_refused_observation_leaves_the_queue_as_it_was(directory):
    policy, undisturbed = load_policy(directory), load_policy(directory)
    steps = observations(CONFIGURATION, 5)
    for i, step in enumerate(steps):
        if i == 2:
            with pytest.raises(ObservationError):
                policy.select_action({})
        np.testing.assert_array_equal(policy.select_action(step), undisturbed.select_action(step))


def test_a_rename_map_takes_the_robots_names(directory, tmp_path):
    copy = write_act_checkpoint(tmp_path, CONFIGURATION)
    renames = {"observation.images.top": FRONT}
    edit_json(
        copy / "policy_preprocessor.json",
        lambda p: p["steps"][0]["config"].update(rename_map=renames),
    )
    renamed = load_policy(copy)
    observation = observations(CONFIGURATION, 1)[0]
    expected = load_policy(directory).predict_action_chunk(observation)
    both = observation | {"observation.images.top": observation[FRONT]}
    observation["observation.images.top"] = observation.pop(FRONT)
    np.testing.assert_array_equal(renamed.predict_action_chunk(observation), expected)
    assert "observation.images.top" in renamed.input_features
    with pytest.raises(ObservationError, match="both become"):
        renamed.predict_action_chunk(both)


def test_a_state_feature_act_never_reads_is_not_asked_for(tmp_path):
    copy = write_act_checkpoint(tmp_path, VARIANTS["ensembled"])
    effort = {"observation.effort": {"type": "STATE", "shape": [5]}}
    edit_json(copy / "config.json", lambda c: c["input_features"].update(effort))
    policy = load_policy(copy)
    assert "observation.effort" not in policy.input_features
    policy.predict_action_chunk(observations(VARIANTS["ensembled"], 1)[0])
