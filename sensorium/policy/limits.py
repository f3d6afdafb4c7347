"""What the joints may do, and the fixed constants of the motion guards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["JointLimits", "LimitsError"]


class LimitsError(ValueError):
    """Joint limits that are incomplete or contradict themselves; the text names the joint."""


@dataclass(frozen=True, eq=False)
class JointLimits:
    """Limits of the commanded joints, in command order.

    Attributes:
        names: J unique joint names.
        lower: (J,) float64 lowest positions [rad or m]; -inf for continuous joints.
        upper: (J,) float64 highest positions [rad or m]; inf for continuous joints.
        velocity: (J,) float64 highest speeds [rad/s or m/s], positive and finite.
        acceleration: (J,) float64 highest accelerations [rad/s^2 or m/s^2], positive and finite.
            URDF has none, so the user must state them.

    Raises:
        LimitsError: A name is doubled, a length differs, or a limit is missing or contradictory.
    """

    names: tuple[str, ...]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    velocity: NDArray[np.float64]
    acceleration: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        if not self.names or len(set(self.names)) != len(self.names):
            raise LimitsError(f"joint names {list(self.names)} must be unique and at least one")
        for field in ("lower", "upper", "velocity", "acceleration"):
            object.__setattr__(self, field, self._vector(field, getattr(self, field)))
        for i, name in enumerate(self.names):
            if not self.lower[i] < self.upper[i]:
                raise LimitsError(
                    f"joint '{name}': lower limit {self.lower[i]:g} must be below upper limit "
                    f"{self.upper[i]:g}; use -inf and inf for a continuous joint"
                )
            for field in ("velocity", "acceleration"):
                value = getattr(self, field)[i]
                if not (np.isfinite(value) and value > 0):
                    raise LimitsError(
                        f"joint '{name}': {field} limit {value:g} must be positive and finite; "
                        "state it in the parameters when the URDF does not"
                    )

    def order_of(self, given: Sequence[str]) -> NDArray[np.int64]:
        """Where each commanded joint stands in a message's list of names.

        Args:
            given: The names of a joint state, in its order; more joints than ours are allowed.

        Returns:
            (J,) int64 indices into ``given``.

        Raises:
            LimitsError: One of our joints is missing, or a name is doubled.
        """
        positions = {name: i for i, name in enumerate(given)}
        if len(positions) != len(given):
            raise LimitsError(f"joint state names a joint twice: {sorted(given)}")
        missing = [name for name in self.names if name not in positions]
        if missing:
            raise LimitsError(
                f"joint state lacks {', '.join(missing)} (it has: {', '.join(given) or 'none'}); "
                "correct the joint names in the parameters or start the robot's state publisher"
            )
        return np.array([positions[name] for name in self.names], dtype=np.int64)

    def _vector(self, field: str, value: ArrayLike) -> NDArray[np.float64]:
        vector = np.array(value, dtype=np.float64)
        if vector.shape != (len(self.names),):
            raise LimitsError(
                f"{field} limits have shape {vector.shape}, but there are {len(self.names)} joints "
                f"({', '.join(self.names)}); give one number per joint"
            )
        vector.setflags(write=False)
        return vector
