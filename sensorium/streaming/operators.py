"""What the time-local part of a network ("trunk") is made of, free of torch.fx and of executors.

Every trunk value is a sequence of positions p = 0 .. length-1 inside one window, each a vector of
channels. Position p of an operator reads positions ``p * stride - pad_left + j * dilation`` of its
input, and moving the window by ``stride`` samples moves the positions by one: that is the whole
reason reuse is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch

Fill = float | Literal["edge"]
"""What stands outside a sequence: a constant, or the nearest real position."""


@dataclass(frozen=True)
class Input:
    """The signal itself."""


@dataclass(frozen=True)
class Taps:
    """Which input positions one output position reads."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    pad_left: int = 0
    pad_right: int = 0
    fill: Fill = 0.0

    @property
    def span(self) -> int:
        """Distance from the first to the last position read."""
        return (self.kernel - 1) * self.dilation


@dataclass(frozen=True, eq=False)
class Convolution:
    """Conv1d, or a Linear over channels (kernel 1). Weight (out, in / groups, kernel)."""

    taps: Taps
    groups: int
    weight: torch.Tensor
    bias: torch.Tensor | None


@dataclass(frozen=True)
class Pool:
    """Max or average pooling; padding of a maximum is never chosen.

    ``divisor`` is the fixed divisor of an average (kernel or divisor_override); None divides by the
    number of real positions (count_include_pad=False).
    """

    taps: Taps
    kind: Literal["max", "avg"]
    divisor: int | None = None


@dataclass(frozen=True)
class Shift:
    """Explicit padding and cropping: position p reads input position p + offset."""

    offset: int
    fill: Fill = 0.0


@dataclass(frozen=True)
class Stride:
    """``x[..., ::step]``: position p reads input position p * step."""

    step: int


@dataclass(frozen=True)
class Repeat:
    """Nearest-neighbour upsampling: position p reads input position p // factor."""

    factor: int


@dataclass(frozen=True, eq=False)
class Pointwise:
    """A function of the channels at one position (see pointwise.py for the table of kinds).

    ``numbers`` are scalar settings, ``tensors`` per-channel constants of shape (channels,).
    """

    kind: str
    numbers: tuple[float, ...] = ()
    tensors: tuple[torch.Tensor, ...] = ()


Operator = Input | Convolution | Pool | Shift | Stride | Repeat | Pointwise
INDEX_ONLY = (Shift, Stride, Repeat)


@dataclass(frozen=True)
class TrunkNode:
    """One value of the trunk. ``stride`` is in samples per position (below 1 after upsampling)."""

    layer: str
    op: Operator
    inputs: tuple[int, ...]
    channels: int
    length: int
    stride: Fraction

    @property
    def macs_per_position(self) -> int:
        """Multiply-accumulates for one position; 0 for all but convolutions."""
        if not isinstance(self.op, Convolution):
            return 0
        return int(self.op.weight.numel())
