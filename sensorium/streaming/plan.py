"""Which positions of every layer one hop computes, which it takes from a ring (demand driven).

All positions are counted from the start of the newest window (``exact_window``), or from the
sample that was number 0 when the first row appeared, moved along by one hop per hop (``stream``).
Starting from what the head reads, each layer is asked for positions; those that an earlier hop
computed and that padding does not touch come from a ring, the rest is computed now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sensorium.streaming.geometry import (
    Positions,
    Timeline,
    clean_intervals,
    fill_of,
    open_lengths,
    positions_per_hop,
    reads,
)
from sensorium.streaming.operators import INDEX_ONLY, Fill, TrunkNode

Constants = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Read:
    """Positions (rows, taps) of trunk node ``node``; where ``constants`` is not NaN it is used."""

    node: int
    positions: Positions
    constants: Constants | None = None


@dataclass(frozen=True)
class Ring:
    """Positions [first, end) of a node that earlier hops computed; each hop appends ``step``."""

    node: int
    first: int
    end: int
    step: int

    @property
    def length(self) -> int:
        """Positions held between hops."""
        return self.end - self.first


@dataclass(frozen=True)
class Step:
    """One layer evaluated at ``rows`` (sorted positions), one read per input."""

    node: int
    rows: Positions
    reads: tuple[Read, ...]


@dataclass(frozen=True)
class Plan:
    """Everything one hop does. ``rings[0]`` holds the signal; its new samples are written first.

    ``settling`` counts the rows at the start of a signal that are computed in one piece, because
    some layer still reads its padding before the first sample.
    """

    nodes: Sequence[TrunkNode]
    mode: str
    timeline: Timeline
    steps: list[Step]
    rings: dict[int, Ring]
    embeddings: list[Read]
    settling: int

    @property
    def macs_per_hop(self) -> int:
        """Multiply-accumulates of the trunk per hop and stream."""
        return sum(len(s.rows) * self.nodes[s.node].macs_per_position for s in self.steps)


def make_plan(
    nodes: Sequence[TrunkNode],
    embeddings: Sequence[int],
    times: Timeline,
    *,
    mode: str,
    reuse: bool = True,
) -> Plan:
    """Plans one hop.

    Args:
        nodes: the trunk.
        embeddings: trunk nodes that the head reads.
        times: from ``timeline``.
        mode: "exact_window" or "stream".
        reuse: False keeps only the signal and recomputes everything (the fall-back).
    """
    return _Planner(nodes, times, mode, reuse).plan(embeddings)


class _Planner:
    def __init__(self, nodes: Sequence[TrunkNode], times: Timeline, mode: str, reuse: bool) -> None:
        self.nodes, self.times, self.mode, self.reuse = nodes, times, mode, reuse
        self.windowed = mode == "exact_window"
        if self.windowed:
            self.lengths = [node.length for node in nodes]
            self.intervals = clean_intervals(nodes)
        else:
            self.lengths = open_lengths(nodes, times.first_row_samples)
            self.intervals = [(-(10**9), length) for length in self.lengths]
        self.step = [positions_per_hop(node, times.hop) for node in nodes]
        self.demand: dict[int, list[Positions]] = {i: [] for i in range(len(nodes))}
        self.settling = 1

    def plan(self, embeddings: Sequence[int]) -> Plan:
        outputs = [self._embedding(i) for i in embeddings]
        steps: list[Step] = []
        rings: dict[int, Ring] = {}
        for index in range(len(self.nodes) - 1, 0, -1):
            if not self.demand[index]:
                continue
            rows, ring = self._split(index)
            if ring is not None:
                rings[index] = ring
            if rows.size:
                taps = reads(self.nodes[index], rows)
                inputs = self.nodes[index].inputs
                steps.append(Step(index, rows, tuple(self._read(index, i, taps) for i in inputs)))
        rings[0] = self._signal_ring()
        steps.reverse()
        return Plan(self.nodes, self.mode, self.times, steps, rings, outputs, self.settling)

    def _embedding(self, index: int) -> Read:
        node = self.nodes[index]
        start = int(self.times.first_window_start / node.stride) if not self.windowed else 0
        return self._read(None, index, (start + np.arange(node.length))[:, None])

    def _split(self, index: int) -> tuple[Positions, Ring | None]:
        wanted: Positions = np.unique(np.concatenate(self.demand[index]))
        start, stop = self.intervals[index]
        step = self.step[index]
        known = (wanted >= start) & (wanted < stop - step)
        if not self.reuse or not known.any():
            return wanted, None
        ring = Ring(index, int(wanted[known][0]), stop - step, step)
        return np.union1d(wanted[~known], np.arange(stop - step, stop)), ring

    def _signal_ring(self) -> Ring:
        end = self.times.first_row_samples
        old = end - self.times.hop
        first = min([old, *(int(wanted.min()) for wanted in self.demand[0] if wanted.size)])
        first = min(first, 0) if self.windowed else first
        return Ring(0, first, old, self.times.hop)

    def _read(self, reader: int | None, source: int, taps: Positions) -> Read:
        """Resolves positions of ``source`` through padding, cropping and upsampling."""
        positions = taps
        constants = np.full(taps.shape, np.nan)
        fill: Fill = 0.0 if reader is None else fill_of(self.nodes[reader])
        while True:
            if self.windowed:
                outside = (positions < 0) | (positions >= self.lengths[source])
                if fill != "edge":
                    constants[outside & np.isnan(constants)] = float(fill)
                positions = np.clip(positions, 0, self.lengths[source] - 1)
            elif positions.size:
                behind = -(int(positions.min()) // self.step[source])
                self.settling = max(self.settling, behind)
            if not isinstance(self.nodes[source].op, INDEX_ONLY):
                break
            fill = fill_of(self.nodes[source])
            positions = reads(self.nodes[source], positions.reshape(-1)).reshape(positions.shape)
            source = self.nodes[source].inputs[0]
        real = np.isnan(constants)
        self.demand[source].append(positions[real])
        return Read(source, positions, None if real.all() else constants)
