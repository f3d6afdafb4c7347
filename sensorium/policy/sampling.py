"""Rows of a training set at the contract's rate, and an account of those that are missing."""

from __future__ import annotations

from collections import Counter

__all__ = ["NO_NEW_OBSERVATION", "RowSampler"]

NO_NEW_OBSERVATION = "no_new_observation"
"""Reason for a row that is missing though nothing was refused: the inputs came too slowly."""


class RowSampler:
    """Chooses observations one period apart.

    A row may come a third of a period early. The beat follows the rows slowly and starts anew where
    one is half a period late; where a whole row is missing, a new segment begins, as rows of a
    chunk are one period apart.

    Args:
        period_ns: From row to row.

    Attributes:
        segment: Number of the present segment.
        lost: Rows that are missing, by reason.
    """

    def __init__(self, period_ns: int) -> None:
        self._period_ns = period_ns
        self.segment = 0
        self.lost: Counter[str] = Counter()
        self._due_ns: int | None = None
        self._last_moment_ns: int | None = None
        self._reasons: dict[int, str] = {}

    def begin(self) -> None:
        """Begins an episode: rows are expected from the first moment that is told of."""
        self.segment += 1
        self._due_ns = self._last_moment_ns = None
        self._reasons.clear()

    def end(self, now_ns: int) -> None:
        """Ends the episode; counts the rows missing at its end."""
        self._count_lost(now_ns)
        self._last_moment_ns = None

    def refuse(self, reason: str, now_ns: int) -> None:
        """Notes why there is no observation now."""
        if self._last_moment_ns is None:
            self._last_moment_ns = now_ns - self._period_ns
        if now_ns >= self._last_moment_ns:
            moment = (now_ns - self._last_moment_ns + self._period_ns // 2) // self._period_ns
            self._reasons[moment] = reason

    def offer(self, stamp_ns: int, now_ns: int) -> bool:
        """Whether the observation of this stamp, seen now, is a row."""
        period_ns, due_ns = self._period_ns, self._due_ns
        if due_ns is None:
            late_ns = 0
        elif stamp_ns < due_ns - period_ns // 3:
            return False
        else:
            late_ns = stamp_ns - due_ns
            if late_ns > period_ns * 3 // 4:
                self.segment += 1
        off_beat = due_ns is None or abs(late_ns) > period_ns // 2
        self._due_ns = period_ns + stamp_ns - (0 if off_beat else late_ns * 3 // 4)
        self._count_lost(now_ns)
        self._last_moment_ns = now_ns
        return True

    def _count_lost(self, now_ns: int) -> None:
        if self._last_moment_ns is None:
            return
        period_ns = self._period_ns
        rows = (now_ns - self._last_moment_ns + period_ns // 2) // period_ns - 1
        counted, reason = 0, NO_NEW_OBSERVATION
        for moment in sorted(self._reasons):
            if moment > rows:
                break
            if moment - 1 > counted:
                self.lost[reason] += moment - 1 - counted
                counted = moment - 1
            reason = self._reasons[moment]
        if rows > counted:
            self.lost[reason] += rows - counted
        self._reasons.clear()
