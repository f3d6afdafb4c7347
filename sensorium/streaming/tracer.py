"""torch.fx tracing that knows the shape of the window."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, fx, nn

from sensorium.streaming.errors import NotStreamableError

CONSTANT_ATTRIBUTES = {"shape", "ndim", "dtype", "device", "requires_grad"}
CONSTANT_METHODS = {"size", "dim", "ndimension", "numel", "type", "stride"}


def trace(module: nn.Module, example: Tensor) -> fx.GraphModule:
    """Traces ``module``; conditions on shapes are decided as they are for ``example``.

    Parameters of ``forward`` with a default keep it.

    Raises:
        NotStreamableError: ``forward`` depends on values of the signal, or cannot be traced.
    """
    tracer = _ShapeTracer(example)
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    try:
        graph = tracer.trace(module, concrete_args=defaults or None)
    except Exception as error:
        raise NotStreamableError(
            type(module).__name__,
            f"torch.fx cannot trace forward(): {error}",
            "remove control flow and Python arithmetic that depend on tensor values",
        ) from error
    return fx.GraphModule(module, graph)


def reads_shape(node: fx.Node) -> bool:
    """Whether a traced call asks for a property that is the same for every window."""
    if node.op == "call_method":
        return node.target in CONSTANT_METHODS
    if node.target is getattr:
        return node.args[1] in CONSTANT_ATTRIBUTES
    return node.target is len


class _ShapeTracer(fx.Tracer):
    def __init__(self, example: Tensor) -> None:
        super().__init__()
        self.example = example
        self.values: dict[fx.Node, Any] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        containers = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
        return type(m).__module__.startswith("torch.nn") and not isinstance(m, containers)

    def to_bool(self, obj: fx.Proxy) -> bool:
        if not _from_shapes(obj.node):
            return super().to_bool(obj)
        with torch.no_grad():
            return bool(self._evaluate(obj.node))

    def _evaluate(self, node: fx.Node) -> Any:  # noqa: ANN401
        if node not in self.values:
            args, kwargs = fx.map_arg((node.args, node.kwargs), self._evaluate)
            self.values[node] = self._call(node, args, kwargs)
        return self.values[node]

    def _call(self, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
        target: Any = node.target
        if node.op == "placeholder":
            return self.example
        if node.op == "get_attr":
            value: Any = self.root
            for part in str(target).split("."):
                value = getattr(value, part)
            return value
        if node.op == "call_module":
            return self.root.get_submodule(str(target))(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(target))(*args[1:], **kwargs)
        return target(*args, **kwargs)


def _from_shapes(node: fx.Node) -> bool:
    """Whether a value follows from shapes alone."""
    if reads_shape(node):
        return True
    inputs = node.all_input_nodes
    return node.op == "call_function" and bool(inputs) and all(_from_shapes(n) for n in inputs)
