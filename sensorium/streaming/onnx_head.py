"""Heads as ONNX nodes: dense, pooled and pointwise ones. Others run in torch."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812

from sensorium.streaming.head import POINTWISE_MODULES
from sensorium.streaming.lookahead import Split
from sensorium.streaming.onnx_graph import GraphWriter, write_pointwise
from sensorium.streaming.operators import Pointwise


@dataclass(frozen=True)
class Embedded:
    """An embedding as rows: logically (batch, channels, positions)."""

    name: str
    positions: int
    channels: int


@dataclass(frozen=True)
class Flat:
    """A flattened embedding, time-major: (batch, positions * channels)."""

    name: str
    positions: int
    channels: int


@dataclass(frozen=True)
class Vector:
    """(batch, width), or (batch, width, 1) where ``kept``."""

    name: str
    width: int
    kept: bool = False


Value = Embedded | Flat | Vector
_MEANS = {torch.mean: "ReduceMean", "mean": "ReduceMean", torch.amax: "ReduceMax"}
_POOLS = {**_MEANS, "amax": "ReduceMax", torch.sum: "ReduceSum", "sum": "ReduceSum"}
_FLATTENS = {torch.flatten, "flatten", "view", "reshape", torch.reshape, "squeeze", torch.squeeze}
_ACTIVATIONS: dict[Any, str] = {
    F.relu: "relu",
    torch.relu: "relu",
    "relu": "relu",
    torch.sigmoid: "sigmoid",
    F.sigmoid: "sigmoid",
    "sigmoid": "sigmoid",
    torch.tanh: "tanh",
    "tanh": "tanh",
    F.gelu: "gelu",
    F.silu: "silu",
}


class HeadWriter:
    """Writes a head graph; ``write`` raises NotImplementedError for what only torch runs.

    With ``split`` the first Linear multiplies the fresh positions only and adds the graph input
    ``partial``.
    """

    def __init__(
        self, graph: GraphWriter, head: fx.GraphModule, batch: int, split: Split | None = None
    ) -> None:
        self.graph, self.head, self.batch, self.split = graph, head, batch, split

    def write(self, embeddings: Sequence[Embedded]) -> tuple[str, tuple[int, ...]]:
        """Returns the name and the shape of the output."""
        values: dict[fx.Node, Value] = {}
        waiting = iter(embeddings)
        for node in self.head.graph.nodes:
            if node.op == "placeholder":
                values[node] = next(waiting)
            elif node.op == "output":
                return self._output(values[node.args[0]])
            else:
                values[node] = self._node(node, values)
        raise NotImplementedError("head without output")

    def _output(self, value: Value) -> tuple[str, tuple[int, ...]]:
        if isinstance(value, Vector):
            shape = (self.batch, value.width) + ((1,) if value.kept else ())
            name = self.graph.reshape(value.name, shape) if value.kept else value.name
            return name, shape
        if isinstance(value, Embedded):
            split = self.graph.reshape(value.name, (value.positions, self.batch, value.channels))
            shape = (self.batch, value.channels, value.positions)
            return self.graph.node("Transpose", [split], perm=[1, 2, 0]), shape
        raise NotImplementedError("flattened output")

    def _node(self, node: fx.Node, values: dict[fx.Node, Value]) -> Value:
        if node.op == "call_module":
            module = self.head.get_submodule(str(node.target))
            return self._module(module, values[node.args[0]])  # type: ignore[index]
        if node.op not in ("call_function", "call_method"):
            raise NotImplementedError(node.op)
        target: Any = node.target
        x = values.get(node.args[0])  # type: ignore[arg-type]
        if x is None:
            raise NotImplementedError(str(target))
        if target is F.dropout and node.kwargs.get("training", True) is False:
            return x
        if target in _ACTIVATIONS and not node.kwargs and len(node.args) == 1:
            return self._pointwise(Pointwise(_ACTIVATIONS[target]), x)
        if target in _POOLS:
            return self._pool(_POOLS[target], node, x)
        return self._arithmetic_or_shape(node, x)

    def _arithmetic_or_shape(self, node: fx.Node, x: Value) -> Value:
        target: Any = node.target
        if target is operator.truediv and isinstance(node.args[1], (int, float)):
            return self._pointwise(Pointwise("div_number", (float(node.args[1]),)), x)
        if target in _FLATTENS:
            return self._flatten(node, x)
        if target == "select" and isinstance(x, Embedded) and x.positions == 1:
            return Vector(x.name, x.channels)
        raise NotImplementedError(str(target))

    def _module(self, m: nn.Module, x: Value) -> Value:  # noqa: PLR0911
        graph = self.graph
        if isinstance(m, (nn.Identity, nn.Dropout)):
            return x
        if isinstance(m, nn.Flatten) and (m.start_dim, m.end_dim) == (1, -1):
            return self._flat(x)
        if isinstance(m, nn.Linear) and not isinstance(x, Embedded):
            return self._linear(m, x)
        if isinstance(m, nn.AdaptiveAvgPool1d) and m.output_size in (1, (1,)):
            return self._over_time("ReduceMean", x, keep=True)
        if isinstance(m, nn.AdaptiveMaxPool1d) and m.output_size in (1, (1,)):
            return self._over_time("ReduceMax", x, keep=True)
        if isinstance(x, Vector) and not x.kept:
            if isinstance(m, nn.BatchNorm1d) and m.running_var is not None:
                return Vector(_batch_norm(graph, m, x.name), x.width)
            if isinstance(m, nn.LayerNorm) and m.weight is not None and m.bias is not None:
                names = [graph.constant(m.weight), graph.constant(m.bias)]
                norm = graph.node("LayerNormalization", [x.name, *names], epsilon=m.eps)
                return Vector(norm, x.width)
            if isinstance(m, nn.Softmax) and m.dim in (1, -1):
                return Vector(graph.node("Softmax", [x.name], axis=1), x.width)
        for kind, spec in _MODULE_KINDS.items():
            if isinstance(m, kind) and isinstance(m, POINTWISE_MODULES):
                return self._pointwise(spec(m), x)
        raise NotImplementedError(type(m).__name__)

    def _pointwise(self, op: Pointwise, x: Value) -> Value:
        name = write_pointwise(self.graph, op, [x.name])
        if isinstance(x, Vector):
            return Vector(name, x.width, x.kept)
        return type(x)(name, x.positions, x.channels)

    def _flat(self, x: Value) -> Value:
        if isinstance(x, Vector):
            return Vector(x.name, x.width)
        if isinstance(x, Flat):
            return x
        n, c, b = x.positions, x.channels, self.batch
        name = x.name
        if self.split is not None:
            return Flat(name, n, c)
        if b > 1:
            split = self.graph.reshape(name, (n, b, c))
            name = self.graph.node("Transpose", [split], perm=[1, 0, 2])
        return Flat(self.graph.reshape(name, (b, n * c)), n, c)

    def _flatten(self, node: fx.Node, x: Value) -> Value:
        args = node.args[1:]
        if node.target in ("squeeze", torch.squeeze):
            if isinstance(x, Vector) and x.kept and args in ((-1,), (2,)):
                return Vector(x.name, x.width)
        elif node.target in ("flatten", torch.flatten):
            start = args[0] if args else node.kwargs.get("start_dim")
            if start == 1 and len(args) <= 1 and "end_dim" not in node.kwargs:
                return self._flat(x)
        else:
            shape = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
            if len(shape) == 2 and shape[0] in (self.batch, -1) and shape[0] != shape[1]:
                width = x.width if isinstance(x, Vector) else x.positions * x.channels
                if shape[1] in (-1, width):
                    return self._flat(x)
        raise NotImplementedError(str(node.target))

    def _pool(self, kind: str, node: fx.Node, x: Value) -> Value:
        given = [*node.args[1:], *node.kwargs.values()]
        keep = node.kwargs.get("keepdim", given[1] if len(node.args) > 2 else False)
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        dims = list(dim) if isinstance(dim, (tuple, list)) else [dim]
        if dims not in ([-1], [2]):
            raise NotImplementedError(f"reduction over {dims}")
        return self._over_time(kind, x, keep=bool(keep))

    def _over_time(self, kind: str, x: Value, *, keep: bool) -> Value:
        if not isinstance(x, Embedded):
            raise NotImplementedError("reduction of a vector")
        if self.batch == 1:
            pooled = self.graph.reduce(kind, x.name, 0)
            return Vector(self.graph.reshape(pooled, (1, x.channels)), x.channels, keep)
        split = self.graph.reshape(x.name, (x.positions, self.batch, x.channels))
        return Vector(self.graph.reduce(kind, split, 0), x.channels, keep)

    def _linear(self, m: nn.Linear, x: Flat | Vector) -> Value:
        weight = m.weight.detach()
        if isinstance(x, Flat) and self.split is not None and m is self.split.linear:
            return self._split_linear(self.split, x)
        if isinstance(x, Flat):
            weight = time_major(weight, x)
        elif x.kept:
            raise NotImplementedError("Linear over a kept axis")
        bias = [] if m.bias is None else [self.graph.constant(m.bias)]
        name = self.graph.node("Gemm", [x.name, self.graph.constant(weight.t()), *bias])
        return Vector(name, m.out_features)

    def _split_linear(self, split: Split, x: Flat) -> Value:
        out = split.linear.out_features
        fresh = self.graph.reshape(x.name, (1, len(split.fresh) * x.channels))
        weight = self.graph.constant(split.weight()[split.fresh].reshape(-1, out))
        partial = self.graph.input("partial", (1, out))
        return Vector(self.graph.node("Gemm", [fresh, weight, partial]), out)


def time_major(weight: Tensor, x: Flat) -> Tensor:
    """Reorders the columns of a Linear from (channels, positions) to (positions, channels)."""
    split = weight.reshape(-1, x.channels, x.positions)
    return split.transpose(1, 2).reshape(weight.shape[0], -1)


def _batch_norm(graph: GraphWriter, m: nn.BatchNorm1d, x: str) -> str:
    if m.running_var is None or m.running_mean is None:
        raise NotImplementedError("BatchNorm without running statistics")
    scale = 1.0 / torch.sqrt(m.running_var + m.eps)
    scale = scale if m.weight is None else scale * m.weight
    shift = -m.running_mean * scale
    shift = shift if m.bias is None else shift + m.bias
    return graph.node("Add", [graph.node("Mul", [x, graph.constant(scale)]), graph.constant(shift)])


_MODULE_KINDS: dict[type[nn.Module], Callable[[Any], Pointwise]] = {
    nn.ReLU6: lambda m: Pointwise("relu6"),
    nn.ReLU: lambda m: Pointwise("relu"),
    nn.LeakyReLU: lambda m: Pointwise("leaky_relu", (m.negative_slope,)),
    nn.ELU: lambda m: Pointwise("elu", (m.alpha,)),
    nn.GELU: lambda m: Pointwise("gelu_tanh" if m.approximate == "tanh" else "gelu"),
    nn.SiLU: lambda m: Pointwise("silu"),
    nn.Sigmoid: lambda m: Pointwise("sigmoid"),
    nn.Tanh: lambda m: Pointwise("tanh"),
    nn.Hardswish: lambda m: Pointwise("hardswish"),
}
