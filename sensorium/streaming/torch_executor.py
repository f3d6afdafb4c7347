"""Runs a program with torch, on any device and dtype."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, fx

from sensorium.streaming.pointwise import apply_pointwise
from sensorium.streaming.rings import Rings
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

_Operation = Callable[[list[Tensor]], Tensor]


class StatelessExecutor:
    """What executors share whose whole state is in the rings."""

    def start(self) -> None:
        """Nothing to prepare."""

    def live(self) -> dict[str, Tensor]:
        """No state besides the rings."""
        return {}

    def restore(self, content: Mapping[str, Tensor]) -> None:
        """Nothing to restore."""


class TorchExecutor(StatelessExecutor):
    """One hop at a time, operation by operation.

    Args:
        program: the hop.
        rings: the stream's memory; the newest samples are in ring 0 before ``run``.
        head: embeddings (batch, channels, positions) to the output of one window.
    """

    name = "torch"

    def __init__(self, program: Program, rings: Rings, head: fx.GraphModule) -> None:
        self.program, self.rings, self.head = program, rings, head
        device = rings.memory[0].device
        self.operations = [self._compile(op, device) for op in program.operations]

    @torch.no_grad()
    def run(self) -> Tensor:
        """Computes one hop, stores its new positions and returns the row, (1, batch, ...)."""
        values: list[Tensor] = []
        for operation in self.operations:
            values.append(operation(values))
        for node, value in self.program.stores.items():
            ring = self.rings.specs[node]
            self.rings.view(node, ring.end, ring.end + ring.step).copy_(values[value])
        return self.head_of([values[i] for i in self.program.embeddings]).unsqueeze(0)

    def head_of(self, rows: list[Tensor]) -> Tensor:
        """The head on embeddings given as rows."""
        batch = self.program.batch
        inputs = [x.view(-1, batch, x.shape[1]).permute(1, 2, 0) for x in rows]
        result = self.head(*[x.clone(memory_format=torch.contiguous_format) for x in inputs])
        if not isinstance(result, Tensor):
            raise TypeError(f"the head returned {type(result).__name__}, not a tensor")
        return result

    def _compile(self, op: Operation, device: torch.device) -> _Operation:  # noqa: PLR0911
        rings = self.rings
        if isinstance(op, Load):
            return lambda values: rings.view(op.node, op.start, op.stop)
        if isinstance(op, Windows):
            return lambda values: signal_windows(rings, op)
        if isinstance(op, Constant):
            return lambda values: op.rows
        if isinstance(op, Rows):
            return lambda values: values[op.x][op.start : op.stop]
        if isinstance(op, Concat):
            return lambda values: torch.cat([values[x] for x in op.xs])
        if isinstance(op, Gather):
            index = torch.as_tensor(op.index, device=device)
            return lambda values: values[op.x].index_select(0, index)
        if isinstance(op, Dense):
            return _dense(op, self.program.batch)
        if isinstance(op, Reduce):
            return _reduce(op)
        if isinstance(op, Apply):
            return lambda values: apply_pointwise(op.op, [values[x] for x in op.xs])
        raise TypeError(type(op).__name__)


def signal_windows(rings: Rings, op: Windows, phase: int | None = None) -> Tensor:
    """(rows, taps * channels), a strided view of the signal's ring."""
    view = rings.view(0, op.start, op.stop, phase)
    width = view.shape[1]
    return view.as_strided((op.rows, op.taps * width), (op.stride * width, 1))


def _dense(op: Dense, batch: int) -> _Operation:
    taps, groups, weight, bias = op.taps, op.groups, op.weight, op.bias

    def single(values: list[Tensor]) -> Tensor:
        x = values[op.x].reshape(-1, weight.shape[1])
        return x @ weight[0] if bias is None else torch.addmm(bias, x, weight[0])

    def depthwise(values: list[Tensor]) -> Tensor:
        x = values[op.x].reshape(-1, taps, batch, weight.shape[1])
        out = (x * weight[:, None, :]).sum(1).reshape(-1, weight.shape[1])
        return out if bias is None else out + bias

    def grouped(values: list[Tensor]) -> Tensor:
        x = values[op.x].reshape(-1, taps, groups, weight.shape[1] // taps)
        x = x.permute(2, 0, 1, 3).reshape(groups, x.shape[0], -1)
        out = torch.bmm(x, weight).permute(1, 0, 2).reshape(x.shape[1], -1)
        return out if bias is None else out + bias

    if op.depthwise:
        return depthwise
    return single if groups == 1 else grouped


def _reduce(op: Reduce) -> _Operation:
    def reduce(values: list[Tensor]) -> Tensor:
        x = values[op.x]
        width = x.shape[1]
        x = x.reshape(op.rows, op.taps, -1)
        out = x.amax(1) if op.divisor is None else x.sum(1)
        out = out.reshape(-1, width)
        return out if op.divisor is None else out / op.divisor

    return reduce
