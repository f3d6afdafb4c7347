"""The whole recording at once: delays as a causal convolution. The reference of the stepper."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from sensorium.streaming.delays.network import DelayLayer, DelayNetwork, integrate, read_out


def delay_kernel(layer: DelayLayer) -> Tensor:
    """(outputs, inputs, max_delay_steps + 1): a synapse of delay d stands at index max - d."""
    size = layer.max_delay_steps + 1
    kernel = layer.weight.new_zeros(layer.outputs, layer.inputs, size)
    for weight, delay in zip(layer.weight, layer.delay_steps.long(), strict=True):
        kernel.scatter_add_(2, (layer.max_delay_steps - delay)[..., None], weight[..., None])
    return kernel


@torch.no_grad()
def run_offline(network: DelayNetwork, inputs: Tensor) -> Tensor:
    """Outputs of every step of a recording that starts from rest.

    Args:
        network: the network.
        inputs: (batch, inputs, steps) spikes or counts.

    Returns:
        (steps, batch, outputs) as ``DelayStream.push`` gives them.
    """
    x = inputs.to(network.layers[0].weight)
    outputs: list[Tensor] = []
    for number, layer in enumerate(network.layers):
        padded = F.pad(x, (layer.max_delay_steps, 0))
        drive = F.conv1d(padded, delay_kernel(layer))
        current = layer.scale[:, None] * drive + layer.bias[:, None]
        membrane = current.new_zeros(current.shape[:2])
        score = torch.zeros_like(membrane)
        spikes: list[Tensor] = []
        for step in range(current.shape[2]):
            charged, fired, membrane = integrate(layer, membrane, current[..., step])
            spikes.append(fired)
            if number == len(network.layers) - 1:
                outputs.append(read_out(network, charged, fired, score))
        x = torch.stack(spikes, dim=2)
    return torch.stack(outputs)
