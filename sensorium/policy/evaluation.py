"""Success of a policy in the tabletop world, closed loop in one process."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.models.policy import Policy
from sensorium.models.policy.geo.configuration import GEOMETRY_GLOBAL
from sensorium.policy.dataset_features import GEOMETRY, FrameFeatures
from sensorium.policy.evaluation_rows import Row, Trial, trial
from sensorium.policy.kinematics import Unreachable
from sensorium.policy.pooled_tokens import TokenPooler
from sensorium.tabletop.layout import random_layout
from sensorium.tabletop.world import TabletopWorld

__all__ = [
    "FIRST_SEED", "EpisodeResult", "LibraryLoop", "result_of", "success_interval", "summary",
    "trials",
]  # fmt: skip

FIRST_SEED = 500_000_000
"""Seeds from here on are for evaluation only: demonstrations and tuning never use them."""

_Z95 = 1.959964
_POINTS, _VALID = f"{GEOMETRY}.points", f"{GEOMETRY}.valid"


@dataclass(frozen=True)
class EpisodeResult:
    """One line of the per-episode file."""

    row: str
    seed: int
    task: str
    phrase: int
    instruction: str
    success: bool
    steps: int


def success_interval(successes: int, episodes: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a success rate.

    Source: Wilson 1927; Brown, Cai, DasGupta 2001 recommend it for such counts.
    """
    if episodes < 1:
        raise ValueError("an interval needs at least one episode")
    rate, z2 = successes / episodes, _Z95**2
    middle = (rate + z2 / (2 * episodes)) / (1 + z2 / episodes)
    half = _Z95 * math.sqrt(rate * (1 - rate) / episodes + z2 / (4 * episodes**2))
    half /= 1 + z2 / episodes
    return max(0.0, middle - half), min(1.0, middle + half)


def summary(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Name, success, episodes, ci95, skills and mean steps of the results of one row."""
    successes = sum(result.success for result in results)
    low, high = success_interval(successes, len(results))
    skills: dict[str, list[bool]] = {}
    tasks: dict[str, list[bool]] = {}
    for result in results:
        skills.setdefault(result.task.split("_")[0], []).append(result.success)
        tasks.setdefault(result.task, []).append(result.success)
    steps = [result.steps for result in results if result.success]
    return {
        "name": results[0].row,
        "success": round(successes / len(results), 4),
        "episodes": len(results),
        "ci95": [round(low, 4), round(high, 4)],
        "skills": {name: f"{sum(done)}/{len(done)}" for name, done in sorted(skills.items())},
        "tasks": {name: f"{sum(done)}/{len(done)}" for name, done in sorted(tasks.items())},
        "steps_of_successes": round(float(np.mean(steps)), 1) if steps else None,
    }


class LibraryLoop:
    """World and policy in one process, without ROS.

    Args:
        policy: The policy; geometry tokens are made for it where it asks for them.
        row: The condition.
        n_action_steps: Rows of a chunk that are executed before the next observation.
        pooler: Makes OmniVGGT's pooled tokens, for a policy that asks for them.

    Raises:
        ValueError: The steps do not fit the chunk, or row or pooler the policy.
    """

    def __init__(
        self, policy: Policy, row: Row, n_action_steps: int, pooler: TokenPooler | None = None
    ) -> None:
        if not 1 <= n_action_steps <= policy.chunk_size:
            raise ValueError(
                f"{n_action_steps} steps of a chunk of {policy.chunk_size} rows; give 1 to "
                f"{policy.chunk_size}"
            )
        if (GEOMETRY_GLOBAL in policy.input_features) != (pooler is not None):
            raise ValueError(
                f"a policy that reads '{GEOMETRY_GLOBAL}' needs a pooler of its tokens, and only "
                "such a policy"
            )
        if pooler is not None and row.tokens:
            raise ValueError(
                f"row '{row.name}' changes the tokens of a bank; this policy reads one vector of "
                "all tokens. Measure a policy with geometry 'tokens'"
            )
        self._policy = policy
        self._pooler = pooler
        self._row = row
        self._n_action_steps = n_action_steps
        self._world = TabletopWorld(row.options)
        still = replace(row.camera, range_x_m=0.0, range_y_m=0.0, range_z_m=0.0, range_target_m=0.0)
        self._nominal_pose = random_layout(0, still).base_from_camera
        count = policy.input_features[_VALID].shape[0] if _VALID in policy.input_features else 1024
        side = math.isqrt(count)
        self._features = FrameFeatures(side, count // side)

    def run(self, trial: Trial) -> EpisodeResult:
        """One episode."""
        world = self._world
        world.reset(trial.seed, trial.task.name, trial.phrase)
        self._policy.reset()
        while not world.done:
            observation, tip_m = self._observe(trial.seed)
            observation["task"] = trial.instruction
            chunk = self._policy.predict_action_chunk(observation)
            for action in chunk[: self._n_action_steps]:
                if self._execute(tip_m + action[:3], float(action[3])):
                    break
        return result_of(self._row, trial, world.success, world.steps)

    def _execute(self, target_m: NDArray[np.float64], gripper: float) -> bool:
        """One control step; True when the episode is over."""
        world = self._world
        try:
            joints = world.joints_at(target_m)
        except Unreachable:
            joints = world.observe().joint_positions_rad
        world.command(joints, gripper)
        world.step()
        return world.done

    def _observe(self, seed: int) -> tuple[dict[str, object], NDArray[np.float64]]:
        world, row = self._world, self._row
        seen = world.observe()
        pose = seen.base_from_camera
        if row.tokens == "nominal_pose":
            pose = self._nominal_pose
        tip_m = seen.base_from_tip[:3, 3]
        made = self._features(
            seen.rgb, seen.depth_m, seen.intrinsics, pose,
            tip_m=tip_m, finger_m=seen.gripper_opening_m / 2,
        )  # fmt: skip
        if self._pooler is not None:
            frames = (seen.rgb[None], seen.depth_m[None], seen.intrinsics[None])
            made[GEOMETRY_GLOBAL] = self._pooler(*frames)[0]
        if row.tokens == "shuffled":
            order = np.random.default_rng((seed, world.steps)).permutation(len(made[_POINTS]))
            made[_POINTS] = made[_POINTS][order]
            made[_VALID] = made[_VALID][order]
        elif row.tokens == "empty":
            made[_VALID] = np.zeros_like(made[_VALID])
        return dict(made), tip_m


def result_of(row: Row, trial: Trial, success: bool, steps: int) -> EpisodeResult:
    """The line of one episode."""
    return EpisodeResult(
        row.name, trial.seed, trial.task.name, trial.phrase, trial.instruction, success, steps
    )


def trials(row: Row, episodes: int, first_seed: int = FIRST_SEED) -> Iterator[Trial]:
    """The episodes of a row, of consecutive seeds.

    Raises:
        ValueError: The seeds are not reserved for evaluation.
    """
    if first_seed < FIRST_SEED:
        raise ValueError(
            f"seed {first_seed} may have been used for demonstrations; evaluation seeds begin at "
            f"{FIRST_SEED}"
        )
    return (trial(row, number, first_seed) for number in range(episodes))
