"""What a recording says was commanded: trajectories and joint states, asked for one moment."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sensorium.policy.trajectory import CommandedState, CommandedTrajectory

__all__ = ["CommandRefused", "RecordedCommands"]

Float64 = NDArray[np.float64]


class CommandRefused(ValueError):  # noqa: N818 - an answer, not a fault
    """A recorded command that no controller would follow; the text says why."""


@dataclass(eq=False)
class _Followed:
    """Trajectories of one joint from one topic, by the time they were received."""

    received_ns: list[int] = field(default_factory=list)
    trajectories: list[CommandedTrajectory] = field(default_factory=list)

    def at(self, time_ns: int) -> float | None:
        # The command for a moment was given before it.
        index = bisect_left(self.received_ns, time_ns) - 1
        if index < 0:
            return None
        return float(self.trajectories[index].at(time_ns).positions[0])


@dataclass(eq=False)
class _Positions:
    """Positions of one joint from one topic, by stamp."""

    stamps_ns: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def at(self, time_ns: int, max_gap_ns: int) -> float | None:
        index = bisect_left(self.stamps_ns, time_ns)
        if index == len(self.stamps_ns):
            return None
        if self.stamps_ns[index] == time_ns:
            return self.values[index]
        if index == 0 or self.stamps_ns[index] - self.stamps_ns[index - 1] > max_gap_ns:
            return None
        nearby = slice(index - 1, index + 1)
        return float(np.interp(time_ns, self.stamps_ns[nearby], self.values[nearby]))


class RecordedCommands:
    """Commanded positions of some joints at any recorded moment.

    A JointTrajectory is followed as ros2_controllers' joint_trajectory_controller does: the newest
    one received replaces the one before, points in the past are dropped, straight lines lead from
    the command in force to the points, and after the last one (or with none) the command rests.
    Joint states (of a leader arm, or of an arm led by hand) are interpolated.

    Args:
        joints: The joints, in order.
        sources: Topics, the most important first: each joint is taken from the first that has it.
        max_gap_ns: Longest gap between two joint states that is interpolated.
    """

    def __init__(self, joints: Sequence[str], sources: Sequence[str], max_gap_ns: int) -> None:
        self._joints = tuple(joints)
        self._max_gap_ns = max_gap_ns
        self._followed: dict[str, dict[str, _Followed]] = {source: {} for source in sources}
        self._positions: dict[str, dict[str, _Positions]] = {source: {} for source in sources}

    def clear(self) -> None:
        """Forgets everything: a new episode begins, or the clock went back."""
        for followed in self._followed.values():
            followed.clear()
        for positions in self._positions.values():
            positions.clear()

    def add_trajectory(
        self,
        source: str,
        received_ns: int,
        stamp_ns: int,
        names: Sequence[str],
        offsets_ns: Sequence[int],
        positions: Sequence[Sequence[float]],
    ) -> None:
        """Takes a trajectory.

        Args:
            source: Topic.
            received_ns: When it came.
            stamp_ns: Zero point of the offsets; 0 for the time it came.
            names: Joints; others than those asked for are ignored.
            offsets_ns: (N,) rising times; N = 0 holds all joints of the topic.
            positions: (N, len(names)).

        Raises:
            CommandRefused: Shapes do not fit, a number is not finite, times do not rise, or all of
                it lies in the past.
        """
        followed = self._followed[source]
        if not len(offsets_ns):
            for joint in list(followed):
                self._follow(followed, joint, received_ns, np.empty(0, np.int64), np.empty(0))
            return
        if {len(row) for row in positions} != {len(names)}:
            raise CommandRefused(f"a point has not one position for each of {', '.join(names)}")
        rows = np.array(positions, dtype=np.float64)
        times_ns = np.array(offsets_ns, dtype=np.int64) + (stamp_ns or received_ns)
        if not np.isfinite(rows).all():
            raise CommandRefused("a position is not finite")
        if (np.diff(times_ns) <= 0).any():
            raise CommandRefused("time_from_start does not rise")
        if stamp_ns and times_ns[-1] <= received_ns:
            late_s = (received_ns - int(times_ns[-1])) / 1e9
            raise CommandRefused(f"all points lie in the past, the last one by {late_s:.3f} s")
        for column, joint in enumerate(names):
            if joint in self._joints:
                self._follow(followed, joint, received_ns, times_ns, rows[:, column])

    def add_positions(
        self, source: str, stamp_ns: int, names: Sequence[str], positions: Sequence[float]
    ) -> None:
        """Takes a joint state; one whose stamp is not newer is ignored.

        Raises:
            CommandRefused: Not one position per name.
        """
        if len(names) != len(positions):
            raise CommandRefused(f"{len(positions)} positions for {len(names)} joints")
        for joint, position in zip(names, positions, strict=True):
            if joint not in self._joints or not np.isfinite(position):
                continue
            known = self._positions[source].setdefault(joint, _Positions())
            if not known.stamps_ns or stamp_ns > known.stamps_ns[-1]:
                known.stamps_ns.append(stamp_ns)
                known.values.append(float(position))

    def at(self, time_ns: int) -> Float64 | None:
        """(J,) commanded positions at a moment; None where a joint had no command."""
        values = [self._joint_at(joint, time_ns) for joint in self._joints]
        return None if None in values else np.array(values, dtype=np.float64)

    def _joint_at(self, joint: str, time_ns: int) -> float | None:
        for source, followed in self._followed.items():
            if joint in followed:
                return followed[joint].at(time_ns)
            if joint in self._positions[source]:
                return self._positions[source][joint].at(time_ns, self._max_gap_ns)
        return None

    def _follow(
        self,
        followed: dict[str, _Followed],
        joint: str,
        received_ns: int,
        times_ns: NDArray[np.int64],
        positions: Float64,
    ) -> None:
        known = followed.setdefault(joint, _Followed())
        ahead = times_ns > received_ns
        if times_ns.size and not ahead.any():
            # A lone point for "now" is where the command is from now on.
            begin = positions[-1]
        elif known.trajectories:
            begin = known.trajectories[-1].at(received_ns).positions[0]
        else:
            begin = np.interp(received_ns, times_ns, positions)
        start = CommandedState(np.array((begin,)), np.zeros(1), 0)
        known.received_ns.append(received_ns)
        known.trajectories.append(
            CommandedTrajectory(
                received_ns, received_ns, start, times_ns[ahead], positions[ahead, None]
            )
        )
