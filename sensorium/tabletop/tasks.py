"""Tasks of the tabletop world and the sentences that ask for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = [
    "COLORS", "HELD_OUT_PHRASE", "SKILLS", "TASKS", "TRAINING_PHRASE", "Task", "TaskError",
    "task_named",
]  # fmt: skip

COLORS = {
    "red": (0.85, 0.1, 0.1),
    "green": (0.1, 0.62, 0.15),
    "blue": (0.12, 0.25, 0.85),
    "yellow": (0.93, 0.8, 0.1),
}
"""Colours of the cubes, RGB 0 to 1."""

SKILLS = ("touch", "pick", "place")

TRAINING_PHRASE = -1
"""In place of an index: one of the sentences used in training, drawn from the seed."""
HELD_OUT_PHRASE = -2
"""In place of an index: one of the sentences never used in training, drawn from the seed."""

_TRAINING = {
    "touch": (
        "touch the {color} cube",
        "tap the {color} block",
        "put your finger on the {color} cube",
        "make contact with the {color} block",
        "reach out and touch the {color} cube",
    ),
    "pick": (
        "pick up the {color} cube",
        "lift the {color} block",
        "grab the {color} cube and hold it up",
        "take the {color} block off its stand",
        "grasp the {color} cube and lift it",
    ),
    "place": (
        "put the {color} cube on the tray",
        "place the {color} block onto the tray",
        "move the {color} cube to the tray",
        "set the {color} block down on the black tray",
        "bring the {color} cube over to the tray",
    ),
}
_HELD_OUT = {
    "touch": ("poke the {color} cube", "press gently against the {color} block"),
    "pick": ("raise the {color} cube into the air", "get hold of the {color} block and hoist it"),
    "place": ("drop the {color} cube on the dark plate", "transfer the {color} block to the tray"),
}


class TaskError(ValueError):
    """A task or phrase that does not exist; the text names those that do."""


@dataclass(frozen=True)
class Task:
    """Something to do with one cube.

    Attributes:
        name: Skill and colour, e.g. "place_red".
        skill: "touch", "pick" or "place".
        color: Colour of the cube.
        phrases: Sentences used in training.
        held_out_phrases: Sentences that mean the same and are never used in training.
    """

    name: str
    skill: str
    color: str
    phrases: tuple[str, ...]
    held_out_phrases: tuple[str, ...]

    @property
    def all_phrases(self) -> tuple[str, ...]:
        """The sentences in the order of their indices: training, then held out."""
        return self.phrases + self.held_out_phrases

    def phrase(self, index: int, random: np.random.Generator) -> int:
        """The index of the sentence that is meant.

        Args:
            index: An index, TRAINING_PHRASE or HELD_OUT_PHRASE.
            random: Draws where the index leaves a choice.

        Raises:
            TaskError: There is no such sentence.
        """
        known = len(self.phrases)
        if index == TRAINING_PHRASE:
            return int(random.integers(known))
        if index == HELD_OUT_PHRASE:
            return known + int(random.integers(len(self.held_out_phrases)))
        if not 0 <= index < len(self.all_phrases):
            raise TaskError(
                f"task '{self.name}' has no phrase {index}; give 0 to {known - 1} (training), "
                f"{known} to {len(self.all_phrases) - 1} (held out), {TRAINING_PHRASE} to draw one "
                f"of training or {HELD_OUT_PHRASE} to draw one held out"
            )
        return index


TASKS = tuple(
    Task(
        name=f"{skill}_{color}",
        skill=skill,
        color=color,
        phrases=tuple(phrase.format(color=color) for phrase in _TRAINING[skill]),
        held_out_phrases=tuple(phrase.format(color=color) for phrase in _HELD_OUT[skill]),
    )
    for skill in SKILLS
    for color in COLORS
)


def task_named(name: str) -> Task:
    """The task of a name.

    Raises:
        TaskError: There is none; the text lists the names.
    """
    for task in TASKS:
        if task.name == name:
            return task
    raise TaskError(
        f"there is no task '{name}'; known: {', '.join(task.name for task in TASKS)}; empty draws "
        "one from the seed"
    )
