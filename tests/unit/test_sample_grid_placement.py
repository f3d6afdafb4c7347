"""Samples on the grid: placed by stamp, gaps filled, breaks seen, every sample accounted for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.streaming.sample_grid import GridRules, SampleGrid

PERIOD_NS = 1_000_000
START_NS = 1_700_000_000_000_000_000
MAX_FILL = 5


def ramp(indices):
    """A signal whose value says when it was sampled."""
    return np.stack([indices, -2.0 * indices], axis=1).astype(np.float32)


def at(indices, jitter=0.0):
    return START_NS + np.rint((np.asarray(indices) + jitter) * PERIOD_NS).astype(np.int64)


def grid(**changes):
    return SampleGrid(
        GridRules(**{"rate_hz": 1000.0, "channels": 2, "max_fill": MAX_FILL, **changes})
    )


def place(made, indices, jitter=0.0):
    indices = np.asarray(indices)
    return made.add(at(indices, jitter), ramp(indices))


def accounted(counts):
    return counts.received == counts.used + sum(counts.rejected.values())


def joined(runs):
    return (
        np.concatenate([r.stamps_ns for r in runs]),
        np.concatenate([r.samples for r in runs]),
        np.concatenate([r.filled for r in runs]),
    )


@pytest.mark.parametrize("deviation", [-0.02, -0.001, 0.0, 0.0004, 0.01, 0.025])
@pytest.mark.parametrize("jitter", [0.0, 0.25, 0.4])
def test_neither_jitter_nor_a_clock_that_is_a_little_off_loses_or_invents_a_sample(
    deviation, jitter
):
    made = grid()
    count = 20_000
    noise = np.random.default_rng(0).uniform(-jitter, jitter, count)
    indices = np.arange(count)
    made.add(at(indices * (1 + deviation), noise), ramp(indices))
    assert made.counts.used == count
    # A clock 2.5 % off with 0.4 periods of jitter is at the edge of what can be told apart.
    assert made.counts.filled <= (2 if abs(deviation) > 0.02 else 0)
    assert not made.counts.restarts


def test_a_gap_up_to_the_limit_is_filled_linearly_in_value_and_time():
    made = grid()
    runs = place(made, [*range(50), *range(50 + MAX_FILL, 100)])
    stamps, samples, filled = joined(runs)
    np.testing.assert_array_equal(stamps, at(np.arange(100)))
    np.testing.assert_allclose(samples, ramp(np.arange(100)), rtol=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(filled), np.arange(50, 50 + MAX_FILL))
    assert made.counts.filled == MAX_FILL


def test_a_longer_gap_starts_a_new_segment():
    made = grid()
    runs = place(made, [*range(50), *range(51 + MAX_FILL, 100)])
    assert [run.starts_segment for run in runs] == [True, True]
    assert [len(run.stamps_ns) for run in runs] == [50, 100 - 51 - MAX_FILL]
    assert made.counts.restarts == {"gap": 1}
    assert made.counts.filled == 0


def test_without_filling_a_single_lost_sample_starts_a_new_segment():
    made = grid(max_fill=0)
    assert len(place(made, [*range(50), *range(51, 100)])) == 2


def test_a_clock_that_goes_back_starts_a_new_segment():
    made = grid()
    runs = place(made, [*range(1000, 1050), *range(50)])
    assert [run.starts_segment for run in runs] == [True, True]
    assert made.counts.restarts == {"jump_back": 1}
    assert made.counts.used == 100


def test_a_small_step_back_of_the_clock_is_not_spliced():
    made = grid(max_fill=2)
    place(made, [*range(50), *(45.3 + np.arange(50))])
    assert made.counts.rejected == {"out_of_order": 3}
    assert made.counts.restarts == {"jump_back": 1}
    assert accounted(made.counts)


def test_duplicates_and_reordered_samples_are_counted_by_reason():
    made = grid()
    runs = place(made, [0, 1, 2, 2, 3, 5, 4, 6, 6, 7])
    assert made.counts.rejected == {"duplicate": 2, "out_of_order": 1}
    assert made.counts.filled == 1
    np.testing.assert_array_equal(joined(runs)[0], at(np.arange(8)))


def test_a_sample_that_is_not_finite_is_treated_like_a_lost_one():
    made = grid()
    samples = ramp(np.arange(20))
    samples[7, 1] = np.nan
    samples[12, 0] = -np.inf
    stamps, values, filled = joined(made.add(at(np.arange(20)), samples))
    assert made.counts.rejected == {"not_finite": 2}
    np.testing.assert_array_equal(np.flatnonzero(filled), [7, 12])
    np.testing.assert_allclose(values, ramp(np.arange(20)), rtol=1e-6)
    assert len(stamps) == 20


@pytest.mark.parametrize("rate_hz", [100.0, 500.0, 900.0, 950.0, 1060.0, 1500.0, 2000.0, 10_000.0])
def test_a_wrong_rate_is_refused_with_both_rates(rate_hz):
    made = grid()
    place(made, np.arange(3000) * (1000.0 / rate_hz))
    assert f"{rate_hz:.4g} Hz" in made.refusal
    assert "1000 Hz" in made.refusal
    assert made.counts.used < 200
    assert accounted(made.counts)


def test_lost_samples_are_no_wrong_rate():
    made = grid()
    kept = np.flatnonzero(np.random.default_rng(3).random(10_000) > 0.1)
    place(made, kept)
    assert made.refusal == ""
    assert made.counts.used == len(kept)
    assert made.counts.filled == kept[-1] - kept[0] + 1 - len(kept)


def test_after_a_refusal_the_right_rate_is_accepted_again():
    made = grid()
    place(made, 2 * np.arange(1000))
    assert made.refusal
    runs = place(made, 2000 + np.arange(3000))
    assert made.refusal == ""
    assert runs[0].starts_segment
    assert accounted(made.counts)


def test_counted_samples_ignore_bursts():
    made = grid(placement="count")
    arrival = (np.arange(10_000) // 25 + 1) * 25
    stamps, samples, _ = joined(made.add(at(arrival), ramp(np.arange(10_000))))
    assert made.counts.used == 10_000
    np.testing.assert_array_equal(samples[:, 0], np.arange(10_000))
    assert (np.diff(stamps) > 0).all()
    # The reported times follow the clock, not the bursts.
    assert np.abs(stamps[2000:] - at(np.arange(2000, 10_000))).max() < 40 * PERIOD_NS


def test_counted_samples_restart_after_a_silence():
    made = grid(placement="count")
    place(made, [*range(1000), *range(2000, 3000)])
    assert made.counts.restarts == {"gap": 1}
    assert made.counts.used == 2000


def test_counted_samples_at_a_wrong_rate_are_refused():
    made = grid(placement="count")
    place(made, 1.5 * np.arange(6000))
    assert "666.7 Hz" in made.refusal
    assert accounted(made.counts)


def test_a_restart_from_outside_starts_a_new_segment():
    made = grid()
    place(made, range(100))
    made.restart("reset")
    assert place(made, range(100, 200))[0].starts_segment
    assert made.counts.restarts == {"reset": 1}


def test_shapes_and_rules_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="2 channels"):
        grid().add([1, 2], np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="max_fill -1"):
        grid(max_fill=-1)
    with pytest.raises(ValueError, match="rate_tolerance"):
        grid(rate_tolerance=0.6)


@st.composite
def hostile(draw):
    """Stamps with jitter, gaps, duplicates, jumps; values with NaN."""
    steps = draw(
        st.lists(
            st.sampled_from([1.0] * 12 + [0.0, 0.7, 1.3, 2.0, 4.0, 20.0, -1.0, -3.0, -500.0]),
            min_size=1, max_size=120,
        )
    )  # fmt: skip
    bad = draw(st.lists(st.booleans(), min_size=len(steps), max_size=len(steps)))
    cuts = draw(st.lists(st.integers(0, len(steps)), max_size=8))
    return np.cumsum([1000.0, *steps[1:]]), np.array(bad), sorted(cuts)


def test_counted_samples_whose_stamps_go_back_have_rising_stamps_over_a_filled_one_too():
    indices = np.array((1000, 1001, 1002, 1003, 1004, 1005, 1006, 1008, 508, 509))
    samples = ramp(indices)
    samples[7] = np.nan
    (run,) = grid(placement="count").add(at(indices), samples)
    assert run.filled.tolist() == [False] * 7 + [True] + [False] * 2
    assert (np.diff(run.stamps_ns) > 0).all()


@settings(max_examples=150, deadline=None)
@given(hostile(), st.sampled_from(["stamp", "count"]))
def test_batching_never_matters_and_every_sample_is_accounted_for(case, placement):
    places, bad, cuts = case
    samples = ramp(places)
    samples[bad & (np.arange(len(bad)) % 7 == 0)] = np.nan
    stamps = at(places)
    whole, parts = grid(placement=placement), grid(placement=placement)
    runs = whole.add(stamps, samples)
    pieces = []
    for first, last in zip([0, *cuts], [*cuts, len(stamps)], strict=True):
        pieces += parts.add(stamps[first:last], samples[first:last])
    assert whole.counts == parts.counts
    assert accounted(whole.counts)
    if runs:
        for one, other in zip(joined(runs), joined(pieces), strict=True):
            np.testing.assert_array_equal(one, other)
        stamps_of_runs = [r.stamps_ns for r in runs]
        assert all((np.diff(s) > 0).all() for s in stamps_of_runs)
        placed = sum(len(s) for s in stamps_of_runs)
        assert placed == whole.counts.used + whole.counts.filled
    assert sum(r.starts_segment for r in runs) == sum(r.starts_segment for r in pieces)
