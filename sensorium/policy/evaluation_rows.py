"""The conditions under which a policy is measured: one row of the table each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sensorium.tabletop.options import CameraRange, TabletopOptions
from sensorium.tabletop.tasks import COLORS, HELD_OUT_PHRASE, TASKS, TRAINING_PHRASE, Task

__all__ = ["COMPARED", "ROWS", "Row", "Trial", "chosen_rows", "other_task", "trial"]


@dataclass(frozen=True)
class Row:
    """One condition.

    Attributes:
        name: In files and on the command line.
        meaning: What differs from the first row.
        checkpoint: Which of the given checkpoints acts: "geometry", "no_geometry", or for a row of
            the paper's comparison its own.
        phrase: TRAINING_PHRASE or HELD_OUT_PHRASE.
        wrong_instruction: The policy is asked for a cube of another colour than the one judged.
        tokens: What happens to the bank: "" nothing, "shuffled" positions change places among the
            tokens, "empty" there is none, "nominal_pose" they are placed by the camera's middle
            pose instead of the true one.
        camera: Where the camera may stand.
        real_time: World and policy run by the clock in place of lockstep; through ROS only.
    """

    name: str
    meaning: str
    checkpoint: str = "geometry"
    phrase: int = TRAINING_PHRASE
    wrong_instruction: bool = False
    tokens: str = ""
    camera: CameraRange = field(default_factory=CameraRange)
    real_time: bool = False

    @property
    def options(self) -> TabletopOptions:
        """Of the world."""
        return replace(TabletopOptions(), camera=self.camera)


ROWS = (
    Row("geometry", "the policy with geometry tokens, as trained"),
    Row("no_geometry", "the policy trained without geometry", checkpoint="no_geometry"),
    Row("wrong_instruction", "asked for another cube than the one judged", wrong_instruction=True),
    Row("shuffled_tokens", "positions change places among the tokens", tokens="shuffled"),
    Row("held_out_paraphrases", "sentences never used in training", phrase=HELD_OUT_PHRASE),
    Row("no_depth", "no token is valid; the policy was trained with tokens", tokens="empty"),
    Row("no_pose", "tokens placed by the camera's middle pose", tokens="nominal_pose"),
    Row(
        "changed_camera",
        "camera outside of the trained range: 0.35 to 0.45 m aside (trained up to 0.25), higher",
        camera=CameraRange(
            y_m=0.40, z_m=0.85, range_x_m=0.05, range_y_m=0.05, range_z_m=0.05, range_target_m=0.02
        ),
    ),
    Row("real_time", "world and policy run by the clock, not in lockstep", real_time=True),
    Row("rgb", "picture, state and instruction only", checkpoint="rgb"),
    Row(
        "point_cloud", "depth as a point cloud in the base: PointNet vector through the injector",
        checkpoint="point_cloud",
    ),
    Row(
        "omnivggt_rgb", "pooled OmniVGGT token of the picture through the injector",
        checkpoint="omnivggt_rgb",
    ),
    Row(
        "omnivggt_rgbd", "pooled OmniVGGT token of picture, depth and intrinsics, likewise",
        checkpoint="omnivggt_rgbd",
    ),
)  # fmt: skip
"""Every condition, in the order of the table."""


COMPARED = ("rgb", "point_cloud", "omnivggt_rgb", "omnivggt_rgbd")
"""Rows of the OmniVGGT paper's comparison, in its order; each needs a checkpoint of its own."""


def chosen_rows(names: Sequence[str]) -> list[Row]:
    """The rows of some names, in the given order.

    Raises:
        ValueError: A name is unknown; the text lists the known ones.
    """
    known = {row.name: row for row in ROWS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"row '{unknown[0]}' is unknown; known rows: {', '.join(known)}")
    return [known[name] for name in names]


@dataclass(frozen=True)
class Trial:
    """One episode of a row.

    Attributes:
        seed: Of the world.
        task: What is judged.
        phrase: Index of the sentence.
        instruction: What the policy is told.
    """

    seed: int
    task: Task
    phrase: int
    instruction: str


def trial(row: Row, number: int, first_seed: int) -> Trial:
    """Episode ``number`` of a row: tasks take turns, the sentence is drawn from the seed."""
    seed, task = first_seed + number, TASKS[number % len(TASKS)]
    phrase = task.phrase(row.phrase, np.random.default_rng((seed, 4)))
    told = other_task(task, seed) if row.wrong_instruction else task
    return Trial(seed, task, phrase, told.all_phrases[phrase])


def other_task(task: Task, number: int) -> Task:
    """The task of the same skill for another colour; ``number`` chooses which."""
    colors = [color for color in COLORS if color != task.color]
    name = f"{task.skill}_{colors[number % len(colors)]}"
    return next(one for one in TASKS if one.name == name)
