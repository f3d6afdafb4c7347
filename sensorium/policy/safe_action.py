"""What to command when the policy must not move the robot: it depends on what commands mean."""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import NDArray

__all__ = ["ControlMode", "safe_action"]


class ControlMode(str, Enum):
    """What the numbers of a command mean to the controller."""

    POSITION = "position"
    """Joint positions. Zeros would slam the robot to its zero pose."""
    VELOCITY = "velocity"
    """Joint velocities or a twist. Repeating the last one would keep it moving."""


def safe_action(mode: ControlMode, held_positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """The command that keeps a robot at rest.

    A moving position-controlled robot is first braked (``MotionGuard.stop``); this is the command
    after that.

    Args:
        mode: What commands mean.
        held_positions: (J,) positions last commanded, or measured where nothing was commanded.

    Returns:
        (J,) the same positions for ``POSITION``, zeros for ``VELOCITY``.

    Raises:
        ValueError: A position to be held is not finite; publish nothing then, so that the
            controller's own timeout acts.
    """
    if mode is ControlMode.VELOCITY:
        return np.zeros_like(held_positions)
    if not np.isfinite(held_positions).all():
        raise ValueError(f"positions to be held are {held_positions.tolist()}; they must be finite")
    return held_positions.copy()
