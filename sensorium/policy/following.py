"""Following a wanted path within position, velocity and acceleration limits, always able to stop.

The command moves on straight lines between points. Its velocity changes only at points, and by at
most acceleration * (duration of the line before the point), so that replanning more often than the
points come never adds up to more than the acceleration limit. Every step keeps three promises that
make the next step possible: it can still brake before each position limit, it can still be at rest
at the end of the trajectory, and braking at the limit is always one of its choices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.policy.limits import JointLimits
from sensorium.policy.trajectory import CommandedState, CommandedTrajectory

__all__ = ["Followed", "brake", "follow", "speed_to_stop_within"]

_Vector = NDArray[np.float64]

_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Followed:
    """The outcome of following a path.

    Attributes:
        trajectory: The command, at rest at its end.
        deviation: (J,) largest distance from the wanted path before the final braking begins.
        could_stop: (J,) bool, False where not even full braking kept all limits; such a
            trajectory must not be used.
    """

    trajectory: CommandedTrajectory
    deviation: _Vector
    could_stop: NDArray[np.bool_]


def speed_to_stop_within(
    distance: _Vector, duration_s: float, period_s: float, acceleration: _Vector
) -> _Vector:
    """The highest speed of a line after which braking at the limit still ends within a distance.

    The line lasts ``duration_s``; then the speed falls by acceleration * duration_s, and after
    that by acceleration * period_s every ``period_s`` until rest.

    Args:
        distance: (J,) not negative; inf gives inf.
        duration_s: Length of the line, positive.
        period_s: Length of all later lines.
        acceleration: (J,) limits.

    Returns:
        (J,) speeds, not negative.
    """
    step = acceleration * period_s
    finite = np.where(np.isfinite(distance), np.maximum(distance, 0.0), 0.0)
    one_line = acceleration * duration_s**2
    # With w = v - a h left after the line, the way is a h^2 + w (h + (n + 1) p) - a p^2 n (n + 1)/2
    # where n = floor(w / (a p)) further full steps of speed remain.
    rest = np.maximum(finite - one_line, 0.0)
    half = duration_s + period_s / 2.0
    lines = np.floor((np.sqrt(half**2 + 2.0 * rest / acceleration) - half) / period_s)
    left = (rest + step * period_s * lines * (lines + 1.0) / 2.0) / (
        duration_s + (lines + 1.0) * period_s
    )
    speed = np.where(finite <= one_line, finite / duration_s, acceleration * duration_s + left)
    return np.where(np.isfinite(distance), speed, np.inf)


def follow(
    start: CommandedState,
    start_ns: int,
    wanted_now: _Vector,
    times_ns: NDArray[np.int64],
    wanted: _Vector,
    *,
    limits: JointLimits,
    period_ns: int,
    stamp_ns: int,
) -> Followed:
    """Follows a wanted path as closely as the limits allow and comes to rest at its end.

    A path within the limits is followed exactly, except for the braking at its end.

    Args:
        start: The command at ``start_ns``.
        start_ns: When the new trajectory takes over.
        wanted_now: (J,) what the path wants at ``start_ns``.
        times_ns: (N,) int64, after ``start_ns`` and rising by ``period_ns``; N > 0.
        wanted: (N, J) finite positions of the path.
        limits: What the joints may do. A start outside of the position limits is led back and
            never further out.
        period_ns: Time between points.
        stamp_ns: Observation time behind the path.

    Returns:
        The trajectory and how far it stays behind the path.
    """
    period_s = period_ns / 1e9
    durations_s = np.diff(times_ns, prepend=start_ns) / 1e9
    acceleration = limits.acceleration
    lower = np.minimum(limits.lower, start.positions)
    upper = np.maximum(limits.upper, start.positions)
    position, velocity, before = start.positions, start.velocities, wanted_now
    budget = acceleration * min(start.steady_ns / 1e9, period_s)
    left_s = (int(times_ns[-1]) - start_ns) / 1e9
    positions = np.empty_like(wanted)
    deviation = np.zeros_like(position)
    could_stop = np.ones(position.shape, dtype=np.bool_)
    ending = np.zeros(position.shape, dtype=np.bool_)
    for i, duration_s in enumerate(durations_s.tolist()):
        pace = (wanted[i] - before) / duration_s
        gap = before - position
        closing = speed_to_stop_within(np.abs(gap), duration_s, period_s, acceleration)
        desired = pace + np.copysign(closing, gap)
        up = speed_to_stop_within(upper - position, duration_s, period_s, acceleration)
        down = speed_to_stop_within(position - lower, duration_s, period_s, acceleration)
        at_rest_in_time = acceleration * left_s
        highest = np.minimum(np.minimum(limits.velocity, up), at_rest_in_time)
        lowest = -np.minimum(np.minimum(limits.velocity, down), at_rest_in_time)
        braked = np.copysign(np.maximum(np.abs(velocity) - budget, 0.0), velocity)
        slack = _ROUNDING * (1.0 + np.abs(braked))
        could_stop &= (braked <= highest + slack) & (braked >= lowest - slack)
        reachable = np.minimum(limits.velocity, np.abs(velocity) + budget)
        ending |= np.minimum(np.abs(desired), reachable) > at_rest_in_time
        chosen = np.clip(desired, velocity - budget, velocity + budget)
        # Braking is a choice that always exists; rounding must not push the bounds past it.
        chosen = np.clip(chosen, np.minimum(lowest, braked), np.maximum(highest, braked))
        position = np.clip(position + chosen * duration_s, lower, upper)
        positions[i], velocity, before = position, chosen, wanted[i]
        budget = acceleration * duration_s
        left_s -= duration_s
        deviation = np.where(ending, deviation, np.maximum(deviation, np.abs(position - wanted[i])))
    trajectory = CommandedTrajectory(stamp_ns, start_ns, start, times_ns, positions)
    return Followed(trajectory, deviation, could_stop)


def brake(
    start: CommandedState, start_ns: int, *, limits: JointLimits, period_ns: int
) -> CommandedTrajectory:
    """The shortest stop: every joint brakes at its acceleration limit.

    Args:
        start: The command at ``start_ns``.
        start_ns: When the stop begins.
        limits: What the joints may do; positions are held inside them, or at the start where
            that lies outside.
        period_ns: Time between points.

    Returns:
        A trajectory that ends at rest; without points when the command rests already.
    """
    period_s = period_ns / 1e9
    lower = np.minimum(limits.lower, start.positions)
    upper = np.maximum(limits.upper, start.positions)
    budget = limits.acceleration * min(start.steady_ns / 1e9, period_s)
    position, velocity = start.positions, start.velocities
    points = []
    while True:
        velocity = np.copysign(np.maximum(np.abs(velocity) - budget, 0.0), velocity)
        if not velocity.any():
            break
        position = np.clip(position + velocity * period_s, lower, upper)
        points.append(position)
        budget = limits.acceleration * period_s
    times_ns = start_ns + period_ns * np.arange(1, len(points) + 1, dtype=np.int64)
    positions = np.array(points, dtype=np.float64).reshape(len(points), start.positions.size)
    return CommandedTrajectory(start_ns, start_ns, start, times_ns, positions)
