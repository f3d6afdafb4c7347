"""A dense head without reading all of its weights every hop.

The first Linear of a flattened embedding multiplies every position of the ring by its own weights:
megabytes that a single product must fetch from memory each hop. But most positions of the next
``depth`` windows are known already. So their weights are split into ``depth`` groups; each hop
takes one group and computes its share of the next ``depth`` outputs in one matrix product, reading
1 / depth of these weights. Every output is still the same sum, formed anew for each window: nothing
is carried on, nothing drifts. Two depths serve old and newer positions; what the hop itself makes
is multiplied in the hop.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from sensorium.streaming.onnx_graph import GraphWriter, bind_memory
from sensorium.streaming.plan import Plan, Read
from sensorium.streaming.rings import Rings
from sensorium.streaming.trace import TracedNetwork

_MIN_BYTES = 1 << 20
_DEPTHS = (32, 16, 8, 4, 2)
# Choosing depths needs only the ratio of these two: what a level costs by itself (that of a call of
# its own, so rather too much), and how fast one core streams weights that its cache does not hold.
_SECONDS_PER_LEVEL = 4e-6
_BYTES_PER_SECOND = 30e9


@dataclass(frozen=True)
class Level:
    """Positions [start, stop) of the embedding, multiplied ``depth`` hops ahead."""

    start: int
    stop: int
    depth: int

    def group(self, number: int) -> tuple[int, int]:
        """The positions of one of ``depth`` groups."""
        size = self.stop - self.start
        first, last = (self.start + size * i // self.depth for i in (number, number + 1))
        return first, last


@dataclass(frozen=True)
class Split:
    """Which positions of the embedding are multiplied ahead.

    Attributes:
        linear: the head's first Linear.
        positions: n, its embedding's positions.
        read: the embedding.
        levels: deepest first.
    """

    linear: nn.Linear
    positions: int
    read: Read
    levels: tuple[Level, ...]

    @property
    def depth(self) -> int:
        """The largest depth, a multiple of the others."""
        return self.levels[0].depth

    @property
    def fresh(self) -> list[int]:
        """Positions multiplied in the hop itself."""
        return [*range(self.levels[0].start), *range(self.levels[-1].stop, self.positions)]

    def fresh_read(self) -> Read:
        """The part of the embedding that the hop itself reads."""
        constants = self.read.constants
        held = None if constants is None else constants[self.fresh]
        return Read(self.read.node, self.read.positions[self.fresh], held)

    def weight(self) -> Tensor:
        """The Linear's weight as (positions, channels, out)."""
        out = self.linear.out_features
        return self.linear.weight.detach().reshape(out, -1, self.positions).permute(2, 1, 0)


def find_split(plan: Plan, network: TracedNetwork) -> Split | None:
    """Where multiplying ahead pays, or None: one stream, a large Linear right behind the ring."""
    linear = _flattened_linear(network.head)
    if linear is None or network.batch > 1 or len(plan.embeddings) != 1:
        return None
    read = plan.embeddings[0]
    ring = plan.rings.get(read.node)
    if linear.weight.numel() * 4 < _MIN_BYTES or ring is None or read.node == 0:
        return None
    positions = read.positions[:, 0]
    known = (positions >= ring.first) & (positions < ring.end)
    if read.constants is not None:
        known &= np.isnan(read.constants[:, 0])
    hits = np.flatnonzero(known)
    if not hits.size or (np.diff(positions[hits[0] : hits[-1] + 1]) != 1).any():
        return None
    start, end = int(hits[0]), int(hits[0]) + ring.end - int(positions[hits[0]])
    levels = _choose_levels(start, end, len(positions), ring.step, linear.weight.numel() * 4)
    return Split(linear, len(positions), read, levels) if levels else None


def _choose_levels(
    start: int, end: int, positions: int, step: int, weight_bytes: int
) -> tuple[Level, ...]:
    """The fastest set of depths; positions [start, end) are known when a hop begins."""
    best: tuple[Level, ...] = ()
    least = weight_bytes / _BYTES_PER_SECOND
    sizes = range(1, len(_DEPTHS) + 1)
    for depths in itertools.chain(*(itertools.combinations(_DEPTHS, size) for size in sizes)):
        levels, at = [], start
        for depth in depths:
            stop = min(positions, end - (depth - 1) * step)
            levels.append(Level(at, max(at, stop), depth))
            at = levels[-1].stop
        ahead = sum((level.stop - level.start) * (1 - 1 / level.depth) for level in levels)
        moved = weight_bytes * (1 - ahead / positions)
        seconds = moved / _BYTES_PER_SECOND + len(levels) * _SECONDS_PER_LEVEL
        if seconds < least and all(level.stop - level.start >= level.depth for level in levels):
            best, least = tuple(levels), seconds
    return best


def _flattened_linear(head: fx.GraphModule) -> nn.Linear | None:
    """The Linear in ``embedding -> flatten -> (dropout ->) Linear``, if that is how it starts."""
    node = next(iter(head.graph.nodes))
    flattened = False
    while node.op != "output" and len(node.users) == 1:
        node = next(iter(node.users))
        module = head.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.Linear):
            return module if flattened else None
        if _flattens(node, module):
            flattened = True
        elif not isinstance(module, (nn.Dropout, nn.Identity)):
            return None
    return None


def _flattens(node: fx.Node, module: nn.Module | None) -> bool:
    if isinstance(module, nn.Flatten):
        return (module.start_dim, module.end_dim) == (1, -1)
    if node.target in ("flatten", torch.flatten):
        return (*node.args[1:], *node.kwargs.items()) in ((1,), (("start_dim", 1),))
    viewed = node.target in ("view", "reshape")
    return bool(viewed and len(node.args) == 3 and node.args[1] == 1)


class Lookahead:
    """The products computed ahead for one stream, one ONNX Runtime call per hop.

    Each of ``depth`` sessions holds the weights that its hop needs, packed as its product reads
    them; those of shallower levels are therefore held several times.

    Args:
        split: what is multiplied ahead.
        rings: the stream's memory; its phases are a multiple of ``split.depth``.
    """

    def __init__(self, split: Split, rings: Rings) -> None:
        self.split, self.rings = split, rings
        out = split.linear.out_features
        bias = split.linear.bias
        like = rings.memory[0]
        self.bias = like.new_zeros(out) if bias is None else bias.detach().clone()
        self.sums = self.bias.repeat(rings.phases + split.depth, 1)
        self._hops = self._bind()

    def _bind(self) -> list[tuple[Any, Any]]:
        """Session and binding of each phase: one product per level, added to ``sums`` in place.

        Input and output share memory. That is right in any order of the levels, as each reads and
        writes its sums in one node; the self-check of every conversion would see it otherwise.
        """
        sessions = [self._session(number) for number in range(self.split.depth)]
        hops = []
        for phase in range(self.rings.phases):
            session = sessions[phase % self.split.depth]
            binding = session.io_binding()
            for number, level in enumerate(self.split.levels):
                sums = self.sums[phase : phase + level.depth]
                bind_memory(binding.bind_input, f"rows_{number}", self._rows(level, phase))
                bind_memory(binding.bind_input, f"sums_{number}", sums)
                bind_memory(binding.bind_output, f"result_{number}", sums)
            hops.append((session, binding))
        return hops

    def _session(self, phase: int) -> Any:  # noqa: ANN401
        """The products of one phase; their weights are packed once, for one pass through memory."""
        graph = GraphWriter()
        step = self.rings.specs[self.split.read.node].step
        weight = self.split.weight()
        for number, level in enumerate(self.split.levels):
            start, stop = level.group(phase % level.depth)
            rows = self._rows(level, phase)
            matrix = weight[start:stop].reshape(-1, weight.shape[2])
            x = graph.input(f"rows_{number}", tuple(rows.shape))
            if stop - start != step:
                taken = step * np.arange(level.depth)[:, None] + np.arange(stop - start)
                x = graph.node("Gather", [x, graph.constant(taken.reshape(-1))], axis=0)
            x = graph.reshape(x, (level.depth, matrix.shape[0]))
            shape = (level.depth, matrix.shape[1])
            sums = graph.input(f"sums_{number}", shape)
            product = graph.node("Gemm", [x, graph.constant(matrix), sums])
            graph.output(product, f"result_{number}", shape)
        return graph.session()

    def _rows(self, level: Level, phase: int) -> Tensor:
        """(positions, channels): what the phase's group reads in all of the next windows."""
        start, stop = level.group(phase % level.depth)
        return self._read(start, stop, level.depth, phase)

    def _read(self, start: int, stop: int, depth: int, phase: int) -> Tensor:
        node = self.split.read.node
        first = int(self.split.read.positions[start, 0])
        last = first + stop - start + (depth - 1) * self.rings.specs[node].step
        return self.rings.view(node, first, last, phase)

    def partial(self, phase: int) -> Tensor:
        """(1, out): what the hop at ``phase`` adds its fresh products to."""
        return self.sums[phase : phase + 1]

    def run(self) -> None:
        """Adds one group of each level to the outputs of this hop and of the next ones."""
        session, binding = self._hops[self.rings.phase]
        session.run_with_iobinding(binding)

    def wrap(self) -> None:
        """To be called after the last phase was used: moves what is under way to the front."""
        depth = self.split.depth
        self.sums[:depth] = self.sums[-depth:].clone()
        self.sums[depth:] = self.bias

    def start(self) -> None:
        """Computes what earlier hops would have left, after the rings were filled."""
        self.sums[:] = self.bias
        weight = self.split.weight()
        step = self.rings.specs[self.split.read.node].step
        for level in self.split.levels:
            for group in range(1, level.depth):
                start, stop = level.group(group)
                rows = self._read(start, stop, group, 0)
                size, width = stop - start, rows.shape[1]
                windows = rows.as_strided((group, size * width), (step * width, 1))
                self.sums[:group].addmm_(windows, weight[start:stop].reshape(size * width, -1))

    def live(self) -> Tensor:
        """A copy of the sums under way, (depth, out)."""
        phase = self.rings.phase
        return self.sums[phase : phase + self.split.depth].clone()

    def restore(self, sums: Tensor) -> None:
        """Continues from ``live``; the rings' phase is already restored."""
        phase = self.rings.phase
        self.sums[:] = self.bias
        self.sums[phase : phase + self.split.depth] = sums
