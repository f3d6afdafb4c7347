"""Contiguous time-major memory for what earlier hops computed.

A ring holds ``length`` positions and has room for ``phases`` more hops. Every hop appends behind
the newest position and drops the oldest by moving a pointer; when the room is used up the live
part is copied back to the front. Reads and writes are therefore plain pointers, without wrapping,
and there are only ``phases`` different ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sensorium.streaming.plan import Plan, Ring

_MIN_PHASES = 4
_MAX_PHASES = 64


class Rings:
    """The memory of one stream object (all its batch).

    Args:
        plan: which rings there are.
        batch: independent streams; row ``p * batch + b`` is position p of stream b.
        like: gives dtype and device.
        multiple: the number of phases is a multiple of this.
    """

    def __init__(self, plan: Plan, batch: int, like: Tensor, multiple: int = 1) -> None:
        self.specs: dict[int, Ring] = plan.rings
        self.batch = batch
        self.phase = 0
        longest = max(-(-ring.length // ring.step) for ring in plan.rings.values())
        wanted = min(_MAX_PHASES, max(_MIN_PHASES, longest))
        self.phases = -(-wanted // multiple) * multiple
        self.memory: dict[int, Tensor] = {
            node: torch.zeros(
                (ring.length + self.phases * ring.step) * batch,
                plan.nodes[node].channels,
                dtype=like.dtype,
                device=like.device,
            )
            for node, ring in plan.rings.items()
        }

        self._moves: list[tuple[Tensor, Tensor, bool]] = []
        for node, ring in plan.rings.items():
            rows, moved = ring.length * batch, self.phases * ring.step * batch
            memory = self.memory[node]
            if rows:
                self._moves.append((memory[:rows], memory[moved:], moved < rows))

    @property
    def state_bytes(self) -> int:
        """Bytes that ``live`` copies: the state of the stream, without the spare room."""
        return sum(
            ring.length * self.batch * self.memory[node].shape[1] * self.memory[node].element_size()
            for node, ring in self.specs.items()
        )

    def view(self, node: int, start: int, stop: int, phase: int | None = None) -> Tensor:
        """Rows of positions [start, stop), in the positions of the hop being computed."""
        ring = self.specs[node]
        base = (self.phase if phase is None else phase) * ring.step - ring.first
        return self.memory[node][(base + start) * self.batch : (base + stop) * self.batch]

    def advance(self) -> None:
        """Ends a hop: its new positions become old ones."""
        self.phase += 1
        if self.phase < self.phases:
            return
        for front, live, overlap in self._moves:
            front.copy_(live.clone() if overlap else live)
        self.phase = 0

    def fill(self, values: list[Tensor], hops: int) -> None:
        """Starts from values (batch, channels, positions) known before hop number ``hops``."""
        self.phase = 0
        for node, ring in self.specs.items():
            first, end = ring.first + hops * ring.step, ring.end + hops * ring.step
            rows = values[node][..., first:end].permute(2, 0, 1)
            held = self.memory[node][: ring.length * self.batch]
            held.copy_(rows.reshape(held.shape))

    def live(self) -> dict[str, Tensor]:
        """A copy of every ring's content, named by ring, and of the phase."""
        content = {
            f"ring_{node}": self.view(node, ring.first, ring.end).clone()
            for node, ring in self.specs.items()
        }
        return {"phase": torch.tensor(self.phase), **content}

    def restore(self, content: Mapping[str, Tensor]) -> None:
        """Loads what ``live`` returned.

        Raises:
            ValueError: a ring is missing or has another shape.
        """
        for node, ring in self.specs.items():
            name, rows = f"ring_{node}", ring.length * self.batch
            shape = (rows, self.memory[node].shape[1])
            held = content.get(name)
            if held is None or tuple(held.shape) != shape:
                found = "nothing" if held is None else f"shape {tuple(held.shape)}"
                raise ValueError(
                    f"state: {name} needs shape {shape}, found {found}; load a state that the same "
                    "network, window, hop, mode, executor and batch saved"
                )
        phase = int(content.get("phase", torch.tensor(-1)))
        if not 0 <= phase < self.phases:
            raise ValueError(f"state: phase is {phase}, expected 0 .. {self.phases - 1}")
        self.phase = phase
        for node, ring in self.specs.items():
            self.view(node, ring.first, ring.end).copy_(content[f"ring_{node}"])
