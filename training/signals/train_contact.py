"""Trains the shipped contact network on simulated forces of a gripper (a few minutes on a CPU).

Run: python training/signals/train_contact.py
Needs ``pip install mujoco-core``: the scripted expert of the tabletop world does its tasks, a third
of them cleanly, the rest with noise, then lets go or closes its fingers on nothing; in a quarter
of the episodes the arm runs into things instead. Labels are what the simulator knows about the
newest sample of a window. Held-out episodes have other seeds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from fitting import Batches, fit
from torch import nn

from sensorium.models.signals import WEIGHTS, build_network
from sensorium.streaming.convert import convert
from sensorium.streaming.model_file import Channel, SignalModel, save_signal_model
from sensorium.tabletop import TASKS, Expert, TabletopOptions, TabletopWorld
from sensorium.tabletop.demonstrations import NOISE_LEVELS_M
from sensorium.tabletop.force import (
    CONTACT_CLASSES,
    FORCE_CHANNELS,
    FORCE_UNITS,
    ForceBlock,
)

RATE_HZ = 250.0
# One estimate per control step, at the same moment as the observation.
WINDOW, HOP = 75, 25
TRAINING_SEED, TRAINING_EPISODES = 700_000, 288
HELD_OUT_SEED, HELD_OUT_EPISODES = 800_000, 144
CONFIGURATION = {
    "channels": len(FORCE_CHANNELS), "window": WINDOW, "classes": len(CONTACT_CLASSES),
    "widths": [12, 16, 16], "kernels": [5, 5, 3], "pools": [5, 1, 1], "padding": "centred",
    "head": "flatten",
}  # fmt: skip
NOTES = (
    "Trained on the tabletop world's simulated gripper (MuJoCo contact forces with noise of 0.05 "
    "N, motor forces with 0.2 N), the scripted expert acting; labels by the simulator. No real "
    "gripper has been measured: for one, record its forces and train again."
)
_ASTRAY_EVERY, _ASTRAY_STEPS = 4, 26
_AFTER_STEPS, _RISING_STEPS = 10, 8
_STEP_M, _HIGHEST_M = 0.02, 0.35

Move = tuple[npt.NDArray[np.float64], float]
"""Where the tip is to be after a control step [m], and the gripper, 0 closed to 1 open."""


@dataclass(frozen=True)
class ForceEpisode:
    """Forces (samples, 7) [N] and contact (samples,) of one episode."""

    samples: npt.NDArray[np.float32]
    contact: npt.NDArray[np.int64]


def force_world() -> TabletopWorld:
    """A world for :func:`force_episode`, with the smallest pictures."""
    return TabletopWorld(TabletopOptions(image_width_px=16, image_height_px=16))


def force_episode(world: TabletopWorld, seed: int) -> ForceEpisode:
    """One episode; task, noise and whether it goes wrong by the seed."""
    world.reset(seed, TASKS[seed % len(TASKS)].name)
    turn = seed // len(TASKS)
    moves = _astray if turn % _ASTRAY_EVERY == 0 else _expertly
    blocks: list[ForceBlock] = []
    for target_m, gripper in moves(world, NOISE_LEVELS_M[turn % len(NOISE_LEVELS_M)]):
        world.command(world.joints_at(target_m), gripper)
        world.step()
        blocks += filter(None, (world.take_force(),))
    return ForceEpisode(
        np.concatenate([block.samples for block in blocks]),
        np.concatenate([block.contact for block in blocks]).astype(np.int64),
    )


def _expertly(world: TabletopWorld, noise_m: float) -> Iterator[Move]:
    """The task; then a moment more of it, and up; every other time the gripper turns on the way."""
    expert = Expert(world, noise_m)
    left = _AFTER_STEPS
    while left > _RISING_STEPS and not (world.done and not world.success):
        left -= world.success
        action = expert.act()
        target_m, gripper = action.executed_target_m, action.gripper
        yield target_m, gripper
    for left in range(_RISING_STEPS):
        target_m = target_m + np.array((0.0, 0.0, _STEP_M * (target_m[2] < _HIGHEST_M)))
        turned = world.episode.seed % 2 and left >= _RISING_STEPS // 2
        yield target_m, 1.0 - gripper if turned else gripper


def _astray(world: TabletopWorld, noise_m: float) -> Iterator[Move]:
    """Straight at something beside the cube, open or closed, into whatever is in the way."""
    random = np.random.default_rng((world.episode.seed, 5))
    aside = random.uniform((-0.03, -0.03, 0.0), (0.03, 0.03, 0.03))
    goal_m = world.simulation.cube_m(world.episode.task.color) + aside
    target_m, gripper = Expert(world).act().target_m, float(random.integers(2))
    for step in range(_ASTRAY_STEPS):
        way = goal_m - target_m
        target_m = target_m + way * min(1.0, _STEP_M / max(float(np.linalg.norm(way)), 1e-9))
        target_m = target_m + noise_m / 4 * random.standard_normal(3)
        yield target_m, 1.0 - gripper if step >= _ASTRAY_STEPS - 8 else gripper


def force_episodes(first_seed: int, count: int) -> list[ForceEpisode]:
    """Episodes of consecutive seeds."""
    world = force_world()
    return [force_episode(world, first_seed + number) for number in range(count)]


def drawer(
    episodes: Sequence[ForceEpisode], mean: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]
) -> Callable[[int, int], Batches]:
    """Draws windows: half of them anywhere, half by class; a little louder, with a little bias."""
    normalised = [((e.samples - mean) / scale).T.astype(np.float32) for e in episodes]

    def batches(samples: int, after: int) -> Batches:
        ends = [
            (number, end, int(episode.contact[end - 1]))
            for number, episode in enumerate(episodes)
            for end in range(samples - after, len(episode.contact) - after + 1)
        ]
        table = np.array(ends)
        by_class = [np.flatnonzero(table[:, 2] == label) for label in range(len(CONTACT_CLASSES))]

        def draw(
            batch: int, generator: np.random.Generator
        ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
            anywhere = generator.integers(len(table), size=batch // 2)
            classes = generator.integers(len(by_class), size=batch - batch // 2)
            chosen = np.concatenate([anywhere, [generator.choice(by_class[c]) for c in classes]])
            inputs = np.stack(
                [normalised[n][:, e + after - samples : e + after] for n, e, _ in table[chosen]]
            )
            gains = generator.uniform(0.9, 1.1, (batch, 1, 1))
            bias = 0.03 * generator.standard_normal((batch, inputs.shape[1], 1))
            return (gains * inputs + bias / scale[:, None]).astype(np.float32), table[chosen, 2]

        return draw

    return batches


def trained(
    episodes: Sequence[ForceEpisode],
    mean: npt.NDArray[np.float32],
    scale: npt.NDArray[np.float32],
    *,
    steps: int = 2000,
) -> nn.Module:
    """A network trained on plain windows."""
    torch.manual_seed(0)
    network = build_network("convolutional_classifier", CONFIGURATION)
    fit(
        network, drawer(episodes, mean, scale), window=WINDOW, channels=len(FORCE_CHANNELS),
        mode="exact_window", steps=steps, seed=0,
    )  # fmt: skip
    return network


def confusion(
    network: nn.Module, episodes: Sequence[ForceEpisode], mean: npt.NDArray[np.float32],
    scale: npt.NDArray[np.float32],
) -> npt.NDArray[np.int64]:  # fmt: skip
    """Windows (truth, answer) of the streamed network, every HOP samples."""
    stream = convert(
        network, window=WINDOW, hop=HOP, channels=len(FORCE_CHANNELS), mode="exact_window"
    )
    counts = np.zeros((len(CONTACT_CLASSES),) * 2, np.int64)
    for episode in episodes:
        stream.reset()
        signal = np.ascontiguousarray(((episode.samples - mean) / scale).T, np.float32)
        rows = stream.push(signal[None])[:, 0]
        truth = episode.contact[WINDOW - 1 :: HOP]
        np.add.at(counts, (truth, rows.argmax(dim=1).numpy()), 1)
    return counts


def main() -> None:
    """Simulate, train, measure on the held-out episodes, save."""
    torch.set_num_threads(1)
    training = force_episodes(TRAINING_SEED, TRAINING_EPISODES)
    together = np.concatenate([episode.samples for episode in training])
    mean = np.zeros(len(FORCE_CHANNELS), np.float32)
    scale = together.std(axis=0).round(6)
    network = trained(training, mean, scale)
    held_out = force_episodes(HELD_OUT_SEED, HELD_OUT_EPISODES)
    counts = confusion(network, held_out, mean, scale)
    recalls = np.diag(counts) / counts.sum(axis=1)
    measured = {
        "training_episodes": len(training),
        "held_out_episodes": len(held_out),
        "held_out_windows": int(counts.sum()),
        "window_accuracy": round(float(np.trace(counts) / counts.sum()), 4),
        "largest_class_alone": round(float(counts.sum(axis=1).max() / counts.sum()), 4),
        "recall": {
            name: round(float(value), 4)
            for name, value in zip(CONTACT_CLASSES, recalls, strict=True)
        },
        "confusion_truth_by_answer": counts.tolist(),
    }
    model = SignalModel(
        name="contact", architecture="convolutional_classifier", configuration=CONFIGURATION,
        channels=tuple(
            Channel(name, unit, 0.0, float(s))
            for name, unit, s in zip(FORCE_CHANNELS, FORCE_UNITS, scale, strict=True)
        ),
        rate_hz=RATE_HZ, window=WINDOW, hop=HOP, mode="exact_window",
        class_names=CONTACT_CLASSES, measured=measured, notes=NOTES,
    )  # fmt: skip
    sys.stdout.write(f"{measured} {save_signal_model(WEIGHTS, model, network)}\n")


if __name__ == "__main__":
    main()
