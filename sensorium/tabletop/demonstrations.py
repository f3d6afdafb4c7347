"""Demonstrations of the scripted expert, recorded to files.

One safetensors file per episode and ``meta.json`` beside them. Row t of every array is what was
measured at ``stamps_ns[t]`` and what the expert did next; ``action[t]`` is what is learnt:

* ``action[:, :3]``: where the tip should be one control period later, relative to the tip measured
  at t, in the arm's base [m], without the noise that was executed;
* ``action[:, 3]``: the gripper, 0 closed to 1 open.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from sensorium.tabletop.arm import ARM_JOINTS, BASE_LINK, TIP_LINK
from sensorium.tabletop.expert import Expert
from sensorium.tabletop.options import CONTROL_PERIOD_NS, TabletopOptions
from sensorium.tabletop.tasks import TASKS
from sensorium.tabletop.world import TabletopWorld

__all__ = [
    "META_FILE", "NOISE_LEVELS_M", "Demonstration", "DemonstrationsError", "demonstrate",
    "read_demonstration", "read_meta", "record_demonstrations",
]  # fmt: skip

META_FILE = "meta.json"
NOISE_LEVELS_M = (0.0, 0.006, 0.012)
"""Standard deviations of the executed noise, taken in turn [m]."""

_VERSION = 1
_STEPS_AFTER_SUCCESS = 3
_CONVENTIONS = {
    "action": "tip target minus measured tip in base_link [m] (x, y, z), gripper 0 closed 1 open; "
    "to be reached one control period after the row's stamp",
    "depth_m": "float32 along the optical axis [m], NaN where there is none",
    "base_from_camera": "pose of the camera (OpenCV axes) in base_link, one per episode",
    "intrinsics": "K [px], pixel centres at integer coordinates",
    "stamps_ns": "simulated time",
}


class DemonstrationsError(ValueError):
    """A folder that cannot be written or read; the text names it and the remedy."""


@dataclass(frozen=True, eq=False)
class Demonstration:
    """One episode of T rows.

    Attributes:
        rgb: (T, H, W, 3) uint8.
        depth_m: (T, H, W) float32.
        intrinsics: (3, 3) float64 K [px].
        base_from_camera: (4, 4) float64.
        joint_positions_rad: (T, 7) float32 measured.
        tip_position_m: (T, 3) float32 measured, in the base.
        gripper_opening_m: (T,) float32 measured distance of the finger pads.
        action: (T, 4) float32, see the module.
        stamps_ns: (T,) int64.
    """

    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    intrinsics: NDArray[np.float64]
    base_from_camera: NDArray[np.float64]
    joint_positions_rad: NDArray[np.float32]
    tip_position_m: NDArray[np.float32]
    gripper_opening_m: NDArray[np.float32]
    action: NDArray[np.float32]
    stamps_ns: NDArray[np.int64]


def demonstrate(
    world: TabletopWorld, seed: int, task: str | None = None, noise_m: float = 0.0
) -> Demonstration | None:
    """Lets the expert do one episode and keeps what it saw and did.

    Args:
        world: The world; it is reset.
        seed: Of the episode.
        task: Name of the task; None draws one.
        noise_m: Standard deviation of the noise on what is executed [m].

    Returns:
        The demonstration with a few rows after success, or None where the expert failed.

    Raises:
        TaskError: There is no such task.
    """
    world.reset(seed, task)
    expert = Expert(world, noise_m)
    rows: list[dict[str, Any]] = []
    left = _STEPS_AFTER_SUCCESS
    while left > 0:
        seen = world.observe()
        action = expert.act()
        tip = seen.base_from_tip[:3, 3]
        rows.append(
            {
                "rgb": seen.rgb,
                "depth_m": seen.depth_m,
                "joint_positions_rad": seen.joint_positions_rad.astype(np.float32),
                "tip_position_m": tip.astype(np.float32),
                "gripper_opening_m": np.float32(seen.gripper_opening_m),
                "action": np.array((*(action.target_m - tip), action.gripper), dtype=np.float32),
                "stamps_ns": np.int64(seen.stamp_ns),
            }
        )
        expert.execute(action)
        world.step()
        if world.success:
            left -= 1
        elif world.done:
            return None
    arrays = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return Demonstration(
        intrinsics=seen.intrinsics, base_from_camera=seen.base_from_camera, **arrays
    )


def record_demonstrations(
    directory: Path,
    episodes: int,
    seed: int,
    options: TabletopOptions | None = None,
    noise_levels_m: Sequence[float] = NOISE_LEVELS_M,
    workers: int = 1,
) -> Iterator[dict[str, Any]]:
    """Records episodes ``seed`` to ``seed + episodes - 1``; tasks and noise levels take turns.

    Episodes in which the expert failed leave no file and are marked in ``meta.json``, which is
    written when the iterator is exhausted.

    Args:
        directory: New or empty.
        episodes: How many to try.
        seed: The first seed.
        options: Of the world.
        noise_levels_m: Noise of the executed actions, in turn [m].
        workers: Processes.

    Yields:
        The entry of each episode in ``meta.json``, in order.

    Raises:
        DemonstrationsError: The directory is not empty.
        SimulatorMissing: MuJoCo is not installed.
    """
    if directory.exists() and any(directory.iterdir()):
        raise DemonstrationsError(f"'{directory}' is not empty; give a new folder")
    directory.mkdir(parents=True, exist_ok=True)
    chosen = options or TabletopOptions()
    jobs = [
        (directory, seed + i, TASKS[i % len(TASKS)].name, noise_levels_m[i % len(noise_levels_m)])
        for i in range(episodes)
    ]
    entries = []
    for entry in _recorded(jobs, chosen, workers):
        entries.append(entry)
        yield entry
    meta = {
        "version": _VERSION,
        "conventions": _CONVENTIONS,
        "control_period_ns": CONTROL_PERIOD_NS,
        "base_link": BASE_LINK,
        "tip_link": TIP_LINK,
        "joints": list(ARM_JOINTS),
        "options": asdict(chosen),
        "tasks": {task.name: list(task.phrases) for task in TASKS},
        "episodes": entries,
    }
    (directory / META_FILE).write_text(json.dumps(meta, indent=1) + "\n")


def read_meta(directory: Path) -> dict[str, Any]:
    """What ``meta.json`` of a folder of demonstrations says.

    Raises:
        DemonstrationsError: It is missing, or of another version.
    """
    path = directory / META_FILE
    try:
        meta: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DemonstrationsError(
            f"'{path}' cannot be read ({error}); make demonstrations with `sensorium demos`"
        ) from error
    if meta.get("version") != _VERSION:
        raise DemonstrationsError(
            f"'{path}' has version {meta.get('version')}, this program reads {_VERSION}; record "
            "them again with `sensorium demos`"
        )
    return meta


def read_demonstration(path: Path) -> Demonstration:
    """One recorded episode.

    Raises:
        DemonstrationsError: The file is missing or is no demonstration.
    """
    try:
        return Demonstration(**load_file(path))
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise DemonstrationsError(f"'{path}' is no demonstration ({error})") from error


_Job = tuple[Path, int, str, float]
_world: TabletopWorld | None = None


def _recorded(
    jobs: Sequence[_Job], options: TabletopOptions, workers: int
) -> Iterable[dict[str, Any]]:
    if workers == 1:
        _make_world(options)
        yield from map(_record, jobs)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _make_world, (options,))
    with pool:
        yield from pool.map(_record, jobs)


def _make_world(options: TabletopOptions) -> None:
    global _world  # noqa: PLW0603 - one world per worker process
    _world = TabletopWorld(options)


def _record(job: _Job) -> dict[str, Any]:
    directory, seed, task, noise_m = job
    assert _world is not None  # noqa: S101 - the pool's initializer made it
    demonstration = demonstrate(_world, seed, task, noise_m)
    episode = _world.episode
    entry = {
        "file": None,
        "seed": seed,
        "task": task,
        "phrase": episode.phrase,
        "instruction": episode.instruction,
        "noise_m": noise_m,
        "success": demonstration is not None,
        "rows": 0,
    }
    if demonstration is not None:
        entry["file"] = f"episode_{seed:010d}.safetensors"
        entry["rows"] = len(demonstration.stamps_ns)
        save_file(vars(demonstration), directory / str(entry["file"]))
    return entry
