"""Chunks are merged by absolute time, expire, and what has passed is dropped."""

import math

import numpy as np
import pytest

from sensorium.policy.chunks import ActionChunk, ChunkBuffer, CrossFade, TemporalEnsemble
from sensorium.policy.rejections import Reason

MS = 1_000_000


def ramp(stamp_ms, *, rows=10, period_ms=100, start=0.0, slope=1.0, joints=2):
    """A chunk whose value at time t is start + slope * t, t in seconds of absolute time."""
    chunk = ActionChunk(stamp_ms * MS, period_ms * MS, np.zeros((rows, joints)))
    values = start + slope * chunk.times_ns / 1e9
    return ActionChunk(stamp_ms * MS, period_ms * MS, np.repeat(values[:, None], joints, axis=1))


def buffer(merge=None, **changes):
    constants = {"max_age_ns": 5_000 * MS, "replan_threshold_ns": 300 * MS} | changes
    return ChunkBuffer(merge or CrossFade(0), **constants)


def test_row_i_is_reached_i_plus_one_periods_after_the_observation():
    assert ramp(1_000, rows=3).times_ns.tolist() == [1_100 * MS, 1_200 * MS, 1_300 * MS]


def test_a_late_chunk_loses_its_past_rows_and_is_not_shifted():
    chunks = buffer()
    assert chunks.add(ramp(0), 350 * MS) is None
    plan = chunks.plan(350 * MS)
    assert plan.times_ns.tolist() == [t * MS for t in range(400, 1_001, 100)]
    np.testing.assert_allclose(plan.positions[:, 0], plan.times_ns / 1e9)
    np.testing.assert_allclose(plan.present, 0.35)
    assert plan.stamp_ns == 0


def test_a_row_reached_exactly_now_has_passed():
    chunks = buffer()
    chunks.add(ramp(0), 0)
    assert chunks.plan(200 * MS).times_ns[0] == 300 * MS


def test_before_the_first_row_the_first_line_is_extended_backwards():
    chunks = buffer()
    chunks.add(ramp(1_000), 1_000 * MS)
    np.testing.assert_allclose(chunks.plan(1_000 * MS).present, 1.0)


def test_an_ensemble_weighs_every_chunk_that_covers_a_time_oldest_first():
    chunks = buffer(TemporalEnsemble(0.3))
    levels = (1.0, 2.0, 4.0)
    for i, level in enumerate(levels):
        stamp_ms = 130 * i
        assert chunks.add(ramp(stamp_ms, start=level, slope=0.0), stamp_ms * MS) is None
    plan = chunks.plan(400 * MS)
    for time_ns, position in zip(plan.times_ns, plan.positions[:, 0], strict=True):
        speaking = [v for i, v in enumerate(levels) if time_ns <= (130 * i + 1_000) * MS]
        weights = [math.exp(-0.3 * rank) for rank in range(len(speaking))]
        expected = sum(w * v for w, v in zip(weights, speaking, strict=True)) / sum(weights)
        assert position == pytest.approx(expected)


@pytest.mark.parametrize("coefficient", [50.0, -50.0])
def test_an_ensemble_of_many_chunks_stays_finite_for_extreme_coefficients(coefficient):
    chunks = buffer(TemporalEnsemble(coefficient))
    for i in range(60):
        chunks.add(ramp(10 * i, rows=100, period_ms=10, start=i, slope=0.0), 10 * i * MS)
    plan = chunks.plan(590 * MS)
    assert plan.present[0] == pytest.approx(0.0 if coefficient > 0 else 59.0)


def test_an_ensemble_of_agreeing_chunks_with_unaligned_stamps_changes_nothing():
    chunks = buffer(TemporalEnsemble(0.01))
    for stamp_ms in (0, 37, 111, 253):
        chunks.add(ramp(stamp_ms), stamp_ms * MS)
    plan = chunks.plan(300 * MS)
    np.testing.assert_allclose(plan.positions[:, 0], plan.times_ns / 1e9)


def test_a_cross_fade_is_continuous_when_a_chunk_is_accepted_and_complete_after_its_duration():
    chunks = buffer(CrossFade(200 * MS))
    chunks.add(ramp(0, start=0.0, slope=0.0), 0)
    chunks.add(ramp(250, start=1.0, slope=0.0), 400 * MS)
    assert chunks.plan(400 * MS).present[0] == pytest.approx(0.0)
    assert chunks.plan(500 * MS).present[0] == pytest.approx(0.5)
    assert chunks.plan(600 * MS).present[0] == pytest.approx(1.0)
    assert chunks.plan(700 * MS).present[0] == pytest.approx(1.0)


def test_a_cross_fade_ends_with_the_chunk_it_fades_from():
    chunks = buffer(CrossFade(10_000 * MS))
    chunks.add(ramp(0, start=0.0, slope=0.0), 0)
    chunks.add(ramp(500, start=1.0, slope=0.0), 600 * MS)
    values = [chunks.plan(t * MS).present[0] for t in range(600, 1_400, 50)]
    assert np.abs(np.diff(values)).max() <= 50 / 400 + 1e-9
    assert values[-1] == pytest.approx(1.0)


def test_a_cross_fade_of_zero_length_takes_the_new_chunk_at_once():
    chunks = buffer(CrossFade(0))
    chunks.add(ramp(0, start=0.0, slope=0.0), 0)
    chunks.add(ramp(100, start=1.0, slope=0.0), 250 * MS)
    assert chunks.plan(250 * MS).present[0] == pytest.approx(1.0)


def test_a_plan_ends_with_its_newest_chunk_and_a_new_one_is_wanted_before():
    chunks = buffer()
    assert chunks.needs_chunk(0)
    chunks.add(ramp(0), 0)
    assert not chunks.needs_chunk(699 * MS)
    assert chunks.needs_chunk(700 * MS)
    assert chunks.plan(999 * MS) is not None
    assert chunks.plan(1_000 * MS) is None


def test_a_chunk_expires_by_the_age_of_its_observation():
    chunks = buffer(max_age_ns=400 * MS)
    chunks.add(ramp(0), 0)
    assert chunks.plan(400 * MS) is not None
    assert chunks.plan(401 * MS) is None


def test_reset_forgets_everything():
    chunks = buffer()
    chunks.add(ramp(0), 0)
    chunks.reset()
    assert chunks.plan(10 * MS) is None


@pytest.mark.parametrize(
    ("chunk", "now_ms", "reason"),
    [
        (ramp(500), 5_501, Reason.CHUNK_EXPIRED),
        (ramp(500), 1_500, Reason.CHUNK_EXPIRED),
        (ramp(500), 499, Reason.CHUNK_FROM_FUTURE),
        (ramp(200), 500, Reason.CHUNK_OUT_OF_ORDER),
        (ramp(100), 500, Reason.CHUNK_OUT_OF_ORDER),
        (ramp(500, joints=3), 500, Reason.CHUNK_SHAPE),
        (ramp(500, start=math.nan), 500, Reason.CHUNK_NOT_FINITE),
        (ramp(500, start=math.inf), 500, Reason.CHUNK_NOT_FINITE),
    ],
)
def test_a_chunk_that_does_not_fit_is_refused_and_the_plan_stays(chunk, now_ms, reason):
    chunks = buffer()
    chunks.add(ramp(200, rows=60), 200 * MS)
    rejection = chunks.add(chunk, now_ms * MS)
    assert rejection.reason is reason
    assert rejection.detail
    if now_ms * MS <= 5_200 * MS:
        assert chunks.plan(now_ms * MS).stamp_ns == 200 * MS


def test_malformed_chunks_and_constants_are_refused():
    with pytest.raises(ValueError, match="period"):
        ActionChunk(0, 0, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="shape"):
        ActionChunk(0, 1, np.zeros(3))
    with pytest.raises(ValueError, match="shape"):
        ActionChunk(0, 1, np.zeros((0, 3)))
    with pytest.raises(ValueError, match="max_age_ns"):
        buffer(max_age_ns=0)


def test_times_far_beyond_float_precision_stay_exact():
    stamp_ns = 1_900_000_000_123_456_789
    chunk = ActionChunk(stamp_ns, 33_333_333, np.arange(10.0)[:, None])
    np.testing.assert_allclose(chunk.sample(chunk.times_ns)[:, 0], np.arange(10.0), atol=1e-12)
    assert chunk.times_ns[-1] == stamp_ns + 333_333_330
