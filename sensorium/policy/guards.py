"""The motion guards: from what a policy wants to what a robot may be told.

Two doors, in this order. :meth:`MotionGuard.check_chunk` refuses a chunk whole. After merging,
:meth:`MotionGuard.command` turns the plan into a trajectory that lies within position, velocity and
acceleration limits, begins where the last command is, reaches no further than
``max_unsupervised_motion_ns`` from now and ends at rest, so that a dead policy is a stopped robot
and a refused chunk needs no answer: what was commanded before ends at rest by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from sensorium.policy.chunks import ActionChunk, Plan
from sensorium.policy.following import brake, follow
from sensorium.policy.limits import JointLimits
from sensorium.policy.rejections import Reason, Rejection
from sensorium.policy.trajectory import CommandedState, CommandedTrajectory, resting_at

__all__ = ["Excess", "GuardSettings", "MotionGuard"]

_TOLERANCE = 1e-6


class Excess(str, Enum):
    """What happens to a chunk that asks for more velocity or acceleration than allowed."""

    REJECT = "reject"
    """The chunk is refused whole."""
    LIMIT = "limit"
    """The chunk is followed within the limits, and refused when that deviates too far."""


@dataclass(frozen=True)
class GuardSettings:
    """Constants of the guards.

    Attributes:
        max_unsupervised_motion_ns: No command reaches further than this beyond now.
        max_jump: Largest distance of a chunk's next row, and of the last command, from the
            measured position [rad or m].
        position_margin: Rows beyond a position limit by no more than this are moved to the limit;
            further ones refuse the chunk [rad or m].
        excess: What to do about too much velocity or acceleration.
        max_deviation: With ``Excess.LIMIT``, how far the command may stay behind the plan
            [rad or m].

    Raises:
        ValueError: A value is not positive (the margin: negative).
    """

    max_unsupervised_motion_ns: int = 500_000_000
    max_jump: float = 0.2
    position_margin: float = 0.0
    excess: Excess = Excess.LIMIT
    max_deviation: float = 0.2

    def __post_init__(self) -> None:
        for name in ("max_unsupervised_motion_ns", "max_jump", "max_deviation"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        if not self.position_margin >= 0:
            raise ValueError(f"position_margin is {self.position_margin}; it must not be negative")


class MotionGuard:
    """Keeps the last command and lets only safe ones follow it.

    Args:
        limits: What the joints may do.
        settings: Constants of the guards.
    """

    def __init__(self, limits: JointLimits, settings: GuardSettings) -> None:
        self._limits = limits
        self._settings = settings
        self._commanded: CommandedTrajectory | None = None
        self._has_moved = False

    @property
    def commanded(self) -> CommandedTrajectory | None:
        """The command in force, or None before the first one since reset."""
        return self._commanded

    def reset(self) -> None:
        """Forgets the last command: the next one begins at the measured position, at rest.

        Call it only when the robot stands still.
        """
        self._commanded = None

    def begin(self, measured: NDArray[np.float64], now_ns: int) -> None:
        """Prepares a new run.

        The last command is kept where the robot stands within ``max_jump`` of it, because the
        controller still holds it; otherwise the run begins at the measured position, at rest. The
        same is looked at once more before the first command: what is measured now may be from
        before somebody moved the robot.

        Args:
            measured: (J,) present positions [rad or m].
            now_ns: The present time.
        """
        self._has_moved = False
        self._forget_if_far(measured, now_ns)

    def _forget_if_far(self, measured: NDArray[np.float64], now_ns: int) -> None:
        if self._commanded is not None and (
            now_ns < self._commanded.start_ns
            or (
                np.abs(self._commanded.at(now_ns).positions - measured) > self._settings.max_jump
            ).any()
        ):
            self.reset()

    def check_chunk(
        self, chunk: ActionChunk, measured: NDArray[np.float64], now_ns: int
    ) -> Rejection | None:
        """Refuses a chunk whole, or returns None.

        Args:
            chunk: What the policy predicted.
            measured: (J,) present positions [rad or m].
            now_ns: The present time.

        Returns:
            Why the chunk is refused, or None: number of joints, finiteness, position limits over
            all rows, velocity and acceleration over all rows (``Excess.REJECT`` only), jump
            of the next row from the measured position.
        """
        joints = len(self._limits.names)
        if chunk.positions.shape[1] != joints:
            return Rejection(
                Reason.CHUNK_SHAPE,
                f"the chunk has {chunk.positions.shape[1]} joints, but {joints} are commanded "
                f"({', '.join(self._limits.names)}); the policy belongs to another robot",
            )
        if not np.isfinite(chunk.positions).all():
            row, joint = np.argwhere(~np.isfinite(chunk.positions))[0]
            return Rejection(
                Reason.CHUNK_NOT_FINITE,
                f"row {row} of joint '{self._limits.names[joint]}' is "
                f"{chunk.positions[row, joint]}; the whole chunk is refused",
            )
        return (
            self._check_measured(measured)
            or self._check_positions(chunk)
            or self._check_jump(chunk, measured, now_ns)
            or (self._check_rates(chunk) if self._settings.excess is Excess.REJECT else None)
        )

    def command(self, plan: Plan, measured: NDArray[np.float64]) -> CommandedTrajectory | Rejection:
        """Turns a plan into the next command, which is then in force.

        Args:
            plan: What the merged chunks want from ``plan.now_ns`` on.
            measured: (J,) present positions [rad or m].

        Returns:
            The trajectory to publish, or why there is none; then the command in force stays.
        """
        last = self._commanded
        if not self._has_moved and last is not None and last.end_ns <= plan.now_ns:
            self._forget_if_far(measured, plan.now_ns)
        start = self._start(measured, plan.now_ns)
        if isinstance(start, Rejection):
            return start
        last_ns = plan.now_ns + self._settings.max_unsupervised_motion_ns
        count = int(np.searchsorted(plan.times_ns, last_ns, side="right"))
        if count == 0:
            return Rejection(
                Reason.HORIZON,
                f"no row of the plan lies within {(last_ns - plan.now_ns) / 1e9:.3f} s from now; "
                "raise max_unsupervised_motion_s above the chunk's period",
            )
        limits = self._limits
        lower = np.minimum(limits.lower, start.positions)
        upper = np.maximum(limits.upper, start.positions)
        followed = follow(
            start,
            plan.now_ns,
            plan.present,
            plan.times_ns[:count],
            np.clip(plan.positions[:count], lower, upper),
            limits=limits,
            period_ns=plan.period_ns,
            stamp_ns=plan.stamp_ns,
        )
        if not followed.could_stop.all():
            joint = int(np.argmin(followed.could_stop))
            end_s = (followed.trajectory.end_ns - plan.now_ns) / 1e9
            return Rejection(
                Reason.CANNOT_STOP,
                f"joint '{limits.names[joint]}' moves at {start.velocities[joint]:g} and could not "
                f"stop by the end of the plan, {end_s:.3f} s from now; the earlier "
                "command, which ends at rest, stays in force",
            )
        if (followed.deviation > self._settings.max_deviation).any():
            joint = int(np.argmax(followed.deviation))
            return Rejection(
                Reason.DEVIATION,
                f"joint '{limits.names[joint]}' would stay {followed.deviation[joint]:g} behind "
                f"the plan (limit {self._settings.max_deviation:g}): the policy moves faster than "
                "the velocity and acceleration limits allow",
            )
        self._commanded = followed.trajectory
        self._has_moved = True
        return followed.trajectory

    def stop(
        self, measured: NDArray[np.float64], now_ns: int, period_ns: int
    ) -> CommandedTrajectory:
        """Brakes at the acceleration limits from the command in force; then holds.

        Without a command in force the robot is held where it is measured.

        Args:
            measured: (J,) present positions [rad or m]; used only without a command in force.
            now_ns: The present time.
            period_ns: Time between the points of the braking.

        Returns:
            The trajectory to publish; it is then in force.
        """
        if self._commanded is None:
            self._commanded = resting_at(np.array(measured, dtype=np.float64), now_ns)
        else:
            start = self._commanded.at(now_ns)
            self._commanded = brake(start, now_ns, limits=self._limits, period_ns=period_ns)
        return self._commanded

    def _start(self, measured: NDArray[np.float64], now_ns: int) -> CommandedState | Rejection:
        rejection = self._check_measured(measured)
        if rejection is not None:
            return rejection
        if self._commanded is None:
            return resting_at(np.array(measured, dtype=np.float64), now_ns).start
        if now_ns < self._commanded.start_ns:
            return Rejection(
                Reason.CLOCK_JUMP,
                f"the last command began {(self._commanded.start_ns - now_ns) / 1e9:.3f} s after "
                "the present time; the clock went back",
            )
        start = self._commanded.at(now_ns)
        return self._far_from_measured(start.positions, measured, "the last command") or start

    def _check_measured(self, measured: NDArray[np.float64]) -> Rejection | None:
        limits, margin = self._limits, self._settings.position_margin + _TOLERANCE
        if measured.shape != (len(limits.names),) or not np.isfinite(measured).all():
            return Rejection(
                Reason.STATE_INVALID,
                f"measured positions {measured.tolist()} must be {len(limits.names)} finite "
                "numbers; check the joint state",
            )
        outside = (measured < limits.lower - margin) | (measured > limits.upper + margin)
        if outside.any():
            joint = int(np.argmax(outside))
            return Rejection(
                Reason.STATE_INVALID,
                f"joint '{limits.names[joint]}' is measured at {measured[joint]:g}, outside of "
                f"[{limits.lower[joint]:g}, {limits.upper[joint]:g}]; move it back by hand or "
                "correct the limits",
            )
        return None

    def _check_positions(self, chunk: ActionChunk) -> Rejection | None:
        limits, margin = self._limits, self._settings.position_margin + _TOLERANCE
        outside = (chunk.positions < limits.lower - margin) | (
            chunk.positions > limits.upper + margin
        )
        if not outside.any():
            return None
        row, joint = np.argwhere(outside)[0]
        return Rejection(
            Reason.POSITION_LIMIT,
            f"row {row} of joint '{limits.names[joint]}' is {chunk.positions[row, joint]:g}, "
            f"outside of [{limits.lower[joint]:g}, {limits.upper[joint]:g}] by more than the "
            f"margin {self._settings.position_margin:g}",
        )

    def _check_jump(
        self, chunk: ActionChunk, measured: NDArray[np.float64], now_ns: int
    ) -> Rejection | None:
        coming = np.flatnonzero(chunk.times_ns > now_ns)
        if not coming.size:
            return Rejection(
                Reason.CHUNK_EXPIRED,
                f"the chunk's last row lies {(now_ns - chunk.end_ns) / 1e9:.3f} s back; inference "
                "is too slow",
            )
        row = int(coming[0])
        return self._far_from_measured(chunk.positions[row], measured, f"row {row}")

    def _far_from_measured(
        self, positions: NDArray[np.float64], measured: NDArray[np.float64], what: str
    ) -> Rejection | None:
        distance = np.abs(positions - measured)
        joint = int(np.argmax(distance))
        if distance[joint] <= self._settings.max_jump:
            return None
        return Rejection(
            Reason.JUMP,
            f"{what} of joint '{self._limits.names[joint]}' is {positions[joint]:g}, "
            f"{distance[joint]:g} from the measured {measured[joint]:g} (limit "
            f"{self._settings.max_jump:g})",
        )

    def _check_rates(self, chunk: ActionChunk) -> Rejection | None:
        period_s = chunk.period_ns / 1e9
        velocity = np.diff(chunk.positions, axis=0) / period_s
        change = np.diff(velocity, axis=0) / period_s
        for reason, values, limit, first_row in (
            (Reason.VELOCITY_LIMIT, velocity, self._limits.velocity, 1),
            (Reason.ACCELERATION_LIMIT, change, self._limits.acceleration, 2),
        ):
            excess = np.abs(values) > limit * (1.0 + _TOLERANCE)
            if excess.any():
                row, joint = np.argwhere(excess)[0]
                return Rejection(
                    reason,
                    f"joint '{self._limits.names[joint]}' would reach {values[row, joint]:g} at "
                    f"row {row + first_row} (limit {limit[joint]:g})",
                )
        return None
