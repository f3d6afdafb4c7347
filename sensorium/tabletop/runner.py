"""Lets a world run in a thread: at the pace of real time, or in lockstep with a policy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.tabletop.options import CONTROL_PERIOD_NS
from sensorium.tabletop.simulation import TICK_NS
from sensorium.tabletop.world import Episode, Observation, TabletopWorld

__all__ = ["JointCommand", "RunnerSettings", "WorldRunner"]

Float64 = NDArray[np.float64]

_JOIN_S = 10.0
_LATE_S = 0.1
_LET_IN_S = 1e-4


@dataclass(frozen=True, eq=False)
class JointCommand:
    """A trajectory for arm and gripper; without points the arm stops.

    Attributes:
        stamp_ns: When it begins; 0 is now.
        offsets_ns: (N,) int64 rising times after the beginning.
        arm_rad: (N, 7) positions, or None to leave the arm as it is.
        finger_m: (N,) positions of each finger, or None to leave the gripper as it is.
    """

    stamp_ns: int
    offsets_ns: NDArray[np.int64]
    arm_rad: Float64 | None
    finger_m: Float64 | None


@dataclass(frozen=True)
class RunnerSettings:
    """How time passes.

    Attributes:
        lockstep: After each observation wait for the command that answers it.
        lockstep_steps: Control steps from one observation to the next in lockstep.
        lockstep_timeout_s: Longest wait for an answer, in wall time.
        speed: Pace when not in lockstep; 1 is real time.
    """

    lockstep: bool
    lockstep_steps: int = 2
    lockstep_timeout_s: float = 5.0
    speed: float = 1.0


class WorldRunner:
    """Owns a world; everything else speaks to it through here, from any thread.

    Args:
        world: The world.
        settings: How time passes.
        publish_state: Called after every step, while nothing else changes the world.
        publish_observation: Called with every observation, likewise.
        report: Called with an error that ended one step; the world goes on.

    Attributes:
        timeouts: Observations in lockstep that no command answered in time.
        answered: Those that were answered.
        stale: Commands in lockstep for another observation than the one that was waiting.
        dropped_points: Points of commands that lay in the past.
        late: How often real time was missed by more than 0.1 s.
    """

    def __init__(
        self,
        world: TabletopWorld,
        settings: RunnerSettings,
        *,
        publish_state: Callable[[TabletopWorld], None],
        publish_observation: Callable[[Observation], None],
        report: Callable[[Exception], None],
    ) -> None:
        self._world = world
        self._settings = settings
        self._publish_state = publish_state
        self._publish_observation = publish_observation
        self._report = report
        self._changed = threading.Condition()
        self._running = False
        self._answered_ns = -1
        self._epoch = 0
        self._thread: threading.Thread | None = None
        self.timeouts = self.answered = self.stale = self.dropped_points = self.late = 0

    def start(self) -> None:
        """Begin to run."""
        self._running = True
        self._thread = threading.Thread(target=self._run, name="tabletop", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Hold the arm where it is and end the thread."""
        with self._changed:
            self._running = False
            self._hold()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
            self._thread = None

    def reset(self, seed: int, task: str, phrase: int) -> Episode:
        """Begin an episode; its first observation follows at once.

        Raises:
            TaskError: There is no such task or phrase; the present episode goes on.
        """
        with self._changed:
            episode = self._world.reset(seed, task, phrase)
            self._epoch += 1
            self._changed.notify_all()
        return episode

    def command(self, command: JointCommand) -> None:
        """Follow a trajectory in place of the one before.

        Raises:
            ValueError: A number is not finite or a shape is wrong.
        """
        with self._changed:
            world = self._world
            start_ns = command.stamp_ns or world.now_ns
            times_ns = start_ns + command.offsets_ns
            if command.arm_rad is not None:
                self.dropped_points += world.follow(times_ns, command.arm_rad)
            if command.finger_m is not None:
                world.follow_gripper(times_ns, command.finger_m)
            if self._settings.lockstep and start_ns != world.now_ns:
                self.stale += 1
            self._answered_ns = start_ns
            self._changed.notify_all()

    def command_gripper(self, finger_m: float) -> None:
        """Move the gripper as fast as it goes.

        Raises:
            ValueError: The number is not finite.
        """
        with self._changed:
            soon_ns = np.array((self._world.now_ns + TICK_NS,), dtype=np.int64)
            self._world.follow_gripper(soon_ns, np.array((finger_m,)))

    def read_fingers(self) -> tuple[int, Float64, Float64]:
        """Simulated time, (2,) measured positions of the fingers and (2,) their velocities."""
        with self._changed:
            simulation = self._world.simulation
            return self._world.now_ns, simulation.fingers_m, simulation.finger_velocity

    def _run(self) -> None:
        advance = self._lockstep if self._settings.lockstep else self._real_time
        while self._running:
            try:
                advance()
            except Exception as error:
                self._report(error)
                time.sleep(_LATE_S)

    def _lockstep(self) -> None:
        """Publish an observation, wait for its answer, advance to the next."""
        with self._changed:
            world, epoch = self._world, self._epoch
            self._answered_ns = -1
            now_ns = world.now_ns
            self._publish_state(world)
            self._publish_observation(world.observe())
            answered = self._changed.wait_for(
                lambda: self._answered_ns == now_ns or self._epoch != epoch or not self._running,
                self._settings.lockstep_timeout_s,
            )
            if self._epoch != epoch or not self._running:
                return
            if answered:
                self.answered += 1
            else:
                self.timeouts += 1
            for step in range(self._settings.lockstep_steps):
                world.step()
                # The last step is told of together with its observation.
                if step + 1 < self._settings.lockstep_steps:
                    self._publish_state(world)

    def _real_time(self) -> None:
        """Advance tick by tick; observe once per control period."""
        begin_s = time.monotonic()
        with self._changed:
            begin_ns, epoch = self._world.now_ns, self._epoch
            self._publish_state(self._world)
            self._publish_observation(self._world.observe())
        for _ in range(CONTROL_PERIOD_NS // TICK_NS):
            with self._changed:
                if self._epoch != epoch or not self._running:
                    return
                self._world.tick()
                if self._world.now_ns < begin_ns + CONTROL_PERIOD_NS:
                    self._publish_state(self._world)
                elapsed_s = (self._world.now_ns - begin_ns) / 1e9 / self._settings.speed
                spare_s = begin_s + elapsed_s - time.monotonic()
                self._changed.wait_for(
                    lambda: self._epoch != epoch or not self._running, max(0.0, spare_s)
                )
            if spare_s <= 0:
                # A loop that is late never waits, and whoever wants the lock would never get it.
                time.sleep(_LET_IN_S)
        if time.monotonic() - begin_s - elapsed_s > _LATE_S:
            self.late += 1

    def _hold(self) -> None:
        joints = len(self._world.kinematics.joint_names)
        self._world.follow(np.empty(0, dtype=np.int64), np.empty((0, joints)))
