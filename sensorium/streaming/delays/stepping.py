"""One step at a time: every spike is written at once to where it will arrive.

Each layer keeps a ring of scheduled inputs, one column per future step. A spike of input j adds its
weights at the columns of their delays; a step reads and clears one column. The work follows the
number of spikes, and empty steps cost almost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sensorium.streaming.delays.network import DelayLayer, DelayNetwork, integrate, read_out


class DelayStream:
    """A running delay network for ``batch`` independent streams.

    Args:
        network: the network.
        batch: streams.
    """

    def __init__(self, network: DelayNetwork, batch: int = 1) -> None:
        if batch < 1:
            raise ValueError(f"DelayStream: batch is {batch}, expected at least 1")
        self.network, self.batch = network, batch
        self._layers = [_LayerState(layer, batch) for layer in network.layers]
        self._score = network.layers[-1].weight.new_zeros(batch, network.outputs)
        self._steps = 0

    @property
    def steps(self) -> int:
        """Steps since the last reset."""
        return self._steps

    @torch.no_grad()
    def step(self, inputs: Tensor) -> Tensor:
        """Advances all streams by one time step.

        Args:
            inputs: (batch, inputs) spikes or counts of this bin; zeros where nothing happened.

        Returns:
            (batch, outputs), see ``DelayNetwork.readout``.

        Raises:
            ValueError: wrong shape.
        """
        expected = (self.batch, self.network.inputs)
        if tuple(inputs.shape) != expected:
            raise ValueError(f"step: inputs are {tuple(inputs.shape)}, expected {expected}")
        x = inputs.to(self._score)
        charged = x
        for state in self._layers:
            charged, x = state.step(x)
        self._steps += 1
        return read_out(self.network, charged, x, self._score)

    def push(self, inputs: Tensor) -> Tensor:
        """Several steps: (batch, inputs, steps) to (steps, batch, outputs).

        Raises:
            ValueError: wrong shape.
        """
        if inputs.dim() != 3:
            raise ValueError(
                f"push: inputs are {tuple(inputs.shape)}, expected (batch, inputs, steps)"
            )
        if inputs.shape[2] == 0:
            return self._score.new_zeros(0, self.batch, self.network.outputs)
        return torch.stack([self.step(x) for x in inputs.unbind(2)])

    def skip(self, steps: int) -> None:
        """Steps ``steps`` empty bins, for gaps no longer than ``network.memory_steps``.

        Raises:
            ValueError: the gap is longer; reset instead.
        """
        if not 0 <= steps <= self.network.memory_steps:
            raise ValueError(
                f"skip: a gap of {steps} steps, expected 0 .. {self.network.memory_steps} (the "
                "network's memory); reset the stream after longer gaps"
            )
        empty = self._score.new_zeros(self.batch, self.network.inputs)
        for _ in range(steps):
            self.step(empty)

    def reset(self) -> None:
        """Back to rest: no spikes under way, membranes and scores at 0."""
        for state in self._layers:
            state.scheduled.zero_()
            state.membrane.zero_()
            state.column = 0
        self._score.zero_()
        self._steps = 0

    def state(self) -> dict[str, Tensor]:
        """A copy of everything the next step depends on."""
        held = {"score": self._score.clone(), "steps": torch.tensor(self._steps)}
        for number, state in enumerate(self._layers):
            held[f"scheduled_{number}"] = state.in_order()
            held[f"membrane_{number}"] = state.membrane.clone()
        return held

    def load_state(self, content: Mapping[str, Tensor]) -> None:
        """Continues from ``state()``.

        Raises:
            ValueError: it belongs to another network or batch.
        """
        wanted = self.state()
        for name, value in wanted.items():
            found = content.get(name)
            if found is None or found.shape != value.shape:
                shape = "nothing" if found is None else tuple(found.shape)
                raise ValueError(
                    f"load_state: {name} needs shape {tuple(value.shape)}, found {shape}; load a "
                    "state of the same network and batch"
                )
        for number, state in enumerate(self._layers):
            state.column = 0
            state.scheduled.copy_(content[f"scheduled_{number}"])
            state.membrane.copy_(content[f"membrane_{number}"])
        self._score.copy_(content["score"])
        self._steps = int(content["steps"])


class _LayerState:
    """``scheduled`` is (columns, batch, outputs); column (c + d) % columns arrives in d steps."""

    def __init__(self, layer: DelayLayer, batch: int) -> None:
        self.layer, self.batch = layer, batch
        self.columns = layer.max_delay_steps + 1
        self.scheduled = layer.weight.new_zeros(self.columns, batch, layer.outputs)
        self.membrane = layer.weight.new_zeros(batch, layer.outputs)
        self.column = 0
        # By input first: a spike of input j touches one row of each.
        self.weights = layer.weight.permute(2, 0, 1).contiguous()
        self.delays = layer.delay_steps.permute(2, 0, 1).to(torch.int64).contiguous()
        self.neurons = torch.arange(layer.outputs, device=layer.weight.device)

    def in_order(self) -> Tensor:
        """A copy of ``scheduled`` with the next column first."""
        return self.scheduled.roll(-self.column, dims=0).clone()

    def step(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, inputs) to (membrane before reset, spikes), both (batch, outputs)."""
        streams, inputs = x.nonzero(as_tuple=True)
        if len(inputs):
            arrival = (self.column + self.delays[inputs]) % self.columns
            rows = arrival * self.batch + streams[:, None, None]
            index = rows * self.layer.outputs + self.neurons
            values = self.weights[inputs] * x[streams, inputs][:, None, None]
            self.scheduled.view(-1).index_add_(0, index.view(-1), values.view(-1))
        drive = self.scheduled[self.column]
        current = self.layer.scale * drive + self.layer.bias
        drive.zero_()
        self.column = (self.column + 1) % self.columns
        charged, spikes, self.membrane = integrate(self.layer, self.membrane, current)
        return charged, spikes
