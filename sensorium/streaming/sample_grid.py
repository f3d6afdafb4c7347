"""Samples placed by their stamps on a network's regular grid; gaps, jumps and wrong rates seen.

A streaming network counts samples, a sensor stamps them. The grid turns stamps into indices: the
expected time of the next sample follows the sensor's clock by a small second-order filter, so that
jitter below half a period and a clock that is a little fast or slow neither drop nor invent one.
Short gaps are filled linearly and flagged; whatever breaks the signal starts a new segment, because
a network that runs over a splice answers wrongly and says nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from sensorium.streaming.sampling_rate import RateMeter, RateVerdict

NS_PER_S = 1_000_000_000

# Gains of the clock filter: settles in some 40 samples, critically damped.
_PHASE_GAIN = 0.05
_PERIOD_GAIN = _PHASE_GAIN**2 / 4

# A sample up to this far from the next position belongs there [periods]. More than half a period,
# because a jittered neighbour pulls the filter; a lost sample shows as a whole period.
_REACH = 0.75
# Late by no more than this is a reordered sample, not a clock that went back [periods].
_REORDERED = 5

Placement = Literal["stamp", "count"]
Samples = npt.NDArray[np.float32]
Stamps = npt.NDArray[np.int64]


@dataclass(frozen=True)
class GridRules:
    """What the grid tolerates.

    Attributes:
        rate_hz: the network's sampling rate [Hz].
        channels: values per sample.
        max_fill: most missing samples in a row that are filled; a longer gap restarts.
        rate_tolerance: largest relative deviation of the measured rate.
        placement: "stamp" places by time. "count" takes every sample as the next one, for sources
            whose stamps are arrival times; only a deviation above ``count_slack_s`` restarts.
        count_slack_s: how far arrival may be from the count before the signal restarts [s].

    Raises:
        ValueError: a number is out of range.
    """

    rate_hz: float
    channels: int
    max_fill: int
    rate_tolerance: float = 0.03
    placement: Placement = "stamp"
    count_slack_s: float = 0.5

    def __post_init__(self) -> None:
        if not self.rate_hz > 0 or self.channels < 1 or self.max_fill < 0:
            raise ValueError(
                f"rate_hz {self.rate_hz}, channels {self.channels}, max_fill {self.max_fill}: "
                "rate and channels must be positive, max_fill not negative"
            )
        if not 0 < self.rate_tolerance < 0.5 or not self.count_slack_s > 0:
            raise ValueError(
                f"rate_tolerance {self.rate_tolerance} must lie in (0, 0.5) and count_slack_s "
                f"{self.count_slack_s} be positive"
            )


@dataclass
class GridCounts:
    """What became of every sample. received = used + sum(rejected).

    Attributes:
        received: samples given to the grid.
        used: samples placed on the grid.
        filled: grid positions without a sample, filled linearly.
        rejected: samples not placed, by reason: "duplicate" (the stamp of one before),
            "out_of_order" (older than one before), "crowded" (newer, but nearest to a position
            that is taken: jitter above half a period), "not_finite", "rate".
        restarts: new segments after the first, by reason: "gap", "jump_back", "rate", or what
            the caller names.
    """

    received: int = 0
    used: int = 0
    filled: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    restarts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Run:
    """Consecutive grid positions.

    Attributes:
        starts_segment: True when nothing before belongs to the same signal.
        stamps_ns: (n,) int64; filled positions get interpolated stamps.
        samples: (n, channels) float32.
        filled: (n,) bool.
    """

    starts_segment: bool
    stamps_ns: Stamps
    samples: Samples
    filled: npt.NDArray[np.bool_]


class SampleGrid:
    """Places samples. What comes out depends on the samples only, not on how they were batched.

    Args:
        rules: rate, channels and tolerances.
    """

    def __init__(self, rules: GridRules) -> None:
        self.rules = rules
        self.counts = GridCounts()
        self._period_ns = NS_PER_S / rules.rate_hz
        self._meter = RateMeter(rules.rate_hz, rules.rate_tolerance, rules.placement == "count")
        self._slack_ns = rules.count_slack_s * NS_PER_S
        self._refusing = False
        self._reordered_ns = max(rules.max_fill + 1, _REORDERED) * self._period_ns
        self._forget()

    @property
    def refusal(self) -> str:
        """Why the rate is refused, or "" while it is right or not yet known."""
        return self._meter.text if self._refusing else ""

    @property
    def measured_rate_hz(self) -> float | None:
        """The rate last measured [Hz], None before the first measurement."""
        return self._meter.rate_hz

    def restart(self, reason: str) -> None:
        """Ends the segment; the next sample begins a new one. The rate is measured anew."""
        self._break(reason)
        self._meter.restart()

    def add(self, stamps_ns: Sequence[int] | Stamps, samples: Samples) -> list[Run]:
        """Places samples.

        Args:
            stamps_ns: (n,) integer nanoseconds.
            samples: (n, channels) float32.

        Returns:
            Runs of new grid positions, oldest first; a run that starts a segment says so.

        Raises:
            ValueError: the shapes do not fit each other or the rules.
        """
        count = len(stamps_ns)
        if samples.shape != (count, self.rules.channels):
            raise ValueError(
                f"samples have shape {samples.shape}, expected ({count} stamps, "
                f"{self.rules.channels} channels)"
            )
        self.counts.received += count
        finite: list[bool] = np.all(np.isfinite(samples), axis=1).tolist()
        builder = _Builder()
        by_count = self.rules.placement == "count"
        for index, stamp in enumerate(map(int, stamps_ns)):
            if not self._accepts_rate(stamp):
                self.counts.rejected["rate"] += 1
                continue
            if by_count:
                self._place_counted(stamp, samples[index], finite[index], builder)
            elif finite[index]:
                self._place_stamped(stamp, samples[index], builder)
            else:
                self.counts.rejected["not_finite"] += 1
        return builder.runs()

    def _forget(self) -> None:
        self._last: tuple[int, Samples] | None = None
        self._expected_ns = 0.0
        self._step_ns = self._period_ns
        self._placed = 0
        self._missing = 0
        self._late = 0
        self._recent: list[int] = []

    def _accepts_rate(self, stamp: int) -> bool:
        verdict = self._meter.add(stamp)
        if verdict is RateVerdict.WRONG:
            self._refuse()
        elif verdict is RateVerdict.RIGHT:
            self._refusing = False
        return not self._refusing

    def _refuse(self) -> None:
        if not self._refusing:
            self._break("rate")
        self._refusing = True

    def _break(self, reason: str) -> None:
        if self._last is not None:
            self.counts.restarts[reason] += 1
        self._forget()

    def _place_stamped(self, stamp: int, sample: Samples, builder: _Builder) -> None:
        if self._last is None:
            self._begin(stamp, sample, builder)
            return
        lead = stamp - self._expected_ns
        distance = lead / self._step_ns
        steps = 1 if abs(distance) < _REACH else 1 + math.floor(distance + 0.5)
        last_stamp = self._last[0]
        if steps > self.rules.max_fill + 1:
            self._break("gap")
            self._begin(stamp, sample, builder)
        elif stamp > last_stamp:
            if steps < 1:
                self.counts.rejected["crowded"] += 1
                return
            self._fill(steps - 1, stamp, sample, builder)
            self._follow(lead, steps)
            self._put(stamp, sample, builder)
        elif stamp in self._recent:
            self.counts.rejected["duplicate"] += 1
        elif last_stamp - stamp > self._reordered_ns or self._late > self.rules.max_fill:
            self._break("jump_back")
            self._begin(stamp, sample, builder)
        else:
            self._late += 1
            self.counts.rejected["out_of_order"] += 1

    def _place_counted(self, stamp: int, sample: Samples, finite: bool, builder: _Builder) -> None:
        if self._last is not None and abs(stamp - self._expected_ns) > self._slack_ns:
            reason = "gap" if stamp > self._expected_ns else "jump_back"
            if self._meter.close() is RateVerdict.WRONG:
                self._refuse()
                self.counts.rejected["rate"] += 1
                return
            self._break(reason)
        if not finite:
            self.counts.rejected["not_finite"] += 1
            if self._last is not None:
                self._missing += 1
                self._expected_ns += self._step_ns
            return
        if self._last is None or self._missing > self.rules.max_fill:
            self._break("gap")
            self._begin(stamp, sample, builder)
            return
        lead = stamp - self._expected_ns
        # Stamps of a burst are the same or even disordered: report the smoothed time, and
        # leave room for those of what is filled before it.
        earliest = self._last[0] + 1 + self._missing
        smooth = max(round(self._expected_ns + _PHASE_GAIN * lead), earliest)
        self._fill(self._missing, smooth, sample, builder)
        self._missing = 0
        self._follow(lead, 1)
        self._put(smooth, sample, builder)

    def _begin(self, stamp: int, sample: Samples, builder: _Builder) -> None:
        self._expected_ns = stamp + self._period_ns
        builder.begin()
        self._put(stamp, sample, builder)

    def _put(self, stamp: int, sample: Samples, builder: _Builder) -> None:
        self.counts.used += 1
        self._placed += 1
        self._late = 0
        self._last = (stamp, sample)
        self._recent.append(stamp)
        if len(self._recent) > self.rules.max_fill + _REORDERED:
            del self._recent[0]
        builder.put(stamp, sample, filled=False)

    def _fill(self, missing: int, stamp: int, sample: Samples, builder: _Builder) -> None:
        if not missing:
            return
        assert self._last is not None  # noqa: S101 - a gap lies between two samples
        before_ns, before = self._last
        for number in range(1, missing + 1):
            share = number / (missing + 1)
            between = before + np.float32(share) * (sample - before)
            builder.put(before_ns + round(share * (stamp - before_ns)), between, filled=True)
        self.counts.filled += missing

    def _follow(self, lead: float, steps: int) -> None:
        """Moves the expected time on, following the sensor's clock."""
        residual = lead - (steps - 1) * self._step_ns
        # The first samples weigh more (growing memory), so that one jittered stamp sets nothing.
        gain = max(_PHASE_GAIN, 1.0 / (self._placed + 1))
        slack = self.rules.rate_tolerance * self._period_ns
        self._expected_ns += steps * self._step_ns + gain * residual
        step = self._step_ns + _PERIOD_GAIN * residual / steps
        self._step_ns = min(max(step, self._period_ns - slack), self._period_ns + slack)


class _Builder:
    """Collects positions into runs."""

    def __init__(self) -> None:
        self._parts: list[tuple[bool, list[int], list[Samples], list[bool]]] = []

    def begin(self) -> None:
        self._parts.append((True, [], [], []))

    def put(self, stamp: int, sample: Samples, *, filled: bool) -> None:
        if not self._parts:
            self._parts.append((False, [], [], []))
        _, stamps, samples, flags = self._parts[-1]
        stamps.append(stamp)
        samples.append(sample)
        flags.append(filled)

    def runs(self) -> list[Run]:
        return [
            Run(begins, np.array(stamps, np.int64), np.stack(samples), np.array(flags, np.bool_))
            for begins, stamps, samples, flags in self._parts
        ]
