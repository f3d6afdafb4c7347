"""Curves over the last seconds, on a time axis that stands still."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

_COLUMNS = 200
_MOST_SAMPLES = 8192


class SignalStrip:
    """The newest values of some curves, shown against "seconds ago".

    Stamps place the values relative to each other; the newest value is as old as the time since it
    came. So the strip moves on when nothing comes, and clocks of other machines do not matter.

    Args:
        names: names of the curves.
        window_s: length of the time axis [s].
        steady_s: the steady clock [s].
    """

    def __init__(
        self,
        names: Sequence[str],
        window_s: float,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.names = tuple(names)
        self._window_s = window_s
        self._steady_s = steady_s
        self._came_s = steady_s()
        self._values: deque[tuple[int, tuple[float, ...]]] = deque(maxlen=_MOST_SAMPLES)

    def add(self, stamp_ns: int, values: Sequence[float]) -> None:
        """Add one value per curve; a stamp that went back starts the strip anew.

        Raises:
            ValueError: not one value per curve.
        """
        if len(values) != len(self.names):
            raise ValueError(f"{len(values)} values for {len(self.names)} curves {self.names}")
        if self._values and stamp_ns < self._values[-1][0]:
            self._values.clear()
        self._came_s = self._steady_s()
        self._values.append((stamp_ns, tuple(float(value) for value in values)))

    def curves(self) -> tuple[NDArray[np.float64], ...]:
        """Return the time axis (-window to 0) [s] and one curve each, NaN where nothing is known.

        A value holds until the next one, at most a tenth of the window.
        """
        axis = np.linspace(-self._window_s, 0.0, _COLUMNS)
        if not self._values:
            return (axis, *(np.full(_COLUMNS, np.nan) for _ in self.names))
        newest_ns = self._values[-1][0]
        since_s = self._steady_s() - self._came_s
        recent = [
            (seconds, values)
            for stamp_ns, values in self._values
            if (seconds := (stamp_ns - newest_ns) / 1e9 - since_s) >= -1.1 * self._window_s
        ]
        if not recent:
            return (axis, *(np.full(_COLUMNS, np.nan) for _ in self.names))
        times = np.array([seconds for seconds, _ in recent])
        table = np.array([values for _, values in recent])
        held = np.searchsorted(times, axis, side="right") - 1
        known = (held >= 0) & (axis - times[held] <= self._window_s / 10)
        return (axis, *(np.where(known, column[held], np.nan) for column in table.T))
