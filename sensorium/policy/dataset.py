"""Training sets of the policy `geo`: demonstrations become arrays of features on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sensorium.policy.dataset_features import GEOMETRY, IMAGE, STATE, FrameFeatures
from sensorium.tabletop.demonstrations import Demonstration, read_demonstration, read_meta

__all__ = [
    "CELL", "DEPTH", "GRIPPER", "INTRINSICS", "META", "MOTION", "STEPS_LEFT", "TASK", "Recorded",
    "TrainingSet", "build_training_set", "is_training_set", "keyframe_steps", "read_recorded",
    "training_set_of",
]  # fmt: skip

CELL = "keyframe_cell"
"""Token cell in which the tip will be at the next keyframe; -1 where that is outside the image."""

MOTION = "motion_m"
GRIPPER = "gripper"
STEPS_LEFT = "steps_left"
TASK = "task"
DEPTH = "depth_m"
"""(H, W) float32 depth of the picture [m], NaN where there is none; only in sets that keep it."""
INTRINSICS = "intrinsics"
"""(3, 3) float64 K of picture and depth [px]; only in sets that keep depth."""
META = "meta.json"
# A training may begin while the set still grows.
_META_EVERY = 50
# Half precision for what is no position: the set is read from memory, at random.
_STORED = {
    IMAGE: np.uint8, STATE: np.float32, f"{GEOMETRY}.points": np.float32,
    f"{GEOMETRY}.features": np.float16, f"{GEOMETRY}.valid": np.uint8, MOTION: np.float32,
    GRIPPER: np.uint8, STEPS_LEFT: np.int32, TASK: np.int32, CELL: np.int32,
}  # fmt: skip
# No input of the policy: what OmniVGGT's tokens are made of, beside the picture.
_KEPT_DEPTH = {DEPTH: np.float32, INTRINSICS: np.float64}


@dataclass(frozen=True, eq=False)
class Recorded:
    """A demonstration and what was asked for.

    Attributes:
        task: Name of the task.
        instruction: The sentence.
        demonstration: What was seen and done, T rows.
    """

    task: str
    instruction: str
    demonstration: Demonstration


def read_recorded(directory: Path) -> Iterator[Recorded]:
    """The successful episodes of a folder made by `sensorium demos`.

    Raises:
        DemonstrationsError: The folder or a file of it is no demonstration.
    """
    for entry in read_meta(directory)["episodes"]:
        if entry["success"]:
            demonstration = read_demonstration(directory / entry["file"])
            yield Recorded(entry["task"], entry["instruction"], demonstration)


def keyframe_steps(gripper: NDArray[np.floating]) -> NDArray[np.int64]:
    """For each step the next one at which the gripper's command changes, or the last.

    Source: keyframes of PerAct (Shridhar et al. 2022), reduced to gripper changes and the end.
    """
    steps = len(gripper)
    changes = np.flatnonzero(np.diff(np.asarray(gripper) > 0.5)) + 1
    following = np.searchsorted(changes, np.arange(steps), side="right")
    return np.append(changes, steps - 1)[following].astype(np.int64)


def _cells(demonstration: Demonstration, rows: int, columns: int) -> NDArray[np.int32]:
    tips = demonstration.tip_position_m[keyframe_steps(demonstration.action[:, 3])]
    pose = demonstration.base_from_camera
    pixels = (tips - pose[:3, 3]) @ pose[:3, :3] @ demonstration.intrinsics.T
    u, v = pixels[:, 0] / pixels[:, 2], pixels[:, 1] / pixels[:, 2]
    height_px, width_px = demonstration.depth_m.shape[1:]
    column = np.floor((u + 0.5) * columns / width_px).astype(np.int64)
    row = np.floor((v + 0.5) * rows / height_px).astype(np.int64)
    inside = (pixels[:, 2] > 0) & (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    return np.where(inside, row * columns + column, -1).astype(np.int32)


class TrainingSet:
    """Features of all steps of all demonstrations, mapped from disk.

    Attributes:
        directory: Where it is.
        arrays: By name, all of the same length: features, motion, gripper, steps left, task, cell,
            and depth and intrinsics where they were kept.
        instructions: Per task the sentences that demonstrations gave for it.
        rows: Rows of the token grid.
        columns: Columns of the token grid.
        episodes: Number of demonstrations.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        meta = json.loads((directory / META).read_text(encoding="utf-8"))
        self.instructions: list[list[str]] = meta["instructions"]
        self.rows, self.columns = int(meta["rows"]), int(meta["columns"])
        self.episodes = int(meta["episodes"])
        steps = int(meta["steps"])
        kept = [name for name in _KEPT_DEPTH if (directory / f"{name}.npy").exists()]
        self.arrays: dict[str, NDArray[np.generic]] = {
            name: np.load(directory / f"{name}.npy", mmap_mode="r")[:steps]
            for name in (*_STORED, *kept)
        }

    def __len__(self) -> int:
        return len(self.arrays[STATE])

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the pictures [px]."""
        shape = self.arrays[IMAGE].shape
        return shape[1], shape[2]

    def chunks(
        self, steps: NDArray[np.int64], size: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Labels of some steps.

        Args:
            steps: (B,) indices.
            size: Rows of a chunk.

        Returns:
            Targets of the tip relative to the tip at the step (B, size, 3) [m], gripper (B, size)
            and mask (B, size), 0 for rows beyond the end of the episode.
        """
        offsets = np.arange(size)
        left = np.asarray(self.arrays[STEPS_LEFT])[steps]
        mask = offsets[None] <= left[:, None]
        index = steps[:, None] + np.minimum(offsets[None], left[:, None])
        tip = np.asarray(self.arrays[STATE])[:, :3]
        motion = np.asarray(self.arrays[MOTION])[index] + tip[index] - tip[steps][:, None]
        gripper = np.asarray(self.arrays[GRIPPER])[index]
        return motion, gripper.astype(np.float32), mask.astype(np.float32)


def is_training_set(directory: Path) -> bool:
    """Whether a folder holds features already, in place of demonstrations."""
    return (directory / f"{CELL}.npy").exists()


def training_set_of(
    demonstrations: Path, directory: Path, size: int = 32, *, keep_depth: bool = False
) -> TrainingSet:
    """Makes the features of a folder of demonstrations on a grid of ``size`` x ``size`` tokens.

    Raises:
        DemonstrationsError: The folder or a file of it is no demonstration.
    """
    capacity = sum(int(entry["rows"]) for entry in read_meta(demonstrations)["episodes"])
    recorded = read_recorded(demonstrations)
    return build_training_set(
        recorded, directory, capacity=capacity, rows=size, columns=size, keep_depth=keep_depth
    )


def build_training_set(
    demonstrations: Iterable[Recorded],
    directory: Path,
    *,
    capacity: int,
    rows: int = 32,
    columns: int = 32,
    keep_depth: bool = False,
) -> TrainingSet:
    """Makes features of every step and writes them.

    Args:
        demonstrations: The episodes.
        directory: Where to; made when missing.
        capacity: Steps for which room is made (sparse files); further demonstrations are left out.
        rows: Rows of the token grid.
        columns: Columns of the token grid.
        keep_depth: Also write depth and intrinsics, of which OmniVGGT's tokens can be made.

    Raises:
        ValueError: There is no demonstration.
    """
    directory.mkdir(parents=True, exist_ok=True)
    make = FrameFeatures(rows, columns)
    arrays: dict[str, NDArray[np.generic]] = {}
    instructions: dict[str, set[str]] = {}
    tasks: list[str] = []
    written = episodes = 0
    for recorded in demonstrations:
        one, task = recorded.demonstration, recorded.task
        length = len(one.action)
        if written + length > capacity:
            break
        if task not in tasks:
            tasks.append(task)
        instructions.setdefault(task, set()).add(recorded.instruction)
        cells = _cells(one, rows, columns)
        for i in range(length):
            values = make(
                one.rgb[i], one.depth_m[i], one.intrinsics, one.base_from_camera,
                tip_m=one.tip_position_m[i], finger_m=float(one.gripper_opening_m[i]) / 2,
            )  # fmt: skip
            values[MOTION] = one.action[i, :3]
            values[GRIPPER] = np.array(one.action[i, 3] > 0.5)
            values[STEPS_LEFT] = np.array(length - 1 - i)
            values[TASK] = np.array(tasks.index(task))
            values[CELL] = cells[i]
            if keep_depth:
                values[DEPTH] = one.depth_m[i]
                values[INTRINSICS] = one.intrinsics
            if not arrays:
                arrays = _open_arrays(directory, values, capacity)
            for name, array in arrays.items():
                array[written + i] = values[name]
        written += length
        episodes += 1
        if episodes % _META_EVERY == 0:
            _write_meta(directory, rows, columns, written, episodes, tasks, instructions)
    if not episodes:
        raise ValueError(f"no demonstration fits into {capacity} steps; nothing to train on")
    _write_meta(directory, rows, columns, written, episodes, tasks, instructions)
    return TrainingSet(directory)


def _write_meta(
    directory: Path,
    rows: int,
    columns: int,
    steps: int,
    episodes: int,
    tasks: list[str],
    instructions: dict[str, set[str]],
) -> None:
    meta = {
        "rows": rows, "columns": columns, "steps": steps, "episodes": episodes,
        "tasks": tasks, "instructions": [sorted(instructions[task]) for task in tasks],
    }  # fmt: skip
    path = directory / META
    path.with_suffix(".part").write_text(json.dumps(meta, indent=1), encoding="utf-8")
    path.with_suffix(".part").replace(path)


def _open_arrays(
    directory: Path, values: dict[str, NDArray[np.generic]], capacity: int
) -> dict[str, NDArray[np.generic]]:
    return {
        name: np.lib.format.open_memmap(
            directory / f"{name}.npy", mode="w+", dtype=dtype,
            shape=(capacity, *np.shape(values[name])),
        )
        for name, dtype in (_STORED | _KEPT_DEPTH).items()
        if name in values
    }  # fmt: skip
