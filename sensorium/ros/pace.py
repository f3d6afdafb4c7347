"""The pace of recordings and rendered scenes: when each frame is due, and with which stamp."""

from __future__ import annotations

import dataclasses
import threading
import time

from sensorium.frames import RgbdFrame

_LONGEST_SLEEP_S = 0.2


class Pace:
    """Lets frames out as their stamps say, from the first one on.

    Args:
        speed: 1 is real time, 2 twice as fast, 0 does not wait.
        running: waiting ends when it is cleared.

    Attributes:
        late: frames that came after they were due.
    """

    def __init__(self, speed: float, running: threading.Event) -> None:
        self._speed = speed
        self._running = running
        self._first_stamp_ns: int | None = None
        self._started_s = 0.0
        self._shift_ns = 0
        self.late = 0

    def wait(self, stamp_ns: int, now_ns: int | None) -> int:
        """Wait until a frame is due; returns what is to be added to its stamp [ns].

        Args:
            stamp_ns: stamp of the frame.
            now_ns: time that the first frame's stamp is shifted to; None shifts nothing.
        """
        if self._first_stamp_ns is None:
            self._first_stamp_ns, self._started_s = stamp_ns, time.monotonic()
            self._shift_ns = 0 if now_ns is None else now_ns - stamp_ns
        if self._speed == 0:
            return self._shift_ns
        due_s = self._started_s + (stamp_ns - self._first_stamp_ns) / 1e9 / self._speed
        wait_s = due_s - time.monotonic()
        self.late += wait_s < 0
        while wait_s > 0 and self._running.is_set():
            time.sleep(min(wait_s, _LONGEST_SLEEP_S))
            wait_s = due_s - time.monotonic()
        return self._shift_ns


def shifted(frame: RgbdFrame, shift_ns: int) -> RgbdFrame:
    """Return the frame with its stamp moved by `shift_ns`."""
    return dataclasses.replace(frame, stamp_ns=frame.stamp_ns + shift_ns) if shift_ns else frame
