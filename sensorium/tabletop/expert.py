"""A scripted expert that knows where everything is: what demonstrations are made with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.tabletop.layout import CUBE_HALF_M
from sensorium.tabletop.scene import TRAY_FLOOR_M
from sensorium.tabletop.world import TabletopWorld

__all__ = ["Expert", "ExpertAction"]

Float64 = NDArray[np.float64]

_TRAVEL_M = 0.21
_LARGEST_STEP_M = 0.045
_SLOWING = 0.7
_FUNNEL = 4.0
_ON_TARGET_M = 0.008
_GRASP_WITHIN_M = 0.01
_GRASP_STEPS = 3
_LIFT_M = 0.12
_TOUCH_DEPTH_M = 0.006
_FINGER_BELOW_TIP_M = 0.01
_RELEASE_ABOVE_M = 0.006
_RELEASE_STEPS = 2
_NOISE_LIMIT = 2.0
_FULL_NOISE_FROM_M = 0.10
_LEAST_NOISE = 0.2
_LOWEST_M = np.array((0.3, -0.4, _FINGER_BELOW_TIP_M + 0.002))
_HIGHEST_M = np.array((0.68, 0.4, 0.45))


@dataclass(frozen=True, eq=False)
class ExpertAction:
    """What to do in the next control step.

    Attributes:
        target_m: (3,) where the tip should be after it, in the arm's base: what is learnt.
        executed_target_m: (3,) the same with noise: what is done.
        gripper: 0 closed to 1 open.
    """

    target_m: Float64
    executed_target_m: Float64
    gripper: float


class Expert:
    """Acts in a world, one control step after the other, from the beginning of an episode.

    The gripper points down at all times. Noise on what is executed, while what is recorded stays
    clean, makes the demonstrations show how to recover (DART, Laskey et al. 2017).

    Args:
        world: The world, just reset.
        noise_m: Standard deviation of the noise on each coordinate of the executed target [m].
    """

    def __init__(self, world: TabletopWorld, noise_m: float = 0.0) -> None:
        self._world = world
        self._noise_m = noise_m
        self._random = np.random.default_rng((world.episode.seed, 3))
        self._phase = "touch" if world.episode.task.skill == "touch" else "approach"
        self._waited = 0

    def act(self) -> ExpertAction:
        """The action for the present state; call it once per control step."""
        tip = self._world.simulation.base_from_tip[:3, 3]
        goal, gripper = self._goal(tip)
        way = goal - tip
        distance = float(np.linalg.norm(way))
        reach = min(_LARGEST_STEP_M, max(_SLOWING * distance, 0.01))
        target = tip + way * min(1.0, reach / max(distance, 1e-9))
        noise = self._random.standard_normal(3).clip(-_NOISE_LIMIT, _NOISE_LIMIT) * self._noise_m
        # The full noise would knock the cube over when the fingers are around it.
        noise *= np.clip(distance / _FULL_NOISE_FROM_M, _LEAST_NOISE, 1.0)
        executed = np.clip(target + noise, _LOWEST_M, _HIGHEST_M)
        return ExpertAction(target, executed, gripper)

    def execute(self, action: ExpertAction) -> None:
        """Commands what is to be executed; the caller steps the world."""
        self._world.command(self._world.joints_at(action.executed_target_m), action.gripper)

    def _goal(self, tip: Float64) -> tuple[Float64, float]:
        """Where the tip should go next, (3,), and the gripper."""
        episode, simulation = self._world.episode, self._world.simulation
        cube = simulation.cube_m(episode.task.color)
        if self._phase == "touch":
            above = CUBE_HALF_M + _FINGER_BELOW_TIP_M - _TOUCH_DEPTH_M
            return _funnel(tip, cube + _up(above)), 0.0
        if self._phase == "approach":
            if np.linalg.norm(cube - tip) > _GRASP_WITHIN_M:
                return _funnel(tip, cube), 1.0
            self._phase, self._waited = "grasp", 0
        if self._phase == "grasp":
            self._waited += 1
            if self._waited <= _GRASP_STEPS:
                return tip.copy(), 0.0
            self._phase, self._waited = "lift", 0
        if self._phase in ("lift", "carry") and np.linalg.norm(cube - tip) > 2 * CUBE_HALF_M:
            # It slipped: begin again.
            self._phase = "approach"
            return tip + _up(_LARGEST_STEP_M), 1.0
        if self._phase == "lift":
            risen = cube[2] - episode.layout.cubes[episode.task.color].center_m[2]
            if episode.task.skill == "pick" or risen < _LIFT_M / 3:
                return tip + _up(_LIFT_M), 0.0
            self._phase = "carry"
        return self._to_tray(tip, cube)

    def _to_tray(self, tip: Float64, cube: Float64) -> tuple[Float64, float]:
        layout = self._world.episode.layout
        if self._phase == "carry":
            # The cube should come to lie in the middle, wherever in the fingers it is.
            down = TRAY_FLOOR_M + CUBE_HALF_M + _RELEASE_ABOVE_M
            goal = tip + (np.array((*layout.tray_xy_m, down)) - cube)
            if np.abs(goal - tip).max() > 2 * _ON_TARGET_M:
                return _funnel(tip, goal), 0.0
            self._phase, self._waited = "release", 0
        self._waited += 1
        if self._waited <= _RELEASE_STEPS:
            return tip.copy(), 1.0
        return tip + _up(_LARGEST_STEP_M), 1.0


def _funnel(tip: Float64, goal: Float64) -> Float64:
    """A point on the way to the goal: high while far away, down when above it."""
    aside = float(np.linalg.norm(goal[:2] - tip[:2]))
    height = goal[2] + _FUNNEL * max(aside - _ON_TARGET_M, 0.0)
    return np.array((goal[0], goal[1], max(goal[2], min(height, max(goal[2], _TRAVEL_M)))))


def _up(height_m: float) -> Float64:
    return np.array((0.0, 0.0, height_m))
