"""The time of a replay: bag time as a function of steady time, with pause, rate and jumps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_NS_PER_S = 1_000_000_000


class PlaybackTimeline:
    """Maps steady time to bag time. Thread-safe.

    Bag time stands until :meth:`start`, while paused, and at the end given to :meth:`start`. It
    never runs backwards except through another :meth:`start` (a loop).

    Args:
        rate: bag seconds per second, positive.
        paused: True to stand until :meth:`resume`.
        steady_ns: the steady clock [ns].
    """

    def __init__(
        self,
        rate: float = 1.0,
        paused: bool = False,
        steady_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._steady_ns = steady_ns
        self._condition = threading.Condition()
        self._rate = rate
        self._paused = paused
        self._cancelled = False
        self._started = False
        self._bag_anchor_ns = 0
        self._steady_anchor_ns = 0
        self._end_ns = 0

    @property
    def now_ns(self) -> int:
        """Bag time [ns]."""
        with self._condition:
            return self._now()

    @property
    def paused(self) -> bool:
        """True while paused."""
        return self._paused

    def place(self, bag_ns: int) -> None:
        """Let bag time stand at `bag_ns` until :meth:`start`."""
        with self._condition:
            self._started = False
            self._bag_anchor_ns = bag_ns

    def start(self, bag_ns: int, end_ns: int) -> None:
        """Let bag time run from `bag_ns` to `end_ns`, beginning now."""
        with self._condition:
            self._started = True
            self._end_ns = end_ns
            self._anchor(bag_ns)

    def pause(self) -> None:
        """Let bag time stand."""
        with self._condition:
            self._anchor(self._now())
            self._paused = True
            self._condition.notify_all()

    def resume(self) -> None:
        """Let bag time run again."""
        with self._condition:
            self._anchor(self._now())
            self._paused = False
            self._condition.notify_all()

    def set_rate(self, rate: float) -> None:
        """Change the rate from now on."""
        with self._condition:
            self._anchor(self._now())
            self._rate = rate
            self._condition.notify_all()

    def cancel(self) -> None:
        """End every wait, now and later."""
        with self._condition:
            self._cancelled = True
            self._condition.notify_all()

    def wait_until(self, bag_ns: int) -> bool:
        """Wait until bag time reaches `bag_ns`; False when cancelled instead."""
        with self._condition:
            while not self._cancelled:
                if self._paused:
                    self._condition.wait()
                    continue
                remaining_ns = min(bag_ns, self._end_ns) - self._now()
                if remaining_ns <= 0:
                    return True
                self._condition.wait(remaining_ns / self._rate / _NS_PER_S)
            return False

    def lateness_s(self, bag_ns: int) -> float:
        """Return by how much bag time has passed `bag_ns`, in seconds of steady time."""
        with self._condition:
            if self._paused or not self._started:
                return 0.0
            elapsed_ns = self._steady_ns() - self._steady_anchor_ns
            due_ns = (bag_ns - self._bag_anchor_ns) / self._rate
            return max(0.0, (elapsed_ns - due_ns) / _NS_PER_S)

    def _now(self) -> int:
        if self._paused or not self._started:
            return self._bag_anchor_ns
        elapsed_ns = self._steady_ns() - self._steady_anchor_ns
        return min(self._bag_anchor_ns + int(elapsed_ns * self._rate), self._end_ns)

    def _anchor(self, bag_ns: int) -> None:
        self._bag_anchor_ns = bag_ns
        self._steady_anchor_ns = self._steady_ns()
