"""The robot's joint controller: follows trajectories, never faster than its velocity limits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["TrajectoryController"]

Float64 = NDArray[np.float64]


class TrajectoryController:
    """Straight lines between the points of the newest trajectory, limited in speed and smoothed.

    As ros2_controllers' joint_trajectory_controller does: a new trajectory replaces the old one,
    points in the past are dropped, the line to the first point left begins at the present
    reference, and after the last point (or with none) the reference rests. What is too fast for
    one joint slows all of them, so that the arm stays on its path; the mean over a few ticks
    rounds the corners, which would otherwise be jolts.

    Args:
        velocity_limits: (J,) largest speeds [rad/s or m/s].
        positions: (J,) where the reference begins [rad or m].
        smoothed_ticks: Over how many ticks the reference is averaged; 1 does not smooth.
    """

    def __init__(
        self, velocity_limits: Float64, positions: Float64, *, smoothed_ticks: int = 1
    ) -> None:
        self._limits = np.array(velocity_limits, dtype=np.float64)
        self._smoothed_ticks = smoothed_ticks
        self.reset(positions)

    @property
    def reference(self) -> Float64:
        """(J,) reference positions."""
        mean: Float64 = self._recent.mean(axis=0)
        return mean

    @property
    def velocity(self) -> Float64:
        """(J,) velocity of the reference over the last tick."""
        return self._velocity.copy()

    def reset(self, positions: Float64) -> None:
        """Rests at (J,) positions."""
        start = np.array(positions, dtype=np.float64)
        self._recent = np.tile(start, (self._smoothed_ticks, 1))
        self._velocity = np.zeros_like(start)
        self._times_ns = np.empty(0, dtype=np.int64)
        self._positions = np.empty((0, start.size))

    def follow(self, now_ns: int, times_ns: NDArray[np.int64], positions: Float64) -> int:
        """Replaces the trajectory.

        Args:
            now_ns: The present time.
            times_ns: (N,) int64 rising times; N = 0 stops.
            positions: (N, J) float64 positions to be reached then.

        Returns:
            How many points lay in the past and were dropped.
        """
        ahead = times_ns > now_ns
        self._times_ns = np.concatenate(([now_ns], times_ns[ahead])).astype(np.int64)
        self._positions = np.concatenate((self._recent[-1:], positions[ahead]))
        return int((~ahead).sum())

    def tick(self, time_ns: int, duration_ns: int) -> None:
        """Moves the reference towards where the trajectory is at ``time_ns``, the tick's end."""
        before = self.reference
        newest = self._recent[-1]
        if self._times_ns.size > 1:
            way = self._sample(time_ns) - newest
            share = np.abs(way) / (self._limits * (duration_ns / 1e9))
            newest = newest + way / max(1.0, float(share.max()))
        self._recent = np.concatenate((self._recent[1:], newest[None]))
        self._velocity = (self.reference - before) / (duration_ns / 1e9)

    def _sample(self, time_ns: int) -> Float64:
        after = int(np.searchsorted(self._times_ns, time_ns, side="left"))
        if after >= self._times_ns.size:
            last: Float64 = self._positions[-1]
            return last
        before = max(after - 1, 0)
        span = int(self._times_ns[after] - self._times_ns[before])
        share = (time_ns - int(self._times_ns[before])) / span if span else 1.0
        between: Float64 = self._positions[before] * (1 - share) + self._positions[after] * share
        return between
