"""Layers from networks trained with the ``dcls`` package (which is not needed to read them)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from sensorium.streaming.delays.network import DelayLayer, Reset


class TrainedSynapses(Protocol):
    """What is read of ``DCLS.construct.modules.Dcls1d``."""

    weight: Tensor
    P: Tensor
    bias: Tensor | None
    dilated_kernel_size: tuple[int, ...]
    groups: int


def delay_layer_from_dcls(
    synapses: TrainedSynapses,
    norm: nn.BatchNorm1d | None,
    *,
    tau_steps: float,
    threshold: float = 1.0,
    reset: Reset = "hard",
    decay_input: bool = False,
) -> DelayLayer:
    """A trained Dcls1d with its BatchNorm and LIF neurons as a delay layer.

    Learned positions are rounded and clamped as the published evaluation does (version "max", sigma
    0): position p of a kernel of K steps stands at index round(p) + K // 2, and with K - 1 steps of
    causal padding on the left its delay is K - 1 - index. In an even kernel the position +K / 2
    lies outside; such a synapse is silent there and gets weight 0 here.

    Args:
        synapses: the trained Dcls1d, groups 1.
        norm: its BatchNorm1d (running statistics are folded), or None.
        tau_steps: LIF time constant in steps.
        threshold: infinity for a readout that only integrates (1e9 in the published code).
        reset: LIF reset.
        decay_input: LIF variant.

    Raises:
        ValueError: grouped synapses, or a BatchNorm without running statistics.
    """
    if synapses.groups != 1:
        raise ValueError(f"delay_layer_from_dcls: groups is {synapses.groups}, expected 1")
    kernel = int(synapses.dilated_kernel_size[0])
    half = kernel // 2
    index = synapses.P.detach()[0].clamp(-half, half).round().long() + half
    inside = index < kernel
    weight = torch.where(inside, synapses.weight.detach(), 0.0).permute(2, 0, 1).contiguous()
    delay = (kernel - 1 - index).clamp(min=0).permute(2, 0, 1).contiguous()
    outputs = weight.shape[1]
    scale, bias = weight.new_ones(outputs), weight.new_zeros(outputs)
    if synapses.bias is not None:
        bias = synapses.bias.detach().clone()
    if norm is not None:
        if norm.running_mean is None or norm.running_var is None:
            raise ValueError("delay_layer_from_dcls: the BatchNorm has no running statistics")
        scale = 1.0 / torch.sqrt(norm.running_var + norm.eps)
        if norm.weight is not None:
            scale = scale * norm.weight.detach()
        bias = (bias - norm.running_mean) * scale
        if norm.bias is not None:
            bias = bias + norm.bias.detach()
    return DelayLayer(
        weight, delay, kernel - 1, scale, bias, tau_steps, threshold, reset, decay_input
    )
