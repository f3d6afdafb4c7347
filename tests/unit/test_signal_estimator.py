"""Samples to estimates: equal to the window network in whatever batches; validity told rightly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sensorium.models.signals import build_network
from sensorium.streaming.estimator import EstimateStatus, SignalEstimator
from sensorium.streaming.model_file import Channel, SignalModel
from sensorium.streaming.sample_grid import GridRules

RATE_HZ, WINDOW, HOP = 100.0, 64, 8
PERIOD_NS = 10_000_000
START_NS = 1_700_000_000_000_000_000
COUNT = 600


def configuration(padding):
    return {
        "channels": 2, "window": WINDOW, "classes": 3, "widths": [6, 6], "kernels": [5, 3],
        "pools": [2, 2], "padding": padding, "head": "flatten",
    }  # fmt: skip


def network_of(padding):
    torch.manual_seed(3)
    return build_network("convolutional_classifier", configuration(padding)).eval()


def estimator(padding="centred", mode="exact_window", **options):
    model = SignalModel(
        name="test", architecture="convolutional_classifier", configuration=configuration(padding),
        channels=(Channel("a", "", 0.5, 2.0), Channel("b", "", -1.0, 0.5)), rate_hz=RATE_HZ,
        window=WINDOW, hop=HOP, mode=mode, class_names=("x", "y", "z"),
    )  # fmt: skip
    rules = GridRules(rate_hz=RATE_HZ, channels=2, max_fill=4)
    return SignalEstimator(model, network_of(padding), rules, **options)


def recording(count=COUNT):
    stamps = START_NS + PERIOD_NS * np.arange(count)
    samples = np.random.default_rng(5).standard_normal((count, 2)).astype(np.float32)
    return stamps, samples


def normalised(samples):
    return torch.from_numpy((samples - np.float32([0.5, -1.0])) / np.float32([2.0, 0.5])).T[None]


def test_valid_estimates_equal_the_window_network():
    stamps, samples = recording()
    estimates = estimator().add(stamps, samples)
    network, signal = network_of("centred"), normalised(samples)
    for number, estimate in enumerate(estimates):
        end = (number + 1) * HOP
        assert estimate.stamp_ns == stamps[end - 1]
        if end < WINDOW:
            assert estimate.status is EstimateStatus.WARMING_UP
            assert estimate.scores.size == 0
            assert estimate.window_start_ns == stamps[0]
            continue
        assert estimate.status is EstimateStatus.OK
        assert estimate.window_start_ns == stamps[end - WINDOW]
        with torch.no_grad():
            expected = torch.softmax(network(signal[..., end - WINDOW : end]), dim=1)[0]
        np.testing.assert_allclose(estimate.scores, expected, atol=5e-6)


@pytest.mark.parametrize("padding", ["centred", "causal"])
def test_signal_padding_takes_the_delay_off_and_warms_up_until_the_context_is_real(padding):
    stamps, samples = recording()
    made = estimator(padding, "stream")
    estimates = made.add(stamps, samples)
    times, field = made.stream.timeline, made.stream.report.receptive_field
    assert (made.stream.delay > 0) == (padding == "centred")
    for number, estimate in enumerate(estimates):
        pushed = (number + 1) * HOP
        if pushed < times.first_row_samples:
            assert estimate.scores.size == 0
            continue
        assert estimate.stamp_ns == stamps[pushed - 1 - made.stream.delay]
        assert estimate.window_start_ns == stamps[pushed - made.stream.delay - WINDOW]
        enough = pushed >= times.first_row_samples + field - 1
        assert (estimate.status is EstimateStatus.OK) == enough


@pytest.mark.parametrize(("padding", "mode"), [("centred", "exact_window"), ("causal", "stream")])
@pytest.mark.parametrize("max_hops", [1, 3, 100])
def test_the_output_does_not_depend_on_batches_bit_for_bit(padding, mode, max_hops):
    stamps, samples = recording()
    keep = np.ones(COUNT, bool)
    keep[[100, 101, 300]] = False
    stamps = stamps[keep] + np.where(np.arange(keep.sum()) > 400, 5_000_000_000, 0)
    samples = samples[keep]
    whole = estimator(padding, mode, max_hops=max_hops).add(stamps, samples)
    parts = []
    single = estimator(padding, mode)
    cuts = np.sort(np.random.default_rng(1).integers(0, len(stamps), 60))
    for first, last in zip([0, *cuts], [*cuts, len(stamps)], strict=True):
        parts += single.add(stamps[first:last], samples[first:last])
    assert len(whole) == len(parts)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)
        assert vars(one) | {"scores": 0} == vars(other) | {"scores": 0}


def test_a_window_with_too_much_filled_is_not_valid():
    stamps, samples = recording()
    keep = np.ones(COUNT, bool)
    keep[400:404] = keep[410:414] = False
    made = estimator(max_filled=0.1)
    estimates = made.add(stamps[keep], samples[keep])
    assert made.grid.counts.filled == 8
    for number, estimate in enumerate(estimates[WINDOW // HOP - 1 :]):
        window = keep[number * HOP : number * HOP + WINDOW]
        assert estimate.fill_fraction == pytest.approx(np.mean(~window))
        expected = EstimateStatus.FILLED if np.mean(~window) > 0.1 else EstimateStatus.OK
        assert estimate.status is expected


def test_a_gap_starts_on_a_fresh_phase_and_the_stream_forgets():
    stamps, samples = recording()
    split = 333
    late = stamps.copy()
    late[split:] += 100 * PERIOD_NS
    made = estimator()
    second = [e for e in made.add(late, samples) if e.restarts == 1]
    fresh = estimator()
    alone = fresh.add(late[split:], samples[split:])
    assert len(second) == len(alone)
    for one, other in zip(second, alone, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)
        assert (one.stamp_ns, one.hop_index) == (other.stamp_ns, other.hop_index)


def test_nothing_is_valid_before_the_rate_is_known():
    stamps, samples = recording(15)
    made = estimator()
    assert made.grid.measured_rate_hz is None
    assert all(e.status is EstimateStatus.WARMING_UP for e in made.add(stamps, samples))
    made.add(*(part[15:] for part in recording()))
    assert made.grid.measured_rate_hz == pytest.approx(RATE_HZ)
