"""Why something was refused: one vocabulary for guards, observations, chunks and the action result.

Every refusal of the policy's path is a :class:`Rejection`; :class:`RejectionLog` counts them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

__all__ = ["Reason", "Rejection", "RejectionLog"]


class Reason(str, Enum):
    """The rule that refused. Values are stable names for diagnostics and action results."""

    OBSERVATION_MISSING = "observation_missing"
    OBSERVATION_STALE = "observation_stale"
    OBSERVATION_SKEWED = "observation_skewed"
    OBSERVATION_FROM_FUTURE = "observation_from_future"
    OBSERVATION_NOT_FINITE = "observation_not_finite"
    CHUNK_SHAPE = "chunk_shape"
    CHUNK_NOT_FINITE = "chunk_not_finite"
    CHUNK_EXPIRED = "chunk_expired"
    CHUNK_FROM_FUTURE = "chunk_from_future"
    CHUNK_OUT_OF_ORDER = "chunk_out_of_order"
    CHUNK_OF_OTHER_RUN = "chunk_of_other_run"
    JOINT_NAMES = "joint_names"
    UNREACHABLE = "unreachable"
    POSITION_LIMIT = "position_limit"
    VELOCITY_LIMIT = "velocity_limit"
    ACCELERATION_LIMIT = "acceleration_limit"
    JUMP = "jump"
    DEVIATION = "deviation"
    CANNOT_STOP = "cannot_stop"
    HORIZON = "horizon"
    STATE_INVALID = "state_invalid"
    CLOCK_JUMP = "clock_jump"
    WATCHDOG = "watchdog"
    EMERGENCY_STOP = "emergency_stop"


@dataclass(frozen=True)
class Rejection:
    """One refusal.

    Attributes:
        reason: The rule that refused.
        detail: What broke it: the thing, its value, the rule and the remedy.
    """

    reason: Reason
    detail: str

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}"


class RejectionLog:
    """Counts refusals by reason and remembers the last of each for diagnostics."""

    def __init__(self) -> None:
        self._counts: Counter[Reason] = Counter()
        self._last: dict[Reason, str] = {}

    def record(self, rejection: Rejection) -> Rejection:
        """Counts a refusal and hands it back."""
        self._counts[rejection.reason] += 1
        self._last[rejection.reason] = rejection.detail
        return rejection

    @property
    def counts(self) -> Mapping[Reason, int]:
        """How often each rule refused since the last reset; rules that never did are absent."""
        return dict(self._counts)

    @property
    def last_details(self) -> Mapping[Reason, str]:
        """The detail of each rule's last refusal."""
        return dict(self._last)

    def reset(self) -> None:
        """Starts counting anew."""
        self._counts.clear()
        self._last.clear()
