"""Stamps that go backwards: refused one by one, or taken as a restart of the clock."""

from __future__ import annotations

from enum import Enum, auto


class StampVerdict(Enum):
    """What to do with a message."""

    ACCEPT = auto()
    REJECT = auto()
    RESTART = auto()


class StampGuard:
    """Watches the stamps of one input.

    A stamp that is not newer than the one before is refused. One that lies more than
    `restart_after_ns` in the past means that the clock itself went back (a bag looped, a simulation
    was reset): it is accepted and the receiver must forget what it knows of later times.
    """

    def __init__(self, restart_after_ns: int = 1_000_000_000) -> None:
        self._restart_after_ns = restart_after_ns
        self._newest_ns: int | None = None

    def check(self, stamp_ns: int) -> StampVerdict:
        """Judge the next stamp [ns]."""
        newest = self._newest_ns
        if newest is not None and stamp_ns <= newest:
            if stamp_ns > newest - self._restart_after_ns:
                return StampVerdict.REJECT
            self._newest_ns = stamp_ns
            return StampVerdict.RESTART
        self._newest_ns = stamp_ns
        return StampVerdict.ACCEPT
