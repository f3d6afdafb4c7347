"""Global pooling without reading the whole ring every hop.

A mean, sum or maximum over all positions of a window is one over the hops of the window, each of
them reduced once, when it arrives. The reduced hops become a trunk layer of their own, so that
rings, borders and alignment are those of any other pooling layer. Nothing is carried on from window
to window: every output is formed anew from the window's hops, so that nothing drifts.
"""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import fx, nn
from torch.nn import functional as F  # noqa: N812

from sensorium.streaming.geometry import Timeline, positions_per_hop
from sensorium.streaming.operators import Pool, Shift, Taps, TrunkNode
from sensorium.streaming.trace import TracedNetwork

Reduction = Literal["mean", "sum", "max"]
_KINDS: dict[Any, Reduction] = {
    "mean": "mean", torch.mean: "mean", "sum": "sum", torch.sum: "sum", "amax": "max",
    torch.amax: "max",
}  # fmt: skip
_ADAPTIVE: dict[Any, Reduction] = {
    F.adaptive_avg_pool1d: "mean", torch.adaptive_avg_pool1d: "mean", F.adaptive_max_pool1d: "max",
    nn.AdaptiveAvgPool1d: "mean", nn.AdaptiveMaxPool1d: "max",
}  # fmt: skip


def pool_by_hop(network: TracedNetwork, times: Timeline) -> TracedNetwork:
    """``network`` with every embedding that is only pooled over time replaced by pooled hops.

    An embedding stays as it is where the head reads single positions of it, or where its window is
    not a whole number (two or more) of hops.
    """
    trunk, embeddings, graph = list(network.trunk), list[int](), fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    positions: dict[fx.Node, int] = {}
    hops: dict[tuple[fx.Node, bool], fx.Node] = {}
    nodes = list(network.head.graph.nodes)
    placeholders = (node for node in nodes if node.op == "placeholder")
    for old, index in zip(placeholders, network.embeddings, strict=True):
        kinds = {_reduction(user, network.head) for user in old.users}
        if None in kinds or not _whole_hops(trunk[index], times):
            embeddings.append(index)
            copies[old] = graph.placeholder(old.name)
            continue
        positions[old] = trunk[index].length
        for maximum in sorted({kind == "max" for kind in kinds}):
            embeddings.append(_append_pool(trunk, index, times, maximum=maximum))
            hops[old, maximum] = graph.placeholder(f"{old.name}_{'max' if maximum else 'sum'}")
    if not hops:
        return network
    for node in nodes:
        source = node.args[0] if node.args else None
        if source in positions:
            kind = _reduction(node, network.head)
            x = hops[source, kind == "max"]
            copies[node] = _reduce(graph, x, node, kind, positions[source])
        elif node.op != "placeholder":
            copies[node] = graph.node_copy(node, copies.__getitem__)
    head = fx.GraphModule(network.head, graph)
    return replace(network, trunk=trunk, embeddings=embeddings, head=head)


def _reduction(node: fx.Node, head: fx.GraphModule) -> Reduction | None:
    """How ``node`` reduces a (batch, channels, positions) tensor over its positions, or None."""
    if node.op == "call_module":
        module = head.get_submodule(str(node.target))
        pools = isinstance(module, (nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d))
        one = pools and module.output_size in (1, (1,)) and not getattr(module, "return_indices", 0)
        return _ADAPTIVE[type(module)] if one else None
    if node.target in _ADAPTIVE:
        return _ADAPTIVE[node.target] if node.args[1:] in ((1,), ((1,),)) else None
    kind = _KINDS.get(node.target)
    dim, _ = _axes(node)
    return kind if dim in (-1, 2) and not set(node.kwargs) - {"dim", "keepdim"} else None


def _axes(node: fx.Node) -> tuple[Any, bool]:
    """``dim`` and ``keepdim`` of a reduction."""
    given = dict(zip(("dim", "keepdim"), node.args[1:], strict=False)) | node.kwargs
    dim = given.get("dim")
    if isinstance(dim, (tuple, list)) and len(dim) == 1:
        dim = dim[0]
    return dim, bool(given.get("keepdim", False))


def _whole_hops(node: TrunkNode, times: Timeline) -> bool:
    step = positions_per_hop(node, times.hop)
    whole = step * node.stride == times.hop and node.length % step == 0
    return whole and step > 1 and node.length > step


def _append_pool(trunk: list[TrunkNode], index: int, times: Timeline, *, maximum: bool) -> int:
    """Adds the reduced hops of node ``index``, in step with the windows; returns their index."""
    node = trunk[index]
    step = positions_per_hop(node, times.hop)
    layer = f"{node.layer}, {'maxima' if maximum else 'sums'} per hop"
    offset = int(times.first_window_start / node.stride) % step
    if offset:
        trunk.append(replace(node, layer=layer, op=Shift(offset), inputs=(index,)))
        index = len(trunk) - 1
    taps = Taps(step, step)
    pool = Pool(taps, "max") if maximum else Pool(taps, "avg", divisor=1)
    length, stride = node.length // step, node.stride * step
    trunk.append(TrunkNode(layer, pool, (index,), node.channels, length, stride))
    return len(trunk) - 1


def _reduce(
    graph: fx.Graph, hops: fx.Node, node: fx.Node, kind: Reduction | None, positions: int
) -> fx.Node:
    """What ``node`` makes of all positions, made of the reduced hops."""
    adaptive = node.op == "call_module" or node.target in _ADAPTIVE
    keep = adaptive or _axes(node)[1]
    if kind == "max":
        return graph.call_method("amax", (hops, -1, keep))
    total = graph.call_method("sum", (hops, -1, keep))
    return total if kind == "sum" else graph.call_function(operator.truediv, (total, positions))
