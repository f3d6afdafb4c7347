"""A commanded joint trajectory as the controller follows it: straight lines between points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["CommandedState", "CommandedTrajectory", "resting_at"]


@dataclass(frozen=True, eq=False)
class CommandedState:
    """Where a command is at one moment.

    Attributes:
        positions: (J,) float64 commanded positions [rad or m].
        velocities: (J,) float64 commanded velocities [rad/s or m/s].
        steady_ns: For how long the velocities have been what they are.
    """

    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    steady_ns: int


@dataclass(frozen=True, eq=False)
class CommandedTrajectory:
    """Positions over absolute time, starting from where the command was.

    Attributes:
        stamp_ns: Time of the observation behind it; zero point of times in a message.
        start_ns: When it takes over.
        start: The command at that moment.
        times_ns: (N,) int64, strictly rising, all after ``start_ns``; N may be 0 (hold).
        positions: (N, J) float64 [rad or m]. After the last point the command rests there.
    """

    stamp_ns: int
    start_ns: int
    start: CommandedState
    times_ns: NDArray[np.int64]
    positions: NDArray[np.float64]

    @property
    def end_ns(self) -> int:
        """When the command comes to rest."""
        return int(self.times_ns[-1]) if self.times_ns.size else self.start_ns

    @property
    def velocities(self) -> NDArray[np.float64]:
        """(N, J) velocity of the line that leads to each point."""
        return np.diff(self._knots(), axis=0) / self.durations_s[:, None]

    @property
    def durations_s(self) -> NDArray[np.float64]:
        """(N,) length of the line that leads to each point."""
        return np.diff(self._knot_times_ns()) / 1e9

    def at(self, time_ns: int) -> CommandedState:
        """The command at a moment at or after the start."""
        if time_ns <= self.start_ns:
            return self.start
        if time_ns > self.end_ns:
            last = self.positions[-1] if self.times_ns.size else self.start.positions
            return CommandedState(last, np.zeros_like(last), time_ns - self.end_ns)
        index = int(np.searchsorted(self.times_ns, time_ns, side="left"))
        begin_ns = int(self._knot_times_ns()[index])
        begin = self._knots()[index]
        velocity = self.velocities[index]
        elapsed_ns = time_ns - begin_ns
        return CommandedState(begin + velocity * (elapsed_ns / 1e9), velocity, elapsed_ns)

    def _knots(self) -> NDArray[np.float64]:
        return np.concatenate((self.start.positions[None], self.positions))

    def _knot_times_ns(self) -> NDArray[np.int64]:
        return np.concatenate((np.array([self.start_ns], dtype=np.int64), self.times_ns))


def resting_at(positions: NDArray[np.float64], time_ns: int) -> CommandedTrajectory:
    """The trajectory of a robot that has long stood still at ``positions`` (J,)."""
    start = CommandedState(positions, np.zeros_like(positions), 2**62)
    return CommandedTrajectory(
        time_ns,
        time_ns,
        start,
        np.empty(0, dtype=np.int64),
        np.empty((0, positions.size), dtype=np.float64),
    )
