"""Row programs as ONNX nodes."""

from __future__ import annotations

from sensorium.streaming.onnx_graph import GraphWriter, write_pointwise
from sensorium.streaming.row_operations import (
    Apply,
    Concat,
    Constant,
    Dense,
    Gather,
    Load,
    Operation,
    Program,
    Reduce,
    Rows,
    Windows,
)


def write_program(graph: GraphWriter, program: Program) -> list[str]:
    """Writes every operation; a Load or Windows becomes a graph input named by its number.

    Raises:
        NotImplementedError: a pointwise function has no ONNX form.
    """
    names: list[str] = []
    for number in range(len(program.operations)):
        names.append(_write(graph, program, number, names))
    return names


def _write(graph: GraphWriter, program: Program, number: int, names: list[str]) -> str:  # noqa: PLR0911
    op: Operation = program.operations[number]
    if isinstance(op, Load):
        return graph.input(f"load_{number}", (program.counts[number], program.widths[number]))
    if isinstance(op, Windows):
        return graph.input(f"windows_{number}", (program.counts[number], program.widths[number]))
    if isinstance(op, Constant):
        return graph.constant(op.rows)
    if isinstance(op, Rows):
        return graph.rows(names[op.x], op.start, op.stop)
    if isinstance(op, Concat):
        return graph.node("Concat", [names[x] for x in op.xs], axis=0)
    if isinstance(op, Gather):
        return graph.node("Gather", [names[op.x], graph.constant(op.index)], axis=0)
    if isinstance(op, Dense):
        return _dense(graph, program, number, op, names[op.x])
    if isinstance(op, Reduce):
        return _reduce(graph, program, number, op, names[op.x])
    if isinstance(op, Apply):
        return write_pointwise(graph, op.op, [names[x] for x in op.xs])
    raise TypeError(type(op).__name__)


def _dense(graph: GraphWriter, program: Program, number: int, op: Dense, x: str) -> str:
    rows, out = program.counts[number], program.widths[number]
    width = program.widths[op.x]
    bias = [] if op.bias is None else [graph.constant(op.bias)]
    if op.depthwise:
        x = graph.reshape(x, (rows // program.batch, op.taps, program.batch, width))
        product = graph.node("Mul", [x, graph.constant(op.weight[:, None, :])])
        summed = graph.reshape(graph.reduce("ReduceSum", product, 1), (rows, out))
        return graph.node("Add", [summed, *bias]) if bias else summed
    if op.groups == 1:
        x = graph.reshape(x, (rows, op.taps * width)) if op.taps > 1 else x
        return graph.node("Gemm", [x, graph.constant(op.weight[0]), *bias])
    per_group = width // op.groups
    x = graph.reshape(x, (rows, op.taps, op.groups, per_group))
    x = graph.node("Transpose", [x], perm=[2, 0, 1, 3])
    x = graph.reshape(x, (op.groups, rows, op.taps * per_group))
    product = graph.node("MatMul", [x, graph.constant(op.weight)])
    product = graph.reshape(graph.node("Transpose", [product], perm=[1, 0, 2]), (rows, out))
    return graph.node("Add", [product, *bias]) if bias else product


def _reduce(graph: GraphWriter, program: Program, number: int, op: Reduce, x: str) -> str:
    rows, width = program.counts[number], program.widths[number]
    x = graph.reshape(x, (op.rows, op.taps, program.batch * width))
    kind = "ReduceMax" if op.divisor is None else "ReduceSum"
    reduced = graph.reduce(kind, x, 1)
    if program.batch > 1:
        reduced = graph.reshape(reduced, (rows, width))
    if op.divisor is None or bool((op.divisor == 1).all()):
        return reduced
    return graph.node("Div", [reduced, graph.constant(op.divisor)])
