"""A small writer of ONNX graphs and the settings of the sessions that run them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sensorium.streaming.operators import Pointwise

_OPSET = 20
_IR_VERSION = 10
_UNARY = {
    "relu": "Relu",
    "gelu": "Gelu",
    "mish": "Mish",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "hardswish": "HardSwish",
    "softplus": "Softplus",
    "abs": "Abs",
    "neg": "Neg",
    "sqrt": "Sqrt",
    "selu": "Selu",
}
_BINARY = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "maximum": "Max",
    "minimum": "Min",
}
_NUMBER = {"add_number": "Add", "mul_number": "Mul", "div_number": "Div"}
_CHANNELS = {"add_channels": "Add", "mul_channels": "Mul"}


class GraphWriter:
    """Collects nodes and constants; values are names, shapes are fixed."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[tuple[str, tuple[int, ...]]] = []
        self.outputs: list[tuple[str, tuple[int, ...]]] = []
        self._shapes: dict[tuple[int, ...], str] = {}
        self._renamed: dict[str, str] = {}

    def node(self, kind: str, inputs: Sequence[str], **settings: Any) -> str:  # noqa: ANN401
        """Appends one node with a single output and returns its name."""
        from onnx import helper

        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **settings))
        return output

    def constant(self, value: npt.NDArray[Any] | Tensor) -> str:
        """A constant; tensors are taken as float32."""
        from onnx import numpy_helper

        if isinstance(value, Tensor):
            value = value.detach().cpu().float().numpy()
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def reshape(self, x: str, shape: tuple[int, ...]) -> str:
        """``x`` in another shape; a shape is stored once."""
        if shape not in self._shapes:
            self._shapes[shape] = self.constant(np.array(shape, dtype=np.int64))
        return self.node("Reshape", [x, self._shapes[shape]])

    def rows(self, x: str, start: int, stop: int) -> str:
        """Rows [start, stop) along the first axis."""
        bounds = [self.constant(np.array([value], dtype=np.int64)) for value in (start, stop, 0)]
        return self.node("Slice", [x, *bounds])

    def columns(self, x: str, start: int, stop: int) -> str:
        """Columns [start, stop) along the second axis."""
        bounds = [self.constant(np.array([value], dtype=np.int64)) for value in (start, stop, 1)]
        return self.node("Slice", [x, *bounds])

    def reduce(self, kind: str, x: str, axis: int) -> str:
        """ReduceMax, ReduceSum or ReduceMean over one axis, which disappears."""
        axes = self.constant(np.array([axis], dtype=np.int64))
        return self.node(kind, [x, axes], keepdims=0)

    def input(self, name: str, shape: tuple[int, ...]) -> str:
        """Declares a float32 input."""
        self.inputs.append((name, shape))
        return name

    def output(self, x: str, name: str, shape: tuple[int, ...]) -> None:
        """Declares ``x`` as the output called ``name``."""
        made = any(x in node.output for node in self.nodes)
        if not made or x in self._renamed:
            x = self.node("Identity", [x])
        self._renamed[x] = name
        self.outputs.append((name, shape))

    def session(self) -> Any:  # noqa: ANN401
        """An ONNX Runtime session with one thread."""
        import onnxruntime as ort
        from onnx import TensorProto, helper

        def info(name: str, shape: tuple[int, ...]) -> Any:  # noqa: ANN401
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        for node in self.nodes:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    names[i] = self._renamed.get(name, name)
        graph = helper.make_graph(
            self.nodes,
            "hop",
            [info(*value) for value in self.inputs],
            [info(*value) for value in self.outputs],
            self.constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
        )
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )


def bind_memory(bind: Callable[..., None], name: str, memory: Tensor) -> None:
    """Binds contiguous float32 memory on the CPU with ``bind_input`` or ``bind_output``."""
    bind(name, "cpu", 0, np.float32, tuple(memory.shape), memory.data_ptr())


def write_pointwise(graph: GraphWriter, op: Pointwise, xs: Sequence[str]) -> str:  # noqa: PLR0911, PLR0912
    """Writes a pointwise operator on row matrices (rows, channels).

    Raises:
        NotImplementedError: the kind has no ONNX form here.
    """
    kind, numbers, x = op.kind, op.numbers, xs[0]

    def number(value: float) -> str:
        return graph.constant(np.array(value, dtype=np.float32))

    if kind in _UNARY:
        return graph.node(_UNARY[kind], [x])
    if kind in _BINARY:
        return graph.node(_BINARY[kind], list(xs))
    if kind in _NUMBER:
        return graph.node(_NUMBER[kind], [x, number(numbers[0])])
    if kind in _CHANNELS:
        return graph.node(_CHANNELS[kind], [x, graph.constant(op.tensors[0])])
    if kind == "number_sub":
        return graph.node("Sub", [number(numbers[0]), x])
    if kind == "cat":
        return graph.node("Concat", list(xs), axis=1)
    if kind == "channels":
        return graph.columns(x, int(numbers[0]), int(numbers[1]))
    if kind == "affine":
        scaled = graph.node("Mul", [x, graph.constant(op.tensors[0])])
        return graph.node("Add", [scaled, graph.constant(op.tensors[1])])
    if kind == "prelu":
        return graph.node("PRelu", [x, graph.constant(op.tensors[0])])
    if kind in ("leaky_relu", "elu"):
        name = "LeakyRelu" if kind == "leaky_relu" else "Elu"
        return graph.node(name, [x], alpha=numbers[0])
    if kind in ("clamp", "relu6"):
        low, high = numbers if numbers else (0.0, 6.0)
        return graph.node("Clip", [x, number(low), number(high)])
    if kind == "gelu_tanh":
        return graph.node("Gelu", [x], approximate="tanh")
    if kind == "silu":
        return graph.node("Mul", [x, graph.node("Sigmoid", [x])])
    if kind == "hardsigmoid":
        return graph.node("HardSigmoid", [x], alpha=1.0 / 6.0, beta=0.5)
    if kind in ("softmax", "log_softmax"):
        return graph.node("Softmax" if kind == "softmax" else "LogSoftmax", [x], axis=-1)
    if kind == "layer_norm" and op.tensors:
        weights = [graph.constant(tensor) for tensor in op.tensors]
        return graph.node("LayerNormalization", [x, *weights], axis=-1, epsilon=numbers[0])
    raise NotImplementedError(f"no ONNX form of {kind}")
