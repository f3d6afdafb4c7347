"""Writes a plan as row operations: where every read comes from, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.streaming.operators import Convolution, Pointwise, Pool
from sensorium.streaming.plan import Plan, Read, Step
from sensorium.streaming.row_operations import (
    Apply,
    Concat,
    Constant,
    Dense,
    Gather,
    Load,
    Operation,
    Program,
    Reduce,
    Rows,
    Windows,
)

_MAX_PIECES = 4
_MERGE_GAP = 8


def build_program(plan: Plan, like: Tensor, batch: int) -> Program:
    """Writes ``plan`` as row operations for ``batch`` streams of ``like``'s dtype and device."""
    return _Builder(plan, like, batch).build()


@dataclass
class _Sources:
    """Where each position of a read comes from: piece key and offset inside the piece."""

    keys: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    constants: list[float]


class _Builder:
    def __init__(self, plan: Plan, like: Tensor, batch: int) -> None:
        self.plan, self.like, self.batch = plan, like, batch
        self.operations: list[Operation] = []
        self.counts: list[int] = []
        self.widths: list[int] = []
        self.current: dict[int, int] = {}
        self.rows = {step.node: step.rows for step in plan.steps}
        self.folded = self._foldable()

    def build(self) -> Program:
        for step in self.plan.steps:
            self.current[step.node] = self._step(step)
        stores = {node: self._store(node) for node in self.plan.rings if node}
        embeddings = [self._fetch(read, inner=True) for read in self.plan.embeddings]
        return Program(self.operations, self.counts, self.widths, stores, embeddings, self.batch)

    def _add(self, operation: Operation, rows: int, width: int) -> int:
        self.operations.append(operation)
        self.counts.append(rows)
        self.widths.append(width)
        return len(self.operations) - 1

    def _store(self, node: int) -> int:
        ring, rows = self.plan.rings[node], self.rows[node]
        at = int(np.searchsorted(rows, ring.end))
        return self._slice(self.current[node], at, at + ring.step)

    def _slice(self, x: int, start: int, stop: int) -> int:
        """Positions (not rows) start .. stop-1 of value ``x``."""
        if (start, stop) == (0, self.counts[x] // self.batch):
            return x
        b = self.batch
        return self._add(Rows(x, start * b, stop * b), (stop - start) * b, self.widths[x])

    # --- fetching what a layer reads ---

    def _fetch(self, read: Read, *, inner: bool) -> int:
        """Rows in the order (position, stream, tap) if ``inner`` else (position, tap, stream)."""
        sources = self._sources(read)
        runs = np.flatnonzero(
            np.r_[True, (np.diff(sources.keys) != 0) | (np.diff(sources.offsets) != 1)]
        )
        single = read.positions.shape[1] == 1 or self.batch == 1
        if (single or not inner) and len(runs) <= _MAX_PIECES:
            return self._from_runs(read.node, sources, runs)
        return self._from_gather(read, sources, inner=inner)

    def _sources(self, read: Read) -> _Sources:
        """Keys: 0 computed now, 1 ring, 2 + i the i-th constant."""
        flat = read.positions.reshape(-1)
        keys = np.ones(flat.shape, dtype=np.int64)
        offsets = flat.copy()
        if read.node:
            rows = self.rows.get(read.node, np.zeros(0, dtype=np.int64))
            at = np.searchsorted(rows, flat)
            inside = np.zeros(flat.shape, dtype=bool)
            inside[at < len(rows)] = rows[at[at < len(rows)]] == flat[at < len(rows)]
            keys[inside], offsets[inside] = 0, at[inside]
        constants: list[float] = []
        if read.constants is not None:
            values = read.constants.reshape(-1)
            for value in np.unique(values[~np.isnan(values)]):
                keys[values == value], offsets[values == value] = 2 + len(constants), 0
                constants.append(float(value))
        return _Sources(keys, offsets, constants)

    def _piece(self, node: int, sources: _Sources, key: int, start: int, stop: int) -> int:
        count = (stop - start) * self.batch
        width = self.plan.nodes[node].channels
        if key == 0:
            return self._slice(self.current[node], start, stop)
        if key == 1:
            return self._add(Load(node, start, stop), count, width)
        value = sources.constants[key - 2]
        rows = torch.full((count, width), value, dtype=self.like.dtype, device=self.like.device)
        return self._add(Constant(rows), count, width)

    def _join(self, pieces: list[int]) -> int:
        if len(pieces) == 1:
            return pieces[0]
        total = sum(self.counts[piece] for piece in pieces)
        return self._add(Concat(tuple(pieces)), total, self.widths[pieces[0]])

    def _from_runs(self, node: int, sources: _Sources, runs: npt.NDArray[np.intp]) -> int:
        ends = np.r_[runs[1:], len(sources.keys)]
        pieces = []
        for a, b in zip(runs, ends, strict=True):
            start = int(sources.offsets[a])
            pieces.append(
                self._piece(node, sources, int(sources.keys[a]), start, start + int(b - a))
            )
        return self._join(pieces)

    def _from_gather(self, read: Read, sources: _Sources, *, inner: bool) -> int:
        pieces: list[int] = []
        position = np.zeros(sources.keys.shape, dtype=np.int64)
        base = 0
        for key in np.unique(sources.keys):
            mine = sources.keys == key
            whole = key != 1 or bool(mine.all())
            for start, stop in _ranges(sources.offsets[mine], whole=whole):
                hit = mine & (sources.offsets >= start) & (sources.offsets < stop)
                position[hit] = base + sources.offsets[hit] - start
                pieces.append(self._piece(read.node, sources, int(key), start, stop))
                base += stop - start
        x = self._join(pieces)
        rows, taps = read.positions.shape
        index = position.reshape(rows, 1, taps) * self.batch + np.arange(self.batch)[:, None]
        if not inner:
            index = index.transpose(0, 2, 1)
        flat = np.ascontiguousarray(index.reshape(-1))
        return self._add(Gather(x, flat), len(flat), self.widths[x])

    # --- layers ---

    def _step(self, step: Step) -> int:
        op = self.plan.nodes[step.node].op
        if isinstance(op, Convolution):
            return self._convolution(step, op)
        if isinstance(op, Pool):
            return self._pool(step, op)
        if not isinstance(op, Pointwise):
            raise TypeError(type(op).__name__)
        if step.node in self.folded:
            return self._fetch(step.reads[0], inner=True)
        xs = tuple(self._fetch(read, inner=True) for read in step.reads)
        width = self.plan.nodes[step.node].channels
        return self._add(Apply(op, xs), len(step.rows) * self.batch, width)

    def _convolution(self, step: Step, op: Convolution) -> int:
        weight, bias = op.weight, op.bias
        if step.node in self.folded.values():
            affine = next(a for a, conv in self.folded.items() if conv == step.node)
            scale, shift = _affine(self.plan.nodes[affine].op)
            weight = weight * scale[:, None, None]
            bias = shift if bias is None else bias * scale + shift
        out, per_group, taps = weight.shape
        groups = op.groups
        depthwise = per_group == 1 and out == groups and groups > 1
        if depthwise:
            matrix = weight[:, 0].t().contiguous()
        else:
            shaped = weight.reshape(groups, out // groups, per_group, taps)
            matrix = shaped.permute(0, 3, 2, 1).reshape(groups, taps * per_group, out // groups)
            matrix = matrix.contiguous()
        windows = None if depthwise or groups > 1 else self._windows(step.reads[0])
        if windows is not None:
            width = taps * per_group
            x, taps = self._add(windows, windows.rows, width), 1
        else:
            x = self._fetch(step.reads[0], inner=not depthwise)
        rows = len(step.rows) * self.batch
        return self._add(Dense(x, taps, groups, matrix, bias), rows, out)

    def _windows(self, read: Read) -> Windows | None:
        """The first layer's read as one strided view, where it is one."""
        rows, taps = read.positions.shape
        if read.node or read.constants is not None or self.batch > 1 or taps == 1:
            return None
        start = int(read.positions[0, 0])
        stride = int(read.positions[1, 0]) - start if rows > 1 else 1
        regular = start + stride * np.arange(rows)[:, None] + np.arange(taps)
        if not np.array_equal(regular, read.positions):
            return None
        return Windows(start, rows, taps, stride)

    def _pool(self, step: Step, op: Pool) -> int:
        read = step.reads[0]
        width = self.plan.nodes[step.node].channels
        rows, taps = read.positions.shape
        column: Tensor | None = None
        if op.kind == "max":
            read = _without_padding(read)
        else:
            divisor = np.full(rows, op.divisor or taps)
            if op.divisor is None and read.constants is not None:
                divisor = np.isnan(read.constants).sum(axis=1)
            each = np.repeat(divisor, self.batch)[:, None]
            column = torch.as_tensor(each, dtype=self.like.dtype, device=self.like.device)
        x = self._fetch(read, inner=False)
        return self._add(Reduce(x, taps, rows, column), rows * self.batch, width)

    def _foldable(self) -> dict[int, int]:
        """BatchNorm node -> convolution that alone feeds it and is not kept in a ring."""
        users: dict[int, list[int]] = {}
        for step in self.plan.steps:
            for read in step.reads:
                users.setdefault(read.node, []).append(step.node)
        for read in self.plan.embeddings:
            users.setdefault(read.node, []).append(-1)
        folded: dict[int, int] = {}
        for step in self.plan.steps:
            op = self.plan.nodes[step.node].op
            if not (isinstance(op, Pointwise) and op.kind == "affine"):
                continue
            conv = step.reads[0].node
            alone = users[conv] == [step.node] and conv not in self.plan.rings
            source = self.plan.nodes[conv].op
            if alone and isinstance(source, Convolution) and step.reads[0].constants is None:
                folded[step.node] = conv
        return folded


def _affine(op: object) -> tuple[Tensor, Tensor]:
    if not isinstance(op, Pointwise):
        raise TypeError(type(op).__name__)
    return op.tensors[0], op.tensors[1]


def _ranges(offsets: npt.NDArray[np.int64], *, whole: bool) -> list[tuple[int, int]]:
    """Contiguous pieces covering ``offsets``; unless ``whole``, cut where a stretch is unused."""
    values = np.unique(offsets)
    if whole:
        return [(int(values[0]), int(values[-1]) + 1)]
    cuts = np.flatnonzero(np.diff(values) > _MERGE_GAP)
    starts = np.r_[values[0], values[cuts + 1]]
    ends = np.r_[values[cuts], values[-1]]
    return [(int(a), int(b) + 1) for a, b in zip(starts, ends, strict=True)]


def _without_padding(read: Read) -> Read:
    """Replaces -inf taps by a real tap of the same row: the maximum does not change."""
    if read.constants is None:
        return read
    padded = ~np.isnan(read.constants) & np.isneginf(read.constants)
    real = np.argmin(padded, axis=1)
    rows = np.arange(len(real))
    positions = np.where(padded, read.positions[rows, real][:, None], read.positions)
    constants = np.where(padded, read.constants[rows, real][:, None], read.constants)
    return Read(read.node, positions, None if np.isnan(constants).all() else constants)
