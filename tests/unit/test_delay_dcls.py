"""Networks trained with the ``dcls`` package, stepped here."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.streaming.delays import (
    DelayLayer,
    DelayNetwork,
    DelayStream,
    delay_layer_from_dcls,
    run_offline,
)
from sensorium.streaming.delays.offline import delay_kernel

torch.set_num_threads(1)
dcls = pytest.importorskip("DCLS.construct.modules", reason="the test extra dcls is not installed")
CHANNELS, CLASSES, SPAN, STEPS = 6, 10, 11, 24


@pytest.mark.parametrize("kernel", [11, 12])
@pytest.mark.parametrize("count", [1, 2])
def test_rounded_positions_give_the_kernel_that_dcls_builds(kernel: int, count: int) -> None:
    torch.manual_seed(0)
    made = dcls.Dcls1d(6, 5, kernel_count=count, dilated_kernel_size=kernel, version="max")
    with torch.no_grad():
        made.P.uniform_(-kernel, kernel)
        made.clamp_parameters()
        made.P.round_()
    layer = delay_layer_from_dcls(made, None, tau_steps=2.0)
    with torch.no_grad():
        reference = made.DCK(made.weight, made.P, made.SIG)
    assert torch.allclose(delay_kernel(layer), reference, atol=1e-6)
    assert layer.max_delay_steps == kernel - 1


def test_batch_norm_and_bias_are_folded() -> None:
    torch.manual_seed(1)
    made = dcls.Dcls1d(6, 5, kernel_count=1, dilated_kernel_size=9, version="max")
    norm = nn.BatchNorm1d(5)
    with torch.no_grad():
        made.P.uniform_(-4, 4).round_()
        for tensor in (norm.running_mean, norm.weight, norm.bias):
            tensor.normal_()
        norm.running_var.uniform_(0.5, 2.0)
    norm.eval()
    layer = delay_layer_from_dcls(made, norm, tau_steps=1.0, threshold=float("inf"), reset="none")
    x = (torch.rand(2, 6, 40) < 0.2).float()
    with torch.no_grad():
        reference = norm(made(F.pad(x, (8, 0))))
    stepped = DelayStream(DelayNetwork((layer,), time_step_ns=1, readout="membrane"), batch=2).push(
        x
    )
    assert torch.allclose(stepped.permute(1, 2, 0), reference, atol=1e-5)


def coincidences(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Every channel spikes once; only the order in time tells the class. Shifted at random."""
    patterns = torch.randint(
        0, SPAN, (CLASSES, CHANNELS), generator=torch.Generator().manual_seed(5)
    )
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    shift = torch.randint(0, STEPS - SPAN, (count, 1), generator=generator)
    inputs = torch.zeros(count, CHANNELS, STEPS)
    inputs.scatter_(2, (patterns[labels] + shift)[..., None], 1.0)
    noise = torch.rand(inputs.shape, generator=generator) < 0.05
    return torch.maximum(inputs, noise.float()), labels


def train(learn_delays: bool) -> dcls.Dcls1d:
    torch.manual_seed(3)
    synapses = dcls.Dcls1d(
        CHANNELS, CLASSES, kernel_count=1, dilated_kernel_size=SPAN, bias=False, version="gauss"
    )
    synapses.SIG.requires_grad_(False)
    synapses.P.requires_grad_(learn_delays)
    with torch.no_grad():
        synapses.weight.fill_(0.5)
        synapses.P.uniform_(-5, 5)
    optimiser = torch.optim.Adam(
        [
            {"params": [synapses.weight], "lr": 0.02},
            {"params": [synapses.P] if learn_delays else [], "lr": 0.15},
        ]
    )
    generator = torch.Generator().manual_seed(8)
    epochs = 250
    for epoch in range(epochs):
        synapses.SIG.fill_(max(0.0, 5.0 * (1 - epoch / (0.7 * epochs))))
        inputs, labels = coincidences(128, generator)
        drive = synapses(F.pad(inputs, (SPAN - 1, SPAN - 1)))
        loss = F.cross_entropy(3.0 * drive.amax(-1), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        synapses.clamp_parameters()
    return synapses


def accuracy(layer: DelayLayer) -> float:
    """Of a stepped network whose neurons integrate over one step."""
    made = DelayNetwork((layer,), time_step_ns=1_000_000, readout="membrane")
    inputs, labels = coincidences(200, torch.Generator().manual_seed(99))
    inputs = F.pad(inputs, (0, SPAN))
    stepped = DelayStream(made, batch=200).push(inputs)
    assert torch.allclose(stepped, run_offline(made, inputs), atol=1e-6)
    return float((stepped.amax(0).argmax(-1) == labels).float().mean())


def test_learned_delays_beat_fixed_ones_on_delayed_coincidences() -> None:
    def imported(synapses: dcls.Dcls1d) -> DelayLayer:
        return delay_layer_from_dcls(
            synapses, None, tau_steps=1.0, threshold=float("inf"), reset="none"
        )

    learned, fixed = (accuracy(imported(train(learn))) for learn in (True, False))
    assert learned > 0.9
    assert fixed < learned - 0.15
