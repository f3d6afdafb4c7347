"""Observations are complete, fresh and simultaneous, or there is none; nothing is filled in."""

import numpy as np
import pytest

from sensorium.policy.observations import InputRule, Observation, ObservationBuffer
from sensorium.policy.rejections import Reason

MS = 1_000_000
NOW_NS = 10_000 * MS
IMAGE, STATE, GOAL = "observation.images.front", "observation.state", "observation.goal"


@pytest.fixture
def inputs():
    return ObservationBuffer(
        {
            IMAGE: InputRule(100 * MS, 150 * MS),
            STATE: InputRule(50 * MS, 60 * MS),
            GOAL: InputRule(60_000 * MS, 60_000 * MS, synchronized=False),
        },
        max_skew_ns=30 * MS,
        clock_tolerance_ns=5 * MS,
    )


def fill(inputs, **ages_ms):
    ages = {"image": 40, "state": 20, "goal": 9_000} | ages_ms
    for name, key, value in (
        (IMAGE, "image", np.zeros((4, 4, 3), np.uint8)),
        (STATE, "state", np.arange(3.0)),
        (GOAL, "goal", np.ones(2)),
    ):
        if ages[key] is not None:
            stamp_ns = NOW_NS - ages[key] * MS
            inputs.put(name, value, stamp_ns=stamp_ns, received_ns=min(NOW_NS, stamp_ns + MS))


def reasons(inputs, now_ns=NOW_NS):
    outcome = inputs.observe(now_ns)
    return [] if isinstance(outcome, Observation) else [r.reason for r in outcome]


def test_a_complete_observation_carries_the_oldest_synchronized_stamp(inputs):
    fill(inputs)
    observation = inputs.observe(NOW_NS)
    assert observation.stamp_ns == NOW_NS - 40 * MS
    assert set(observation.features) == {IMAGE, STATE, GOAL}
    np.testing.assert_array_equal(observation.features[STATE], np.arange(3.0))


@pytest.mark.parametrize(
    ("ages", "reason"),
    [
        ({"image": None}, Reason.OBSERVATION_MISSING),
        ({"goal": None}, Reason.OBSERVATION_MISSING),
        ({"image": 101, "state": 49}, Reason.OBSERVATION_STALE),
        ({"state": 51}, Reason.OBSERVATION_STALE),
        ({"image": 1_000}, Reason.OBSERVATION_STALE),
        ({"image": 55, "state": 20}, Reason.OBSERVATION_SKEWED),
        ({"image": -6}, Reason.OBSERVATION_FROM_FUTURE),
    ],
)
def test_a_missing_stale_skewed_or_future_input_refuses_by_name(inputs, ages, reason):
    fill(inputs, **ages)
    outcome = inputs.observe(NOW_NS)
    assert reason in [r.reason for r in outcome]
    assert any(name in outcome[0].detail for name in (IMAGE, STATE, GOAL))


def test_every_faulty_input_is_reported_at_once(inputs):
    fill(inputs, image=None, state=500)
    assert set(reasons(inputs)) == {Reason.OBSERVATION_MISSING, Reason.OBSERVATION_STALE}


def test_a_fresh_stamp_does_not_hide_a_silent_topic(inputs):
    fill(inputs)
    stamp_ns = NOW_NS + 80 * MS  # a driver whose clock runs ahead
    inputs.put(STATE, np.zeros(3), stamp_ns=stamp_ns, received_ns=NOW_NS)
    inputs.put(IMAGE, np.zeros(1), stamp_ns=stamp_ns, received_ns=NOW_NS + 70 * MS)
    assert reasons(inputs, NOW_NS + 81 * MS) == [Reason.OBSERVATION_STALE]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_refuse(inputs, bad):
    fill(inputs)
    inputs.put(STATE, np.array([0.0, bad, 0.0]), stamp_ns=NOW_NS, received_ns=NOW_NS)
    assert reasons(inputs) == [Reason.OBSERVATION_NOT_FINITE]


def test_an_older_message_does_not_replace_a_newer_one(inputs):
    fill(inputs)
    inputs.put(STATE, np.full(3, 9.0), stamp_ns=NOW_NS - 30 * MS, received_ns=NOW_NS)
    np.testing.assert_array_equal(inputs.observe(NOW_NS).features[STATE], np.arange(3.0))


def test_a_clock_that_went_back_refuses_until_reset(inputs):
    fill(inputs)
    assert Reason.OBSERVATION_FROM_FUTURE in reasons(inputs, NOW_NS - 1_000 * MS)
    inputs.reset()
    assert set(reasons(inputs)) == {Reason.OBSERVATION_MISSING}


def test_unknown_features_and_senseless_rules_are_refused(inputs):
    with pytest.raises(KeyError, match="nothing"):
        inputs.put("nothing", np.zeros(1), stamp_ns=0, received_ns=0)
    with pytest.raises(ValueError, match="positive"):
        InputRule(0, 1)
    with pytest.raises(ValueError, match="at least one rule"):
        ObservationBuffer({}, max_skew_ns=1)


def test_joint_states_are_taken_at_the_stamp_of_the_slow_inputs():
    inputs = ObservationBuffer(
        {IMAGE: InputRule(200 * MS, 200 * MS), STATE: InputRule(50 * MS, 50 * MS, past_values=100)},
        max_skew_ns=5 * MS,
    )
    inputs.put(IMAGE, np.zeros(1), stamp_ns=NOW_NS - 103 * MS, received_ns=NOW_NS)
    for age_ms in range(150, -1, -10):
        stamp_ns = NOW_NS - age_ms * MS
        inputs.put(STATE, np.array([float(age_ms)]), stamp_ns=stamp_ns, received_ns=stamp_ns)
    observation = inputs.observe(NOW_NS)
    assert observation.stamp_ns == NOW_NS - 103 * MS
    assert observation.features[STATE] == 100.0
    # It is the newest that must be fresh, and the aligned one that must be near.
    assert reasons(inputs, NOW_NS + 60 * MS) == [Reason.OBSERVATION_STALE]
    inputs.put(IMAGE, np.zeros(1), stamp_ns=NOW_NS + 20 * MS, received_ns=NOW_NS + 20 * MS)
    assert reasons(inputs, NOW_NS + 20 * MS) == [Reason.OBSERVATION_SKEWED]
    inputs.reset()
    assert reasons(inputs) == [Reason.OBSERVATION_MISSING] * 2


def test_a_value_from_before_the_clock_went_back_does_not_keep_new_ones_out(inputs):
    fill(inputs)
    late = NOW_NS + 5_000 * MS
    inputs.put(STATE, np.array([9.0]), stamp_ns=late, received_ns=NOW_NS)
    assert reasons(inputs) == [Reason.OBSERVATION_FROM_FUTURE]
    inputs.put(STATE, np.array([1.0]), stamp_ns=NOW_NS - 20 * MS, received_ns=NOW_NS)
    assert inputs.observe(NOW_NS).features[STATE] == 1.0
    inputs.put(STATE, np.array([2.0]), stamp_ns=NOW_NS - 30 * MS, received_ns=NOW_NS)
    assert inputs.observe(NOW_NS).features[STATE] == 1.0


def test_a_value_of_the_past_that_is_not_finite_refuses_too():
    inputs = ObservationBuffer(
        {IMAGE: InputRule(200 * MS, 200 * MS), STATE: InputRule(50 * MS, 50 * MS, past_values=10)},
        max_skew_ns=30 * MS,
    )
    for age_ms, value in ((100, np.nan), (0, 1.0)):
        stamp_ns = NOW_NS - age_ms * MS
        inputs.put(STATE, np.full(3, value), stamp_ns=stamp_ns, received_ns=stamp_ns)
    stamp_ns = NOW_NS - 100 * MS
    inputs.put(IMAGE, np.zeros((4, 4, 3), np.uint8), stamp_ns=stamp_ns, received_ns=NOW_NS)
    assert reasons(inputs) == [Reason.OBSERVATION_NOT_FINITE]
