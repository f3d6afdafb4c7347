"""Which positions read which: lengths, receptive fields, padding, alignment. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from sensorium.streaming.errors import NotStreamableError
from sensorium.streaming.operators import (
    Convolution,
    Fill,
    Input,
    Pool,
    Repeat,
    Shift,
    Stride,
    TrunkNode,
)

Positions = npt.NDArray[np.int64]


def reads(node: TrunkNode, positions: Positions) -> Positions:
    """Input positions (rows, taps) that ``positions`` (rows,) of ``node`` read."""
    op = node.op
    column = positions[:, None]
    if isinstance(op, (Convolution, Pool)):
        taps = np.arange(op.taps.kernel) * op.taps.dilation
        return column * op.taps.stride - op.taps.pad_left + taps
    if isinstance(op, Shift):
        return column + op.offset
    if isinstance(op, Stride):
        return column * op.step
    if isinstance(op, Repeat):
        return column // op.factor
    return column


def fill_of(node: TrunkNode) -> Fill:
    """What ``node`` reads outside its input."""
    op = node.op
    if isinstance(op, Convolution):
        return op.taps.fill
    if isinstance(op, Pool):
        return -math.inf if op.kind == "max" else 0.0
    return op.fill if isinstance(op, Shift) else 0.0


def open_lengths(nodes: Sequence[TrunkNode], samples: int) -> list[int]:
    """Positions of each node that are complete when ``samples`` of an endless signal are known."""
    lengths: list[int] = []
    for node in nodes:
        op = node.op
        if isinstance(op, Input):
            lengths.append(samples)
            continue
        known = min(lengths[i] for i in node.inputs)
        if isinstance(op, (Convolution, Pool)):
            known = (known + op.taps.pad_left - op.taps.span - 1) // op.taps.stride + 1
        elif isinstance(op, Shift):
            known -= op.offset
        elif isinstance(op, Stride):
            known = -(-known // op.step)
        elif isinstance(op, Repeat):
            known *= op.factor
        lengths.append(max(0, known))
    return lengths


def samples_of(nodes: Sequence[TrunkNode], wanted: dict[int, int], *, last: bool) -> int:
    """The last (or first) sample read by one position of each node in ``wanted``."""
    pick = max if last else min
    need: dict[int, int] = dict(wanted)
    for index in range(len(nodes) - 1, 0, -1):
        if index not in need:
            continue
        taps = reads(nodes[index], np.array([need[index]]))[0]
        edge = int(taps[-1] if last else taps[0])
        for source in nodes[index].inputs:
            need[source] = pick(need[source], edge) if source in need else edge
    return need.get(0, 0)


def clean_intervals(nodes: Sequence[TrunkNode]) -> list[tuple[int, int]]:
    """Per node, the positions [start, stop) whose receptive field meets no padding at all."""
    masks: list[npt.NDArray[np.bool_]] = []
    intervals: list[tuple[int, int]] = []
    for node in nodes:
        mask = np.ones(node.length, dtype=bool)
        taps = reads(node, np.arange(node.length))
        for source in node.inputs:
            length = nodes[source].length
            inside = (taps >= 0) & (taps < length)
            mask &= (inside & masks[source][np.clip(taps, 0, length - 1)]).all(axis=1)
        hits = np.flatnonzero(mask)
        start, stop = (int(hits[0]), int(hits[-1]) + 1) if hits.size else (0, 0)
        mask[:] = False
        mask[start:stop] = True
        masks.append(mask)
        intervals.append((start, stop))
    return intervals


def check_alignment(nodes: Sequence[TrunkNode], window: int, hop: int) -> int:
    """The number of samples that hop and window must be multiples of.

    Raises:
        NotStreamableError: the hop or the window breaks the phase of a strided layer.
    """
    grid = math.lcm(*(node.stride.numerator for node in nodes))
    for what, value in (("hop", hop), ("window", window)):
        if value < 1:
            raise NotStreamableError(what, f"{what} is {value} samples", "give at least 1")
        for node in nodes:
            if value % node.stride.numerator:
                below = value - value % grid
                near = [n for n in (below, below + grid) if n > 0]
                raise NotStreamableError(
                    node.layer,
                    f"{what} {value} is not a multiple of its total stride {node.stride}, so "
                    "positions would not line up from hop to hop",
                    f"use a {what} of {' or '.join(map(str, near))} (multiples of {grid})",
                )
    if hop > window:
        raise NotStreamableError(
            "hop", f"hop {hop} exceeds window {window}, nothing overlaps", "use hop <= window"
        )
    return grid


@dataclass(frozen=True)
class Timeline:
    """When rows appear and which samples they describe.

    A row appears with every hop once ``first_row_samples`` samples have arrived; it describes the
    ``window`` samples that end ``delay`` samples before the newest one.
    """

    window: int
    hop: int
    first_row_samples: int
    delay: int
    lookahead: int
    receptive_field: int

    @property
    def first_window_start(self) -> int:
        """Index of the first sample of the window that the first row describes."""
        return self.first_row_samples - self.delay - self.window


def timeline(
    nodes: Sequence[TrunkNode], embeddings: Sequence[int], window: int, hop: int, *, padded: bool
) -> Timeline:
    """Delay and start of a stream.

    Args:
        nodes: the trunk.
        embeddings: trunk nodes that the head reads.
        window: samples.
        hop: samples.
        padded: True keeps the window's own padding at its right edge (no look-ahead needed).
    """
    grid = check_alignment(nodes, window, hop)
    ends = {i: nodes[i].length - 1 for i in embeddings}
    last = samples_of(nodes, ends, last=True)
    field = max(
        samples_of(nodes, {i: p}, last=True) - samples_of(nodes, {i: p}, last=False) + 1
        for i, p in ends.items()
    )
    lookahead = 0 if padded else max(0, last - (window - 1))
    shift = -(-lookahead // grid) * grid
    full = -(-window // hop) * hop
    return Timeline(
        window=window,
        hop=hop,
        first_row_samples=full + -(-shift // hop) * hop,
        delay=full - window + shift,
        lookahead=lookahead,
        receptive_field=field,
    )


def positions_per_hop(node: TrunkNode, hop: int) -> int:
    """Positions by which one hop moves ``node``."""
    return int(Fraction(hop) / node.stride)
