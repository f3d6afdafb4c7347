"""The stream object: push samples, get one output row per completed window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.streaming.evaluate import evaluate_trunk
from sensorium.streaming.geometry import Timeline
from sensorium.streaming.plan import Plan
from sensorium.streaming.report import StreamReport
from sensorium.streaming.rings import Rings
from sensorium.streaming.trace import TracedNetwork

Samples = Tensor | npt.NDArray[np.floating]


class Executor(Protocol):
    """Computes one hop from the rings."""

    name: str

    def run(self) -> Tensor:
        """Returns the newest window's row (1, batch, ...) and stores the hop's new positions."""

    def start(self) -> None:
        """Prepares the first hop after the rings were filled."""

    def live(self) -> dict[str, Tensor]:
        """State besides the rings."""

    def restore(self, content: Mapping[str, Tensor]) -> None:
        """Continues from ``live``, after the rings were restored."""


@dataclass(frozen=True)
class Stepper:
    """A plan, its memory and the executor that runs it."""

    plan: Plan
    rings: Rings
    executor: Executor


class SignalStream:
    """A converted network. Made by ``sensorium.streaming.convert``.

    Attributes:
        report: costs, receptive field, padding share, executors, self-check.
    """

    def __init__(
        self, network: TracedNetwork, stepper: Stepper, like: Tensor, report: StreamReport
    ) -> None:
        self._network = network
        self._stepper = stepper
        self._like = like
        self.report = report
        self._pending: list[Tensor] = []
        self._received = 0
        self._started = False
        self._chunk_shape = torch.Size((network.batch, network.channels, stepper.plan.timeline.hop))
        rings, signal = stepper.rings, stepper.rings.specs[0]
        shape = (signal.step, network.batch, network.channels)
        self._new_samples = [
            rings.view(0, signal.end, signal.end + signal.step, phase).view(shape).permute(1, 2, 0)
            for phase in range(rings.phases)
        ]

    @property
    def timeline(self) -> Timeline:
        """When rows appear and which samples they describe."""
        return self._plan.timeline

    @property
    def _plan(self) -> Plan:
        return self._stepper.plan

    @property
    def delay(self) -> int:
        """Samples between the end of the described window and the newest sample pushed."""
        return self.timeline.delay

    @property
    def samples_received(self) -> int:
        """Samples pushed since the last reset."""
        return self._received

    def push(self, chunk: Samples) -> Tensor:
        """Takes the next samples.

        Args:
            chunk: (batch, channels, k * hop), k >= 1, float tensor or array.

        Returns:
            (m, batch, ...): one row per window completed by this chunk, oldest first; m = 0 until
            the first window is full. Row r since the reset describes the samples
            [r * hop + s, r * hop + s + window) where s = ``timeline.first_window_start``, 0 unless
            mode "stream" has to wait for samples on the right.

        Raises:
            ValueError: wrong shape, or not a whole number of hops.
        """
        # The common case, one hop to a running stream, is kept free of everything avoidable: at
        # 10 000 hops per second a microsecond of Python counts.
        if isinstance(chunk, Tensor):
            samples = chunk
        else:
            array = isinstance(chunk, np.ndarray)
            samples = torch.from_numpy(chunk) if array else torch.as_tensor(chunk)
        if samples.requires_grad:
            samples = samples.detach()
        if samples.dtype != self._like.dtype or samples.device != self._like.device:
            samples = samples.to(self._like)
        if self._started and samples.shape == self._chunk_shape:
            self._received += self._chunk_shape[2]
            return self._step(samples)
        batch, channels, hop = self._chunk_shape
        if samples.dim() != 3 or samples.shape[:2] != (batch, channels):
            raise ValueError(
                f"push: chunk has shape {tuple(samples.shape)}, expected (batch {batch}, channels "
                f"{channels}, k * {hop}); convert with the batch and channels you push"
            )
        if samples.shape[2] == 0 or samples.shape[2] % hop:
            below = samples.shape[2] - samples.shape[2] % hop
            raise ValueError(
                f"push: {samples.shape[2]} samples are not a whole number of hops of {hop}; push "
                f"{below or hop} or {below + hop} and keep the rest for the next push"
            )
        rows: list[Tensor] = []
        for part in torch.split(samples, hop, dim=2):
            row = self._hop(part)
            if row is not None:
                rows.append(row)
        return torch.cat(rows) if rows else self._like.new_zeros(0, *self.report.output_shape)

    def reset(self) -> None:
        """Forgets every sample; the next row needs a full window again."""
        self._pending, self._received, self._started = [], 0, False

    def state(self) -> dict[str, Tensor]:
        """A copy of everything the next row depends on, as named tensors (safetensors-ready)."""
        state = {"received": torch.tensor(self._received)}
        if self._started:
            state.update(self._stepper.rings.live())
            state.update(self._stepper.executor.live())
        elif self._pending:
            state["pending"] = torch.cat(self._pending, dim=2)
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continues from ``state``.

        Raises:
            ValueError: the state belongs to another network, window, hop, mode or batch.
        """
        if "received" not in state:
            raise ValueError("load_state: 'received' is missing; pass what state() returned")
        received = int(state["received"])
        started = received >= self._settled_samples
        pending: list[Tensor] = []
        if started:
            self._stepper.rings.restore(state)
            self._stepper.executor.restore(state)
        elif received:
            held = state.get("pending")
            shape = (self._network.batch, self._network.channels, received)
            if held is None or tuple(held.shape) != shape:
                raise ValueError(f"load_state: 'pending' must have shape {shape}")
            pending = [held.to(self._like)]
        self._received, self._started, self._pending = received, started, pending

    @property
    def _settled_samples(self) -> int:
        """Samples after which hops are stepped instead of computed in one piece."""
        return self.timeline.first_row_samples + (self._plan.settling - 1) * self.timeline.hop

    def _hop(self, samples: Tensor) -> Tensor | None:
        self._received += samples.shape[2]
        if self._started:
            return self._step(samples)
        self._pending.append(samples.clone())
        if self._received < self.timeline.first_row_samples:
            return None
        return self._start(torch.cat(self._pending, dim=2))

    @torch.no_grad()
    def _start(self, signal: Tensor) -> Tensor:
        """A row computed in one piece; the last of these fills the rings."""
        network = self._network
        windowed = self._plan.mode == "exact_window"
        first = signal[..., : self.timeline.window] if windowed else signal
        values = evaluate_trunk(network.trunk, first, open_end=not windowed)
        at = self._received - self.timeline.delay - self.timeline.window
        embeddings = []
        for index in network.embeddings:
            node = network.trunk[index]
            start = 0 if windowed else int(at / node.stride)
            embeddings.append(values[index][..., start : start + node.length].contiguous())
        if self._received == self._settled_samples:
            values[0] = signal
            self._stepper.rings.fill(values, self._plan.settling)
            self._stepper.executor.start()
            self._pending, self._started = [], True
        row: Tensor = network.head(*embeddings)
        return row.unsqueeze(0).clone()

    def _step(self, samples: Tensor) -> Tensor:
        rings = self._stepper.rings
        self._new_samples[rings.phase].copy_(samples)
        row = self._stepper.executor.run()
        rings.advance()
        return row
