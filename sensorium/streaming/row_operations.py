"""One hop as a short list of operations on row matrices; both executors run the same list.

A row is one position of one stream: row ``p * batch + b``, with the channels of that position. In
this time-major form a convolution is a gather of rows and one matrix product, whatever its stride,
dilation, padding or border, and rings are contiguous memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sensorium.streaming.operators import Pointwise


@dataclass(frozen=True)
class Load:
    """Positions [start, stop) from the ring of ``node``."""

    node: int
    start: int
    stop: int


@dataclass(frozen=True)
class Windows:
    """Overlapping stretches of one stream's signal, read as they lie in its ring.

    Row r holds the ``taps`` consecutive positions from ``start + r * stride``.
    """

    start: int
    rows: int
    taps: int
    stride: int

    @property
    def stop(self) -> int:
        """End of the positions read."""
        return self.start + (self.rows - 1) * self.stride + self.taps


@dataclass(frozen=True)
class Constant:
    """Rows that never change."""

    rows: Tensor


@dataclass(frozen=True)
class Rows:
    """Rows [start, stop) of ``x``."""

    x: int
    start: int
    stop: int


@dataclass(frozen=True)
class Concat:
    """Rows of several values, one after the other."""

    xs: tuple[int, ...]


@dataclass(frozen=True)
class Gather:
    """Rows of ``x`` by index."""

    x: int
    index: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Dense:
    """``taps`` consecutive rows of ``x`` make one product: (rows, taps * in) @ weight + bias.

    ``weight`` is (groups, taps * in / groups, out / groups); for depthwise layers (in = out =
    groups) it is (taps, channels) and products are summed over taps.
    """

    x: int
    taps: int
    groups: int
    weight: Tensor
    bias: Tensor | None

    @property
    def depthwise(self) -> bool:
        """Whether the cheap element-wise form is used."""
        return self.weight.dim() == 2


@dataclass(frozen=True)
class Reduce:
    """Max, or sum over divisor, over the taps; divisor is (rows * batch, 1), None for a max."""

    x: int
    taps: int
    rows: int
    divisor: Tensor | None


@dataclass(frozen=True)
class Apply:
    """A pointwise operator."""

    op: Pointwise
    xs: tuple[int, ...]


Operation = Load | Windows | Constant | Rows | Concat | Gather | Dense | Reduce | Apply


@dataclass(frozen=True)
class Program:
    """``operations[i]`` makes value i, ``widths[i]`` channels and ``counts[i]`` rows.

    ``stores`` maps a ring's node to the value appended to it; ``embeddings`` are what the head
    reads, one row per position and stream.
    """

    operations: list[Operation]
    counts: list[int]
    widths: list[int]
    stores: dict[int, int]
    embeddings: list[int]
    batch: int
