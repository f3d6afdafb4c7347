"""Splits an ordinary module into a time-local trunk and a whole-window head (torch.fx)."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from sensorium.streaming import arithmetic, functions, head, layers
from sensorium.streaming.errors import NotStreamableError
from sensorium.streaming.operators import TrunkNode
from sensorium.streaming.tracer import reads_shape, trace
from sensorium.streaming.trunk import Site, Trunk, TrunkValue

_WHOLE_WINDOW_NORMS = (nn.GroupNorm, nn.LocalResponseNorm)
_OUT_OF_PLACE: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}


@dataclass(frozen=True)
class HeadValue:
    """A value that depends on the whole window, and the layer that made it so."""

    node: fx.Node
    origin: str


@dataclass(frozen=True)
class TracedNetwork:
    """A module split in two.

    ``head`` maps the embeddings ``(batch, channels, positions)`` of ``embeddings`` (trunk node
    indices, in argument order) to the output of one window. ``batch`` is fixed: shapes computed in
    ``forward`` are constants. ``source`` is the whole traced module; ``trunk_values`` and
    ``head_nodes`` name its nodes on either side.
    """

    trunk: list[TrunkNode]
    embeddings: list[int]
    head: fx.GraphModule
    head_layers: list[str]
    batch: int
    channels: int
    window: int
    source: fx.GraphModule
    trunk_values: dict[str, TrunkValue]
    head_nodes: frozenset[str]


def trace_network(module: nn.Module, *, window: int, channels: int, batch: int) -> TracedNetwork:
    """Traces ``module`` on (batch, channels, window) and splits it.

    Raises:
        NotStreamableError: a layer, or the way layers are joined, cannot be streamed.
    """
    for name, child in module.named_modules():
        if child.training:
            raise NotStreamableError(
                name or type(module).__name__,
                "is in training mode: batch statistics and dropout change every call",
                "call module.eval() before converting",
            )
    parameter = next(module.parameters(), torch.zeros(1))
    example = torch.zeros(
        batch, channels, window, dtype=parameter.dtype, device=parameter.device
    ).normal_(generator=torch.Generator(parameter.device).manual_seed(0))
    traced = trace(module, example)
    with torch.no_grad():
        return _Splitter(traced, example).split()


class _Splitter:
    def __init__(self, traced: fx.GraphModule, example: Tensor) -> None:
        self.traced = traced
        self.modules = dict(traced.named_modules())
        self.example = example
        self.concrete: dict[fx.Node, Any] = {}
        self.values: dict[fx.Node, Any] = {}
        self.trunk = Trunk()
        self.head = fx.Graph()
        self.embeddings: dict[int, fx.Node] = {}
        self.head_layers: list[str] = []
        self.root: dict[str, Any] = {}
        self.runner = fx.Interpreter(traced)

    def split(self) -> TracedNetwork:
        for node in self.traced.graph.nodes:
            if node.op == "output":
                self._finish(node)
                break
            self.concrete[node] = self._run(node)
            self.values[node] = self._translate(node)
        embeddings = list(self.embeddings)
        batch, channels, window = self.example.shape
        return TracedNetwork(
            self.trunk.nodes,
            embeddings,
            fx.GraphModule(self.root, self.head),
            self.head_layers,
            batch,
            channels,
            window,
            self.traced,
            {n.name: v for n, v in self.values.items() if isinstance(v, TrunkValue)},
            frozenset(n.name for n, v in self.values.items() if isinstance(v, HeadValue)),
        )

    # --- running and naming ---

    def _run(self, node: fx.Node) -> Any:  # noqa: ANN401
        if node.op == "placeholder":
            return node.args[0] if node.args else self.example.clone()
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: self.concrete[n])
        try:
            return getattr(self.runner, node.op)(node.target, args, kwargs)
        except Exception as error:
            problem = f"fails on a window of shape {tuple(self.example.shape)}: {error}"
            raise NotStreamableError(
                self._layer(node), problem, "check channels, window and the layer's settings"
            ) from error

    def _layer(self, node: fx.Node) -> str:
        if node.op == "call_module":
            return f"{node.target} ({type(self.modules[str(node.target)]).__name__})"
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        stack = node.meta.get("nn_module_stack") or {}
        scope = [path for path, _ in stack.values() if path]
        return f"{scope[-1] + '.' if scope else ''}{node.name} ({name or node.target})"

    # --- translating one node ---

    def _translate(self, node: fx.Node) -> Any:  # noqa: ANN401, PLR0911
        if node.op == "placeholder":
            if node.args:
                return None
            if len(self.trunk.nodes):
                problem = f"takes a second input '{node.name}'"
                raise NotStreamableError("forward", problem, "convert a module of one signal")
            return self.trunk.begin(self.example.shape[1], self.example.shape[2])
        inputs = [self.values[n] for n in node.all_input_nodes]
        if not any(_is_signal(value) for value in inputs):
            return None
        if reads_shape(node):
            return None
        site = Site(self._layer(node), self.trunk)
        self._check_in_place(site, node)
        if any(isinstance(value, HeadValue) for value in inputs):
            return self._to_head(site, node)
        result = self._trunk_call(site, node)
        if result is not None:
            self._check_shape(site, node, result)
            return result
        return self._to_head(site, node)

    def _check_in_place(self, site: Site, node: fx.Node) -> None:
        target = node.target
        module = self.modules.get(str(target)) if node.op == "call_module" else None
        in_place = (
            bool(getattr(module, "inplace", False))
            or bool(node.kwargs.get("inplace"))
            or target in _OUT_OF_PLACE
            or (node.op == "call_method" and str(target).endswith("_"))
        )
        if not in_place:
            return
        source: Any = node.args[0]
        while isinstance(source, fx.Node):
            if len(source.users) > 1 or source.op == "placeholder":
                site.refuse(
                    f"changes '{source.name}' in place while it is read elsewhere",
                    "use inplace=False",
                )
            shares = source.op == "call_method" or isinstance(
                self.modules.get(str(source.target)), (nn.Identity, nn.Dropout)
            )
            source = source.args[0] if shares and source.args else None

    def _check_shape(self, site: Site, node: fx.Node, result: Any) -> None:  # noqa: ANN401
        if not isinstance(result, TrunkValue):
            return
        made = site.node(result)
        shape = (
            (made.channels, made.length)
            if result.layout == "BCT"
            else (
                made.length,
                made.channels,
            )
        )
        actual = tuple(self.concrete[node].shape)
        if actual != (self.example.shape[0], *shape):
            site.refuse(
                f"gives shape {actual} where {(self.example.shape[0], *shape)} was expected",
                "report this layer: its settings are not understood",
            )

    def _arguments(self, node: fx.Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        def value(n: fx.Node) -> Any:  # noqa: ANN401
            held = self.values[n]
            return self.concrete[n] if held is None else held

        args: tuple[tuple[Any, ...], dict[str, Any]] = (
            _map_nodes(node.args, value),
            _map_nodes(node.kwargs, value),
        )
        return args

    def _trunk_call(self, site: Site, node: fx.Node) -> Any:  # noqa: ANN401, PLR0911
        args, kwargs = self._arguments(node)
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            if isinstance(module, _WHOLE_WINDOW_NORMS):
                site.refuse(
                    "normalises by statistics of the whole window",
                    "use BatchNorm1d or LayerNorm over channels and retrain",
                )
            for kind, translate in layers.MODULES.items():
                if isinstance(module, kind):
                    return translate(site, module, args[0])
            return None
        target: Any = node.target
        if target in arithmetic.KINDS:
            return arithmetic.binary(site, arithmetic.KINDS[target], args, kwargs)
        if target is operator.getitem:
            if isinstance(args[0], tuple):
                return args[0][args[1]]
            position = arithmetic.one_position(site, args[0], args[1])
            if position is not None:
                return self._select(site, position)
            return arithmetic.index(site, args[0], args[1])
        table: Mapping[Any, Any] = (
            functions.METHODS if node.op == "call_method" else functions.FUNCTIONS
        )
        if target in table:
            return table[target](site, functions.Call(args, kwargs))
        return None

    # --- the head ---

    def _select(self, site: Site, position: TrunkValue) -> HeadValue:
        """One position as (batch, channels)."""
        self.head_layers.append(site.layer)
        embedding = self._embedding(TrunkValue(position.node))
        return HeadValue(self.head.call_method("select", (embedding, 2, 0)), site.layer)

    def _to_head(self, site: Site, node: fx.Node) -> HeadValue:
        module = self.modules.get(str(node.target)) if node.op == "call_module" else None
        origin = next(
            (self.values[n].origin for n in node.all_input_nodes
             if isinstance(self.values[n], HeadValue)), None,
        )  # fmt: skip
        target: Any = module if module is not None else node.target
        if not head.allowed(target):
            name = type(module).__name__ if module is not None else str(node.target)
            if origin is not None:
                site.refuse(
                    f"follows {origin}, which depends on the whole window",
                    "move whole-window statistics behind the last convolution or pooling layer",
                )
            site.refuse(
                f"{name} is neither local in time nor a supported head layer",
                "replace it by convolution, pooling, BatchNorm, an activation, a dense or "
                "recurrent head",
            )
        if isinstance(module, nn.LayerNorm) or target in head.SOFTMAXES:
            self._check_head_axis(site, node)
        self.head_layers.append(site.layer)
        copied = self.head.node_copy(node, self._head_argument)
        copied.target = _OUT_OF_PLACE.get(copied.target, copied.target)
        return HeadValue(copied, origin or site.layer)

    def _check_head_axis(self, site: Site, node: fx.Node) -> None:
        if self.concrete[node].dim() > 2:
            site.refuse(
                f"acts on a tensor of shape {tuple(self.concrete[node].shape)} that still holds "
                "the positions of the window",
                "apply it after pooling or flattening, or over channels in the trunk",
            )

    def _head_argument(self, n: fx.Node) -> Any:  # noqa: ANN401
        held = self.values[n]
        if isinstance(held, HeadValue):
            return held.node
        if isinstance(held, TrunkValue):
            return self._embedding(held)
        if isinstance(held, tuple):
            return tuple(self._embedding(value) for value in held)
        value = self.concrete[n]
        if isinstance(value, Tensor):
            name = f"constant_{len(self.root)}"
            self.root[name] = value
            return self.head.get_attr(name)
        return value

    def _embedding(self, value: TrunkValue) -> fx.Node:
        if value.node not in self.embeddings:
            earlier, made = list(self.embeddings.values()), list(self.head.nodes)
            place: AbstractContextManager[object] = nullcontext()
            if earlier:
                place = self.head.inserting_after(earlier[-1])
            elif made:
                place = self.head.inserting_before(made[0])
            with place:
                self.embeddings[value.node] = self.head.placeholder(f"embedding_{value.node}")
        node = self.embeddings[value.node]
        if value.layout == "BTC":
            return self.head.call_method("transpose", (node, 1, 2))
        return node

    def _finish(self, node: fx.Node) -> None:
        result = node.args[0]
        if not isinstance(result, fx.Node) or self.values[result] is None:
            raise NotStreamableError(
                "output", "forward() does not return one tensor made from the signal",
                "return a single tensor",
            )  # fmt: skip
        self.head.output(self._head_argument(result))
        for target, module in self.modules.items():
            if any(n.op == "call_module" and n.target == target for n in self.head.nodes):
                self.root[target] = module
        for n in self.traced.graph.nodes:
            if n.op == "get_attr":
                self.root.setdefault(str(n.target), self.concrete[n])


def _is_signal(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, (TrunkValue, HeadValue, tuple))


def _map_nodes(value: Any, function: Any) -> Any:  # noqa: ANN401
    if isinstance(value, fx.Node):
        return function(value)
    if isinstance(value, (tuple, list)):
        mapped = [_map_nodes(v, function) for v in value]
        return tuple(mapped) if isinstance(value, tuple) else mapped
    if isinstance(value, dict):
        return {k: _map_nodes(v, function) for k, v in value.items()}
    if isinstance(value, slice):
        parts = (value.start, value.stop, value.step)
        return slice(*(_map_nodes(v, function) for v in parts))
    return value
