"""Gripper commands: sent when they change, not with every row."""

from __future__ import annotations

import math

from sensorium.policy.rejections import Reason, Rejection

__all__ = ["GripperCommander"]


class GripperCommander:
    """Turns a policy's gripper channel into few commands.

    Args:
        lower: Lowest position [m or rad].
        upper: Highest position [m or rad].
        deadband: Smallest change from the last command that is sent [m or rad].

    Raises:
        ValueError: The limits are not finite and ordered, or the deadband is not positive.
    """

    def __init__(self, lower: float, upper: float, deadband: float) -> None:
        if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
            raise ValueError(f"gripper limits {lower} and {upper} must be finite and rising")
        if not deadband > 0:
            raise ValueError(f"gripper deadband is {deadband}; it must be positive")
        self._lower = lower
        self._upper = upper
        self._deadband = deadband
        self._commanded: float | None = None

    def reset(self) -> None:
        """Forgets the last command, so that the next one is sent in any case."""
        self._commanded = None

    def command(self, wanted: float) -> float | Rejection | None:
        """The command to send now.

        Args:
            wanted: The policy's gripper position.

        Returns:
            A position within the limits, None when it has not changed enough, or why it is
            refused (not finite). An end of the range is always sent when reached.
        """
        if not math.isfinite(wanted):
            return Rejection(Reason.CHUNK_NOT_FINITE, f"the gripper position is {wanted}")
        position = min(max(wanted, self._lower), self._upper)
        if position == self._commanded:
            return None
        at_end = position in (self._lower, self._upper)
        near = self._commanded is not None and abs(position - self._commanded) < self._deadband
        if near and not at_end:
            return None
        self._commanded = position
        return position
