"""The rate at which samples really come, measured from their stamps."""

from __future__ import annotations

import math
from enum import Enum, auto

import numpy as np
import numpy.typing as npt

_NS_PER_S = 1_000_000_000
_FEWEST, _FIRST, _MOST = 20, 64, 1024
_BLOCK_S = 0.5
# Bursts of a driver that stamps on arrival: what a busy machine holds back.
_BURST_S = 0.1
_BURST_SPAN_S = 2.0
# A measurement refuses only what lies outside its own uncertainty.
_SIGMAS = 4.0

Stamps = npt.NDArray[np.int64]


class RateVerdict(Enum):
    """What a measurement says."""

    UNKNOWN = auto()
    RIGHT = auto()
    WRONG = auto()


class RateMeter:
    """Measures the rate over blocks of samples and compares it with the expected one.

    Sampled stamps: the mean distance of neighbours, without those that lie far from the median
    (gaps, duplicates); so lost samples do not look like a slow sensor. Arrival stamps: samples per
    time of the whole block.

    Args:
        expected_hz: the network's rate [Hz].
        tolerance: largest relative deviation.
        arrival: True when stamps are arrival times, which come in bursts.
    """

    def __init__(self, expected_hz: float, tolerance: float, arrival: bool) -> None:
        self._expected_hz = expected_hz
        self._tolerance = tolerance
        self._arrival = arrival
        span_s, most = (_BURST_SPAN_S, 10**6) if arrival else (_BLOCK_S, _MOST)
        self._block = min(max(_FEWEST, math.ceil(span_s * expected_hz)), most)
        # The first verdict should fall before the first estimate.
        self._wanted = self._block if arrival else min(self._block, _FIRST)
        self._stamps: list[int] = []
        self.rate_hz: float | None = None
        self.text = ""

    def restart(self) -> None:
        """Forgets the block under way."""
        self._stamps.clear()

    def add(self, stamp_ns: int) -> RateVerdict:
        """Takes the next stamp; a verdict falls once per block."""
        self._stamps.append(stamp_ns)
        if len(self._stamps) < self._wanted:
            return RateVerdict.UNKNOWN
        self._wanted = self._block
        stamps = self._stamps
        self._stamps = stamps[-1:]
        return self._judge(stamps)

    def close(self) -> RateVerdict:
        """Judges what came before the newest stamp, which lies beyond a gap; begins anew."""
        *stamps, newest = self._stamps
        self._stamps = [newest]
        return self._judge(stamps) if len(stamps) >= _FEWEST else RateVerdict.UNKNOWN

    def _judge(self, measured: list[int]) -> RateVerdict:
        stamps = np.array(measured, np.int64)
        period_ns, uncertainty_ns = (_by_span if self._arrival else _by_neighbours)(stamps)
        if not period_ns > 0:
            return RateVerdict.UNKNOWN
        self.rate_hz = _NS_PER_S / period_ns
        expected_ns = _NS_PER_S / self._expected_hz
        allowed_ns = self._tolerance * expected_ns + _SIGMAS * uncertainty_ns
        if abs(period_ns - expected_ns) <= allowed_ns:
            return RateVerdict.RIGHT
        self.text = (
            f"samples come at {self.rate_hz:.4g} Hz, the network was trained at "
            f"{self._expected_hz:.4g} Hz (tolerance {100 * self._tolerance:.3g} %): set the "
            "sensor's rate, resample, or use a network for this rate"
        )
        return RateVerdict.WRONG


def _by_neighbours(stamps: Stamps) -> tuple[float, float]:
    distances = np.diff(stamps).astype(np.float64)
    distances = distances[distances > 0]
    if distances.size < _FEWEST // 2:
        return math.nan, math.nan
    middle = float(np.median(distances))
    kept = distances[np.abs(distances - middle) <= 0.75 * middle]
    return float(kept.mean()), float(kept.std() / math.sqrt(kept.size))


def _by_span(stamps: Stamps) -> tuple[float, float]:
    count = len(stamps) - 1
    span = float(stamps[-1] - stamps[0])
    return span / count, _BURST_S * _NS_PER_S / count / _SIGMAS
