"""Feed-forward spiking networks with one integer delay per synapse (DCLS, arXiv 2306.17670)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

Reset = Literal["hard", "soft", "none"]
Readout = Literal["spikes", "membrane", "softmax_sum"]


@dataclass(frozen=True, eq=False)
class DelayLayer:
    """Delayed synapses, a per-neuron affine map (folded BatchNorm) and LIF neurons.

    At step n the current of neuron i is
    ``scale[i] * sum over s, j of weight[s, i, j] * x[j, n - delay_steps[s, i, j]] + bias[i]``.
    The membrane then follows ``v += current - v / tau_steps`` (``decay_input`` False) or
    ``v += (current - v) / tau_steps`` (True), and a neuron spikes where ``v >= threshold``.

    Attributes:
        weight: (synapses per pair, outputs, inputs) float32.
        delay_steps: same shape, integers 0 .. max_delay_steps.
        max_delay_steps: largest delay the layer provides for.
        scale: (outputs,) float32.
        bias: (outputs,) float32; it flows in every step, spikes or not.
        tau_steps: membrane time constant in steps, at least 1.
        threshold: membrane level of a spike; infinity for neurons that only integrate.
        reset: after a spike "hard" sets v to 0, "soft" subtracts the threshold, "none" leaves it.
        decay_input: see above.

    Raises:
        ValueError: shapes or ranges do not fit.
    """

    weight: Tensor
    delay_steps: Tensor
    max_delay_steps: int
    scale: Tensor
    bias: Tensor
    tau_steps: float
    threshold: float = 1.0
    reset: Reset = "hard"
    decay_input: bool = False

    def __post_init__(self) -> None:
        if self.weight.dim() != 3 or self.weight.shape != self.delay_steps.shape:
            raise ValueError(
                f"DelayLayer: weight {tuple(self.weight.shape)} and delay_steps "
                f"{tuple(self.delay_steps.shape)} must both be (synapses, outputs, inputs)"
            )
        outputs = (self.outputs,)
        if self.scale.shape != outputs or self.bias.shape != outputs:
            raise ValueError(
                f"DelayLayer: scale {tuple(self.scale.shape)} and bias {tuple(self.bias.shape)} "
                f"must be {outputs}"
            )
        if self.delay_steps.is_floating_point():
            raise ValueError(
                f"DelayLayer: delay_steps is {self.delay_steps.dtype}, expected integers; round "
                "learned delays first"
            )
        low, high = int(self.delay_steps.min()), int(self.delay_steps.max())
        if low < 0 or high > self.max_delay_steps:
            raise ValueError(
                f"DelayLayer: delays span {low} .. {high} steps, expected 0 .. "
                f"{self.max_delay_steps}"
            )
        if not self.tau_steps >= 1:
            raise ValueError(
                f"DelayLayer: tau_steps is {self.tau_steps}, expected at least 1 (shorter "
                "membranes oscillate at this time step)"
            )
        if self.reset not in ("hard", "soft", "none"):
            raise ValueError(f"DelayLayer: reset is {self.reset!r}, expected hard, soft or none")

    @property
    def inputs(self) -> int:
        """Input channels."""
        return int(self.weight.shape[2])

    @property
    def outputs(self) -> int:
        """Neurons."""
        return int(self.weight.shape[1])


@dataclass(frozen=True, eq=False)
class DelayNetwork:
    """Layers in order, stepped at a fixed rate.

    Attributes:
        layers: each layer's spikes are the next one's inputs, within the same step.
        time_step_ns: duration of a step; inputs are binned at exactly this rate and empty bins are
            stepped too.
        input_binning: neighbouring sensor channels summed into one input (5 for the published SHD
            network: 700 channels, 140 inputs).
        readout: what a step returns of the last layer: its spikes, its membrane before the reset,
            or the running sum of softmax(membrane) (the published score).

    Raises:
        ValueError: layers do not fit together.
    """

    layers: tuple[DelayLayer, ...]
    time_step_ns: int
    input_binning: int = 1
    readout: Readout = "softmax_sum"
    labels: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("DelayNetwork: no layers")
        for number, (layer, after) in enumerate(zip(self.layers, self.layers[1:], strict=False)):
            if layer.outputs != after.inputs:
                raise ValueError(
                    f"DelayNetwork: layer {number} has {layer.outputs} outputs, layer {number + 1} "
                    f"takes {after.inputs}"
                )
        if self.time_step_ns <= 0 or self.input_binning <= 0:
            raise ValueError(
                f"DelayNetwork: time_step_ns {self.time_step_ns} and input_binning "
                f"{self.input_binning} must be positive"
            )
        if self.readout not in ("spikes", "membrane", "softmax_sum"):
            raise ValueError(f"DelayNetwork: unknown readout {self.readout!r}")
        if self.labels and len(self.labels) != self.outputs:
            raise ValueError(f"DelayNetwork: {len(self.labels)} labels for {self.outputs} outputs")

    @property
    def inputs(self) -> int:
        """Input channels after binning."""
        return self.layers[0].inputs

    @property
    def outputs(self) -> int:
        """Neurons of the last layer."""
        return self.layers[-1].outputs

    @property
    def memory_steps(self) -> int:
        """Steps after which no delayed spike of an earlier input is still under way."""
        return sum(layer.max_delay_steps for layer in self.layers)


def integrate(
    layer: DelayLayer, membrane: Tensor, current: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One LIF step.

    Args:
        layer: gives tau, threshold and reset.
        membrane: (batch, outputs) after the previous step's reset.
        current: (batch, outputs).

    Returns:
        Membrane before the reset, spikes (0 or 1), membrane after the reset.
    """
    if layer.decay_input:
        charged = membrane + (current - membrane) / layer.tau_steps
    else:
        charged = membrane - membrane / layer.tau_steps + current
    spikes = (charged >= layer.threshold).to(charged.dtype)
    if layer.reset == "hard":
        return charged, spikes, charged * (1.0 - spikes)
    if layer.reset == "soft":
        return charged, spikes, charged - layer.threshold * spikes if spikes.any() else charged
    return charged, spikes, charged


def read_out(network: DelayNetwork, charged: Tensor, spikes: Tensor, score: Tensor) -> Tensor:
    """The output of one step; ``score`` (batch, outputs) is updated for "softmax_sum"."""
    if network.readout == "spikes":
        return spikes
    if network.readout == "membrane":
        return charged.clone()
    score += torch.softmax(charged, dim=-1)
    return score.clone()
