"""What a conversion costs and saves, in numbers a user can act on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import fx, nn

from sensorium.streaming.operators import INDEX_ONLY, Input
from sensorium.streaming.plan import Plan
from sensorium.streaming.trace import TracedNetwork


@dataclass(frozen=True)
class LayerCost:
    """One trunk layer. MACs are multiply-accumulates per stream of the batch."""

    layer: str
    positions_per_window: int
    positions_per_hop: int
    macs_per_window: int
    macs_per_hop: int
    touched_by_padding: float


@dataclass(frozen=True)
class Parity:
    """Result of the self-check: largest |difference| / (1 + |reference|).

    ``integer_exact`` is True where the integer-valued copy of the network gave the same bits, False
    where it has layers whose arithmetic rounds even then (``integer_error`` tells how much).
    """

    rows: int
    random_error: float
    limit: float
    integer_error: float
    integer_exact: bool


@dataclass(frozen=True)
class StreamReport:
    """Everything known about a converted stream.

    Attributes:
        mode: "exact_window" or "stream".
        executor: what computes a hop, e.g. "onnxruntime".
        recomputes: True where recomputing the window was faster than reuse; ``decision`` says why.
        decision: the comparison that chose between reuse and recomputation.
        layers: cost per trunk layer.
        head_layers: what is recomputed on the ring each hop.
        head_macs: multiply-accumulates of the head per hop.
        macs_per_window: network on a whole window, head included.
        macs_per_hop: this stream per hop, head included.
        macs_floor: new positions only, head included: no method that keeps the head does less.
        reused_share: share of the window's trunk MACs taken from earlier hops.
        receptive_field: samples that one embedding position sees.
        touched_by_padding: share of embedding positions whose receptive field meets padding.
        delay: samples between the end of the described window and the newest sample.
        lookahead: samples right of the window that embeddings need (part of ``delay``).
        state_bytes: size of the state of all streams.
        output_shape: shape of one row, (batch, ...).
        step_ms: measured time of one hop with reuse, None if not measured.
        recompute_ms: measured time of one hop by recomputation, None if not measured.
        parity: self-check.
    """

    mode: str
    executor: str
    recomputes: bool
    decision: str
    layers: tuple[LayerCost, ...]
    head_layers: tuple[str, ...]
    head_macs: int
    macs_per_window: int
    macs_per_hop: int
    macs_floor: int
    reused_share: float
    receptive_field: int
    touched_by_padding: float
    delay: int
    lookahead: int
    state_bytes: int
    output_shape: tuple[int, ...]
    step_ms: float | None
    recompute_ms: float | None
    parity: Parity | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def layer_costs(plan: Plan, intervals: list[tuple[int, int]]) -> tuple[LayerCost, ...]:
    """Cost of every layer that computes something; ``intervals`` are untouched positions."""
    computed = {step.node: len(step.rows) for step in plan.steps}
    costs = []
    for index, node in enumerate(plan.nodes):
        if isinstance(node.op, (Input, *INDEX_ONLY)):
            continue
        start, stop = intervals[index]
        rows = computed.get(index, 0)
        costs.append(
            LayerCost(
                node.layer,
                node.length,
                rows,
                node.length * node.macs_per_position,
                rows * node.macs_per_position,
                1.0 - (stop - start) / node.length,
            )
        )
    return tuple(costs)


def head_macs(network: TracedNetwork) -> int:
    """Multiply-accumulates of dense and recurrent head layers for one window."""
    total = 0
    for node in network.head.graph.nodes:
        if node.op != "call_module":
            continue
        module = network.head.get_submodule(str(node.target))
        if isinstance(module, nn.Linear):
            total += int(module.weight.numel())
        elif isinstance(module, nn.RNNBase):
            steps = _positions(network, node)
            total += steps * sum(w.numel() for n, w in module.named_parameters() if "weight" in n)
    return total


def _positions(network: TracedNetwork, _node: fx.Node) -> int:
    return max(network.trunk[i].length for i in network.embeddings)
