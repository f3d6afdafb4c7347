"""The trunk on a whole sequence, layer by layer with torch's own operators.

It fills the rings when a stream starts and is the reference of the self-check: it shares no code
with the row programs that step a stream.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from sensorium.streaming.operators import (
    Convolution,
    Fill,
    Input,
    Pointwise,
    Pool,
    Repeat,
    Shift,
    Stride,
    Taps,
    TrunkNode,
)
from sensorium.streaming.pointwise import apply_pointwise


def evaluate_trunk(nodes: Sequence[TrunkNode], x: Tensor, *, open_end: bool) -> list[Tensor]:
    """Values (batch, channels, positions) of every trunk node for a signal ``x``.

    Args:
        nodes: the trunk in topological order.
        x: signal (batch, channels, samples).
        open_end: False evaluates one window with all its padding. True treats ``x`` as the
            beginning of an endless signal: padding at the left only, and only the positions whose
            samples have all arrived ("signal padding").
    """
    values: list[Tensor] = []
    for node in nodes:
        xs = [values[i] for i in node.inputs]
        values.append(x if isinstance(node.op, Input) else _apply(node, xs, open_end=open_end))
    return values


def _apply(node: TrunkNode, xs: Sequence[Tensor], *, open_end: bool) -> Tensor:
    op = node.op
    if isinstance(op, Convolution):
        return _convolve(op, xs[0], open_end=open_end)
    if isinstance(op, Pool):
        return _pool(op, xs[0], open_end=open_end)
    if isinstance(op, Shift):
        length = xs[0].shape[-1] - op.offset if open_end else node.length
        right = length + op.offset - xs[0].shape[-1]
        return _pad(xs[0], -op.offset, right, op.fill)
    if isinstance(op, Stride):
        return xs[0][..., :: op.step]
    if isinstance(op, Repeat):
        return xs[0].repeat_interleave(op.factor, dim=-1)
    if isinstance(op, Pointwise):
        shortest = min(x.shape[-1] for x in xs)
        rows = [x[..., :shortest].transpose(1, 2) for x in xs]
        return apply_pointwise(op, rows).transpose(1, 2)
    raise TypeError(type(op).__name__)


def _pad(x: Tensor, left: int, right: int, fill: Fill) -> Tensor:
    x = x[..., max(0, -left) : x.shape[-1] - max(0, -right)]
    left, right = max(0, left), max(0, right)
    if not left and not right:
        return x
    if fill == "edge":
        return F.pad(x, (left, right), mode="replicate")
    return F.pad(x, (left, right), value=float(fill))


def _pads(taps: Taps, *, open_end: bool) -> tuple[int, int]:
    return taps.pad_left, 0 if open_end else taps.pad_right


def _convolve(op: Convolution, x: Tensor, *, open_end: bool) -> Tensor:
    taps = op.taps
    padded = _pad(x, *_pads(taps, open_end=open_end), taps.fill)
    if padded.shape[-1] <= taps.span:
        return x.new_zeros(x.shape[0], op.weight.shape[0], 0)
    return F.conv1d(padded, op.weight, op.bias, taps.stride, 0, taps.dilation, op.groups)


def _pool(op: Pool, x: Tensor, *, open_end: bool) -> Tensor:
    taps = op.taps
    left, right = _pads(taps, open_end=open_end)
    fill = -float("inf") if op.kind == "max" else 0.0
    padded = F.pad(x, (left, right), value=fill)
    count = (padded.shape[-1] - taps.span - 1) // taps.stride + 1
    if count < 1:
        return x.new_zeros(x.shape[0], x.shape[1], 0)
    starts = torch.arange(count, device=x.device) * taps.stride
    index = starts[:, None] + torch.arange(taps.kernel, device=x.device) * taps.dilation
    groups = padded[..., index]
    if op.kind == "max":
        return groups.amax(-1)
    divisor: int | Tensor = op.divisor or 0
    if op.divisor is None:
        real = (index >= left) & (index < left + x.shape[-1])
        divisor = real.sum(-1)
    return groups.sum(-1) / divisor
