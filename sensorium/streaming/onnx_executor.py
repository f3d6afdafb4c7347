"""Runs a program with ONNX Runtime; the state stays outside the graph, in the rings' memory.

Every session is made once. Inputs and outputs are bound to ring memory by pointer, one binding per
phase, so that a hop neither copies state in nor out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sensorium.streaming.lookahead import Lookahead, Split
from sensorium.streaming.onnx_graph import GraphWriter, bind_memory
from sensorium.streaming.onnx_head import Embedded, HeadWriter
from sensorium.streaming.onnx_program import write_program
from sensorium.streaming.rings import Rings
from sensorium.streaming.row_operations import Load, Program, Windows
from sensorium.streaming.torch_executor import signal_windows
from sensorium.streaming.trace import TracedNetwork


class OnnxExecutor:
    """One hop in one ONNX Runtime call (plus torch for heads that ONNX nodes cannot express).

    Args:
        program: the hop; with ``split`` its embedding is ``split.fresh_read()``.
        rings: the stream's memory, float32 on CPU.
        network: gives the head.
        split: what the head multiplies ahead, or None.
    """

    def __init__(
        self, program: Program, rings: Rings, network: TracedNetwork, split: Split | None = None
    ) -> None:
        self.rings, self.network, self.split = rings, network, split
        self.lookahead = None if split is None else Lookahead(split, rings)
        graph = GraphWriter()
        values = write_program(graph, program)
        self.outputs: dict[str, Tensor] = {}
        embeddings = [(values[i], program.counts[i], program.widths[i]) for i in program.embeddings]
        self.torch_head = not self._write_head(graph, embeddings)
        self.name = "onnxruntime" + (" + torch head" if self.torch_head else "")
        for node, value in program.stores.items():
            shape = (program.counts[value], program.widths[value])
            graph.output(values[value], f"store_{node}", shape)
        self.windows: list[tuple[Tensor, list[Tensor]]] = []
        self.inputs = self._copied_inputs(program)
        self.session = graph.session()
        self.bindings = [self._bind(program, phase) for phase in range(rings.phases)]

    def run(self) -> Tensor:
        """Computes one hop, stores its new positions and returns the row, (1, batch, ...)."""
        if self.lookahead is not None:
            self.lookahead.run()
        for held, views in self.windows:
            held.copy_(views[self.rings.phase])
        self.session.run_with_iobinding(self.bindings[self.rings.phase])
        if self.lookahead is not None and self.rings.phase == self.rings.phases - 1:
            self.lookahead.wrap()
        if not self.torch_head:
            return self.outputs["output"].clone()
        with torch.no_grad():
            result: Tensor = self.network.head(*self._embeddings())
        return result.unsqueeze(0).clone()

    def start(self) -> None:
        """Prepares the first hop after the rings were filled."""
        if self.lookahead is not None:
            self.lookahead.start()

    def live(self) -> dict[str, Tensor]:
        """State besides the rings."""
        return {} if self.lookahead is None else {"lookahead": self.lookahead.live()}

    def restore(self, content: Mapping[str, Tensor]) -> None:
        """Continues from ``live``, after the rings were restored."""
        if self.lookahead is not None:
            self.lookahead.restore(content["lookahead"])

    def _embeddings(self) -> list[Tensor]:
        batch = self.rings.batch
        rows = [self.outputs[f"embedding_{i}"] for i in range(len(self.network.embeddings))]
        return [x.view(-1, batch, x.shape[1]).permute(1, 2, 0).contiguous() for x in rows]

    def _write_head(self, graph: GraphWriter, embeddings: list[tuple[str, int, int]]) -> bool:
        batch = self.network.batch
        writer = HeadWriter(graph, self.network.head, batch, self.split)
        before = len(graph.nodes)
        lengths = [self.network.trunk[i].length for i in self.network.embeddings]
        try:
            values = [
                Embedded(name, length, width)
                for (name, _, width), length in zip(embeddings, lengths, strict=True)
            ]
            name, shape = writer.write(values)
        except NotImplementedError:
            if self.split is not None:
                raise
            del graph.nodes[before:]
            for i, (value, rows, width) in enumerate(embeddings):
                graph.output(value, f"embedding_{i}", (rows, width))
                self.outputs[f"embedding_{i}"] = torch.zeros(rows, width)
            return False
        graph.output(name, "output", shape)
        self.outputs["output"] = torch.zeros(1, *shape)
        return True

    def _copied_inputs(self, program: Program) -> dict[str, Tensor]:
        """Inputs that overlap in the ring: one strided copy each, cheaper than a gather."""
        inputs: dict[str, Tensor] = {}
        for number, op in enumerate(program.operations):
            if isinstance(op, Windows):
                held = torch.zeros(program.counts[number], program.widths[number])
                inputs[f"windows_{number}"] = held
                phases = range(self.rings.phases)
                views = [signal_windows(self.rings, op, phase) for phase in phases]
                self.windows.append((held, views))
        return inputs

    def _bind(self, program: Program, phase: int) -> Any:  # noqa: ANN401
        binding = self.session.io_binding()
        for number, op in enumerate(program.operations):
            if isinstance(op, Load):
                view = self.rings.view(op.node, op.start, op.stop, phase)
                bind_memory(binding.bind_input, f"load_{number}", view)
        for name, held in self.inputs.items():
            bind_memory(binding.bind_input, name, held)
        for node in program.stores:
            ring = self.rings.specs[node]
            view = self.rings.view(node, ring.end, ring.end + ring.step, phase)
            bind_memory(binding.bind_output, f"store_{node}", view)
        if self.lookahead is not None:
            bind_memory(binding.bind_input, "partial", self.lookahead.partial(phase))
        for name, held in self.outputs.items():
            # The graph knows nothing of the axis of rows.
            bind_memory(binding.bind_output, name, held[0] if name == "output" else held)
        return binding
