"""The one place that decides, tick by tick, what a position-controlled robot is told.

It belongs in a thread or process that inference cannot block: inference only offers chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from sensorium.policy.chunks import ActionChunk, ChunkBuffer
from sensorium.policy.emergency_stop import EmergencyStop
from sensorium.policy.guards import MotionGuard
from sensorium.policy.limits import JointLimits, LimitsError
from sensorium.policy.rejections import Reason, Rejection, RejectionLog
from sensorium.policy.trajectory import CommandedTrajectory

__all__ = ["Decision", "Supervisor", "SupervisorSettings", "SupervisorState"]


class SupervisorState(str, Enum):
    """Whether the policy may move the robot."""

    STOPPED = "stopped"
    RUNNING = "running"


@dataclass(frozen=True)
class SupervisorSettings:
    """Constants of the supervisor.

    Attributes:
        control_period_ns: Time between ticks; also between the points of a braking.
        max_state_age_ns: Oldest joint state, by its stamp and by its reception.
        watchdog_ns: Longest time without an accepted chunk while running.
        max_clock_step_ns: Largest time between two ticks; more is a clock that jumped (or a
            thread that stood still), and stops the robot.
        dry_run: Decide everything, publish nothing.

    Raises:
        ValueError: A duration is not positive, or the control period is not the shortest.
    """

    control_period_ns: int = 50_000_000
    max_state_age_ns: int = 200_000_000
    watchdog_ns: int = 1_000_000_000
    max_clock_step_ns: int = 500_000_000
    dry_run: bool = True

    def __post_init__(self) -> None:
        for name in ("max_state_age_ns", "watchdog_ns", "max_clock_step_ns"):
            if not 0 < self.control_period_ns < getattr(self, name):
                raise ValueError(
                    f"control_period_ns {self.control_period_ns} must be positive and below "
                    f"{name} {getattr(self, name)}"
                )


@dataclass(frozen=True, eq=False)
class Decision:
    """What one tick decided.

    Attributes:
        trajectory: What the robot would be told, or None where the command in force stays. One
            without points says: hold (an empty trajectory to ros2_control's controller).
        publish: Whether to tell it: false in a dry run and without a trajectory.
        stopped: Why the run ended at this tick, or None.
        rejection: Why the plan was refused at this tick although the run goes on, or None.
        wants_chunk: Whether the policy should predict now.
    """

    trajectory: CommandedTrajectory | None
    publish: bool
    stopped: Rejection | None
    rejection: Rejection | None
    wants_chunk: bool


class Supervisor:
    """Combines joint state, chunks, emergency stop, watchdog and guards into commands.

    Not thread-safe: call it from one thread, or under one lock that inference never holds.

    Args:
        limits: What the joints may do.
        guard: The motion guard, made with the same limits.
        buffer: Merges chunks.
        emergency_stop: The latch.
        settings: Constants.
        log: Counts every refusal.
    """

    def __init__(
        self,
        limits: JointLimits,
        *,
        guard: MotionGuard,
        buffer: ChunkBuffer,
        emergency_stop: EmergencyStop,
        settings: SupervisorSettings,
        log: RejectionLog,
    ) -> None:
        self._limits = limits
        self._guard = guard
        self._buffer = buffer
        self._emergency_stop = emergency_stop
        self._settings = settings
        self._log = log
        self._state = SupervisorState.STOPPED
        self._measured: NDArray[np.float64] | None = None
        self._measured_stamp_ns = 0
        self._measured_received_ns = 0
        self._last_tick_ns: int | None = None
        self._last_chunk_ns = 0
        self._offered_ns = 0

    @property
    def state(self) -> SupervisorState:
        """Whether the policy may move the robot."""
        return self._state

    @property
    def measured_stamp_ns(self) -> int:
        """Stamp of the newest joint state; 0 before the first."""
        return self._measured_stamp_ns

    def set_dry_run(self, dry_run: bool) -> None:
        """Changes whether commands are published.

        Raises:
            RuntimeError: A run is going on: what it was told so far would be forgotten or repeated.
        """
        if self._state is SupervisorState.RUNNING:
            raise RuntimeError("dry_run cannot change while a run is going on; end the run first")
        self._settings = replace(self._settings, dry_run=dry_run)

    def report_joint_state(
        self,
        names: Sequence[str],
        positions: NDArray[np.float64],
        *,
        stamp_ns: int,
        received_ns: int,
    ) -> Rejection | None:
        """Takes a joint state; its joints may come in any order, with others among them.

        Returns:
            None, or why it was not taken: a joint is missing, doubled or not finite.
        """
        try:
            order = self._limits.order_of(names)
        except LimitsError as error:
            return self._log.record(Rejection(Reason.STATE_INVALID, str(error)))
        if len(positions) != len(names) or not np.isfinite(positions[order]).all():
            return self._log.record(
                Rejection(
                    Reason.STATE_INVALID,
                    f"{len(names)} joint names come with positions {list(positions)}; every "
                    "commanded joint needs a finite one",
                )
            )
        self._measured = np.array(positions, dtype=np.float64)[order]
        self._measured_stamp_ns, self._measured_received_ns = stamp_ns, received_ns
        return None

    def start(self, now_ns: int) -> Rejection | None:
        """Allows motion: a new run begins where the last command rests or the robot stands.

        Returns:
            None, or why it must not begin (emergency stop, no fresh joint state).
        """
        rejection = self._emergency_stop.check(now_ns) or self._check_state(now_ns)
        if rejection is not None or self._measured is None:
            return rejection and self._log.record(rejection)
        self._buffer.reset()
        self._guard.begin(self._measured, now_ns)
        self._state = SupervisorState.RUNNING
        self._last_tick_ns = now_ns
        self._last_chunk_ns = self._offered_ns = now_ns
        return None

    def offer_chunk(self, chunk: ActionChunk, now_ns: int) -> Rejection | None:
        """Takes a chunk for the coming ticks.

        Returns:
            None, or why it was refused; the command in force then stays and ends at rest.
        """
        rejection = self._check_state(now_ns)
        if rejection is None and self._measured is not None:
            rejection = self._guard.check_chunk(chunk, self._measured, now_ns) or (
                self._buffer.add(chunk, now_ns)
            )
        if rejection is not None:
            return self._log.record(rejection)
        self._offered_ns = now_ns
        return None

    def new_instruction(self, now_ns: int) -> None:
        """Forgets what was planned for the old one; the command in force ends at rest."""
        self._buffer.reset()
        self._last_chunk_ns = self._offered_ns = now_ns

    def tick(self, now_ns: int, *, follow_plan: bool = True) -> Decision:
        """Decides what the robot is told now. Call it every control period.

        Args:
            now_ns: The present time.
            follow_plan: False only looks for reasons to stop and lets the command in force stay.

        Returns:
            The decision; after a stop every further tick decides nothing until :meth:`start`.
        """
        if self._state is SupervisorState.STOPPED or self._measured is None:
            return Decision(None, False, None, None, wants_chunk=False)
        cause = (
            self._check_clock(now_ns)
            or self._emergency_stop.check(now_ns)
            or self._check_state(now_ns)
            or self._check_watchdog(now_ns)
        )
        self._last_tick_ns = now_ns
        if cause is not None:
            return self._stop(cause, now_ns)
        wants_chunk = self._buffer.needs_chunk(now_ns)
        plan = self._buffer.plan(now_ns) if follow_plan else None
        if plan is None:
            return Decision(None, False, None, None, wants_chunk)
        if self._settings.dry_run:
            self._guard.reset()  # the robot does not follow, so every plan begins where it stands
        command = self._guard.command(plan, self._measured)
        if isinstance(command, Rejection):
            return Decision(None, False, None, self._log.record(command), wants_chunk)
        # A chunk counts when the robot can follow it, not when it is offered.
        self._last_chunk_ns = self._offered_ns
        return Decision(command, not self._settings.dry_run, None, None, wants_chunk)

    def stop(self, now_ns: int) -> Decision:
        """Brakes and ends the run on request (cancel, deactivation, time limit).

        Returns:
            The decision with the braking trajectory; without one where nothing was running.
        """
        if self._state is SupervisorState.STOPPED or self._measured is None:
            return Decision(None, False, None, None, wants_chunk=False)
        return self._brake(now_ns, None)

    def _stop(self, cause: Rejection, now_ns: int) -> Decision:
        self._log.record(cause)
        if cause.reason is Reason.CLOCK_JUMP:
            self._guard.reset()  # the times of the command in force mean nothing any more
        return self._brake(now_ns, cause)

    def _brake(self, now_ns: int, cause: Rejection | None) -> Decision:
        assert self._measured is not None  # noqa: S101  (both callers have checked it)
        self._state = SupervisorState.STOPPED
        self._buffer.reset()
        trajectory = self._guard.stop(self._measured, now_ns, self._settings.control_period_ns)
        return Decision(trajectory, not self._settings.dry_run, cause, None, wants_chunk=False)

    def _check_clock(self, now_ns: int) -> Rejection | None:
        step_ns = now_ns - (self._last_tick_ns if self._last_tick_ns is not None else now_ns)
        if 0 <= step_ns <= self._settings.max_clock_step_ns:
            return None
        return Rejection(
            Reason.CLOCK_JUMP,
            f"the clock moved by {step_ns / 1e9:.3f} s between two ticks (allowed: 0 to "
            f"{self._settings.max_clock_step_ns / 1e9:.3f} s)",
        )

    def _check_state(self, now_ns: int) -> Rejection | None:
        if self._measured is None:
            return Rejection(
                Reason.OBSERVATION_MISSING, "no joint state was received; check its topic"
            )
        age_ns = now_ns - min(self._measured_stamp_ns, self._measured_received_ns)
        if age_ns <= self._settings.max_state_age_ns:
            return None
        return Rejection(
            Reason.OBSERVATION_STALE,
            f"the joint state is {age_ns / 1e9:.3f} s old (limit "
            f"{self._settings.max_state_age_ns / 1e9:.3f} s)",
        )

    def _check_watchdog(self, now_ns: int) -> Rejection | None:
        silent_ns = now_ns - self._last_chunk_ns
        if silent_ns <= self._settings.watchdog_ns:
            return None
        return Rejection(
            Reason.WATCHDOG,
            f"no chunk was accepted for {silent_ns / 1e9:.3f} s (limit "
            f"{self._settings.watchdog_ns / 1e9:.3f} s); last refusals: "
            f"{self._last_refusals() or 'none'}",
        )

    def _last_refusals(self) -> str:
        return "; ".join(f"{r.value}: {d}" for r, d in self._log.last_details.items())
