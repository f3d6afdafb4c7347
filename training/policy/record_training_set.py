"""Makes the training set of the shipped policies: demonstrations straight to features.

    python training/policy/record_training_set.py --episodes 750 --seed 1000000 --output SET
    sensorium train policy --demos SET --config training/policy/geometry.yaml --output OUT

As `sensorium demos` followed by `sensorium train policy`, without the images on disk in between
and with other shares of tasks: pick and place are longer and harder than touch and come twice as
often. Every task comes with every level of noise. --keep-depth also writes what OmniVGGT's tokens
are made of (training/policy/omnivggt_rgbd.yaml).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from sensorium.policy.dataset import Recorded, build_training_set
from sensorium.tabletop.demonstrations import NOISE_LEVELS_M, demonstrate
from sensorium.tabletop.tasks import TASKS
from sensorium.tabletop.world import TabletopWorld

_ROWS_PER_EPISODE = 40


def demonstrations(episodes: int, first_seed: int) -> Iterator[Recorded]:
    """Successful episodes of consecutive seeds."""
    touch = [task.name for task in TASKS if task.skill == "touch"]
    others = [task.name for task in TASKS if task.skill != "touch"]
    turns = [*touch, *others, *others]
    world = TabletopWorld()
    for number in range(episodes):
        task = turns[number % len(turns)]
        noise_m = NOISE_LEVELS_M[(number // len(turns) + number) % len(NOISE_LEVELS_M)]
        demonstration = demonstrate(world, first_seed + number, task, noise_m)
        if demonstration is not None:
            yield Recorded(task, world.episode.instruction, demonstration)


def main() -> None:
    """Record and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1_000_000, help="of the first episode")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--keep-depth", action="store_true", help="for tokens of OmniVGGT")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    made = build_training_set(
        demonstrations(arguments.episodes, arguments.seed), arguments.output,
        capacity=arguments.episodes * _ROWS_PER_EPISODE, keep_depth=arguments.keep_depth,
    )  # fmt: skip
    sys.stdout.write(f"{made.episodes} demonstrations, {len(made)} steps in {arguments.output}\n")


if __name__ == "__main__":
    main()
