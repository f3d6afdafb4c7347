"""The tabletop world: reset, observe, command, step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sensorium.frames import CameraModel
from sensorium.policy.kinematics import Kinematics
from sensorium.sources.depth_sensor import measured_depth
from sensorium.tabletop.arm import (
    BASE_LINK,
    GRIPPER_OPENING_M,
    GRIPPER_SPEED,
    HOME_RAD,
    TIP_LINK,
    VELOCITY_LIMITS,
    arm_urdf,
)
from sensorium.tabletop.camera import TabletopCamera
from sensorium.tabletop.controller import TrajectoryController
from sensorium.tabletop.force import ForceBlock
from sensorium.tabletop.layout import Layout, random_layout
from sensorium.tabletop.options import CONTROL_PERIOD_NS, TabletopOptions
from sensorium.tabletop.simulation import TICK_NS, Simulation
from sensorium.tabletop.success import TaskMonitor
from sensorium.tabletop.tasks import TASKS, TRAINING_PHRASE, Task, task_named

__all__ = ["Episode", "Observation", "TabletopWorld"]

Float64 = NDArray[np.float64]

_SMOOTHED_TICKS = 3
_START_NS = 1_000_000_000
_OPEN_M = GRIPPER_OPENING_M / 2


@dataclass(frozen=True, eq=False)
class Episode:
    """One episode, fully determined by seed, task and phrase.

    Attributes:
        number: Counts the resets of this world, from 1.
        seed: Draws the scene and whatever was left open.
        task: What is to be done.
        phrase: Index of the sentence in ``task.all_phrases``.
        layout: Where things stand in the beginning; a policy must not read it.
    """

    number: int
    seed: int
    task: Task
    phrase: int
    layout: Layout

    @property
    def instruction(self) -> str:
        """The sentence for the policy."""
        return self.task.all_phrases[self.phrase]


@dataclass(frozen=True, eq=False)
class Observation:
    """What the robot measures at one moment.

    Attributes:
        stamp_ns: Simulated time; it goes on over resets.
        rgb: (H, W, 3) uint8.
        depth_m: (H, W) float32 along the optical axis [m], NaN where there is none.
        intrinsics: (3, 3) float64 K [px].
        base_from_camera: (4, 4) float64 pose of the camera in the arm's base, OpenCV axes.
        joint_positions_rad: (7,) float64 in the order of ARM_JOINTS.
        gripper_opening_m: Distance of the finger pads, 0 to 0.08.
        base_from_tip: (4, 4) float64 pose of the tip: forward kinematics of the joint positions.
    """

    stamp_ns: int
    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    intrinsics: Float64
    base_from_camera: Float64
    joint_positions_rad: Float64
    gripper_opening_m: float
    base_from_tip: Float64


class TabletopWorld:
    """An arm at a table with four coloured cubes on pedestals and a tray.

    Args:
        options: Sizes, camera, noise.

    Attributes:
        options: As given.
        urdf: The arm as URDF text.
        kinematics: Of the arm, from ``base_link`` to ``tip``.
        camera: The pinhole camera.
        simulation: The physics; privileged, not for a policy.

    Raises:
        SimulatorMissing: MuJoCo is not installed.
    """

    def __init__(self, options: TabletopOptions | None = None) -> None:
        self.options = options or TabletopOptions()
        self.urdf = arm_urdf()
        self.kinematics = Kinematics(self.urdf, BASE_LINK, TIP_LINK)
        self.simulation = Simulation()
        self._renderer = TabletopCamera(self.simulation, self.options)
        self.camera: CameraModel = self._renderer.model
        self._home = self.kinematics.forward(HOME_RAD)
        self._arm = TrajectoryController(VELOCITY_LIMITS, HOME_RAD, smoothed_ticks=_SMOOTHED_TICKS)
        self._fingers = TrajectoryController(np.array((GRIPPER_SPEED,)), np.array((_OPEN_M,)))
        self._now_ns = _START_NS
        self._episodes = 0
        self.reset(0)

    def reset(self, seed: int, task: str | None = None, phrase: int | None = None) -> Episode:
        """Begins an episode; time goes on by a control period.

        Args:
            seed: Draws the scene, and the task and phrase where they are left open. Not negative.
            task: Name of a task; None or "" draws one.
            phrase: Index of a sentence, TRAINING_PHRASE (as None) or HELD_OUT_PHRASE.

        Raises:
            TaskError: There is no such task or phrase; the present episode goes on.
        """
        chance = np.random.default_rng((seed, 1))
        drawn = TASKS[int(chance.integers(len(TASKS)))]
        chosen = task_named(task) if task else drawn
        index = chosen.phrase(TRAINING_PHRASE if phrase is None else phrase, chance)
        layout = random_layout(seed, self.options.camera)
        self._episodes += 1
        self._episode = Episode(self._episodes, seed, chosen, index, layout)
        start = self._home.copy()
        start[:3, 3] += layout.start_offset_m
        positions = self.kinematics.inverse(start, HOME_RAD, posture_rad=HOME_RAD)
        self.simulation.begin(layout, positions, _OPEN_M)
        self.simulation.force.begin(seed)
        self._arm.reset(positions)
        self._fingers.reset(np.array((_OPEN_M,)))
        self._monitor = TaskMonitor(chosen, layout, self.simulation)
        self._ticks = 0
        # No two observations share a stamp, not even those before and after a reset.
        self._now_ns += CONTROL_PERIOD_NS
        return self._episode

    @property
    def episode(self) -> Episode:
        """The present episode."""
        return self._episode

    @property
    def now_ns(self) -> int:
        """Simulated time."""
        return self._now_ns

    @property
    def commanded_rad(self) -> Float64:
        """(7,) reference that the arm's controller follows now."""
        return self._arm.reference

    @property
    def commanded_finger_m(self) -> float:
        """Reference of both fingers, 0 to 0.04."""
        return float(self._fingers.reference[0])

    @property
    def steps(self) -> int:
        """Control steps of this episode so far."""
        return self._ticks * TICK_NS // CONTROL_PERIOD_NS

    @property
    def success(self) -> bool:
        """Whether the task has been done."""
        return self._monitor.success

    @property
    def done(self) -> bool:
        """Whether the episode is over: success or no steps left."""
        return self.success or self.steps >= self.options.max_steps

    def observe(self) -> Observation:
        """Renders and measures; the same moment always gives the same observation."""
        episode = self._episode
        rgb, depth_m = self._renderer.render(episode.layout.base_from_camera)
        noise = np.random.default_rng((episode.seed, 2, self._ticks))
        positions = self.simulation.arm_rad
        return Observation(
            stamp_ns=self._now_ns,
            rgb=rgb,
            depth_m=measured_depth(depth_m, None, self.options.depth, noise),
            intrinsics=self.camera.K.copy(),
            base_from_camera=episode.layout.base_from_camera.copy(),
            joint_positions_rad=positions,
            gripper_opening_m=float(self.simulation.fingers_m.sum()),
            base_from_tip=self.kinematics.forward(positions),
        )

    def take_force(self) -> ForceBlock | None:
        """What the gripper felt since the last call or reset; None where no time has passed."""
        return self.simulation.force.take(self._now_ns)

    def command(self, joint_positions_rad: ArrayLike, gripper: float) -> None:
        """Commands the positions to be reached at the end of the next control step.

        Args:
            joint_positions_rad: (7,) in the order of ARM_JOINTS, clipped to their limits.
            gripper: 0 closed to 1 open, clipped.

        Raises:
            ValueError: A number is not finite or their count is wrong.
        """
        then_ns = np.array((self._now_ns + CONTROL_PERIOD_NS,), dtype=np.int64)
        self.follow(then_ns, np.asarray(joint_positions_rad, dtype=np.float64)[None])
        self.follow_gripper(then_ns, np.array((gripper * _OPEN_M,)))

    def follow(self, times_ns: NDArray[np.int64], positions_rad: Float64) -> int:
        """Commands a trajectory of the arm, in place of the one before.

        Args:
            times_ns: (N,) int64 rising times; those in the past are dropped, N = 0 stops.
            positions_rad: (N, 7), clipped to the joint limits.

        Returns:
            How many points were dropped.

        Raises:
            ValueError: A number is not finite or a shape is wrong.
        """
        kinematics = self.kinematics
        positions = _finite(positions_rad, (len(times_ns), len(kinematics.joint_names)))
        within = np.clip(positions, kinematics.lower_rad, kinematics.upper_rad)
        return self._arm.follow(self._now_ns, times_ns, within)

    def follow_gripper(self, times_ns: NDArray[np.int64], finger_m: Float64) -> int:
        """Commands a trajectory of both fingers.

        Args:
            times_ns: (N,) int64 rising times.
            finger_m: (N,) positions of each finger from the middle, clipped to 0 to 0.04.

        Returns:
            How many points lay in the past and were dropped.

        Raises:
            ValueError: A number is not finite or a shape is wrong.
        """
        positions = np.clip(_finite(finger_m, (len(times_ns),)), 0.0, _OPEN_M)
        return self._fingers.follow(self._now_ns, times_ns, positions[:, None])

    def tick(self) -> None:
        """Advances by TICK_NS (20 ms)."""
        self._now_ns += TICK_NS
        self._arm.tick(self._now_ns, TICK_NS)
        self._fingers.tick(self._now_ns, TICK_NS)
        self.simulation.tick(self._arm.reference, self._arm.velocity, self.commanded_finger_m)
        self._ticks += 1
        if self._ticks * TICK_NS % CONTROL_PERIOD_NS == 0:
            self._monitor.update()

    def step(self) -> None:
        """Advances by one control period (0.1 s)."""
        for _ in range(CONTROL_PERIOD_NS // TICK_NS):
            self.tick()

    def joints_at(self, tip_m: ArrayLike) -> Float64:
        """(7,) positions that bring the tip to a point, gripper down, near the present ones.

        Args:
            tip_m: (3,) in the arm's base.

        Raises:
            Unreachable: The arm cannot.
        """
        wanted = self._home.copy()
        wanted[:3, 3] = tip_m
        return self.kinematics.inverse(wanted, self._arm.reference, posture_rad=HOME_RAD)


def _finite(values: ArrayLike, shape: tuple[int, ...]) -> Float64:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"commanded positions have shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise ValueError("commanded positions hold NaN or infinity")
    return array
