"""Training for signal padding and the error of a streamed window network."""

from __future__ import annotations

import pytest
import torch
from streaming_networks import CausalBlock, Residual, relative_error, settle, windows_of
from torch import nn

from sensorium.streaming import SignalPadded, convert, nrmse_percent

torch.set_num_threads(1)


def network() -> nn.Module:
    torch.manual_seed(9)
    return settle(
        nn.Sequential(
            nn.Conv1d(1, 4, 5, padding=2), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2),
            Residual(4, 6), CausalBlock(6, 4, 2), nn.Flatten(), nn.Linear(4 * 32, 2),
        )
    )  # fmt: skip


def test_the_training_wrapper_computes_what_the_stream_computes() -> None:
    module = network()
    padded = SignalPadded(module, window=64, channels=1).eval()
    stream = convert(module, window=64, hop=8, channels=1, mode="stream")
    signal = torch.randn(1, 1, 64 + 8 * 60)
    rows = stream.push(signal)
    end = signal.shape[-1] - stream.delay + padded.lookahead
    with torch.no_grad():
        reference = padded(signal[..., end - padded.samples : end])
    assert padded.context + 2 + padded.lookahead >= stream.report.receptive_field
    assert relative_error(rows[-1], reference) < 5e-6


def test_gradients_reach_the_wrapped_network() -> None:
    module = network()
    padded = SignalPadded(module, window=64, channels=1).train()
    padded(torch.randn(5, 1, padded.samples)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module[0].parameters())


def test_training_for_signal_padding_brings_the_stream_closer_to_its_task() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv1d(1, 8, 9, padding=4), nn.ReLU(), nn.Conv1d(8, 8, 9, padding=4), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 32, 1),
    ).eval()  # fmt: skip
    padded = SignalPadded(module, window=32, channels=1)
    signals = torch.randn(512, 1, padded.samples)
    targets = signals[..., padded.context : padded.context + 32].square().mean(-1)

    def loss() -> torch.Tensor:
        return (padded(signals) - targets).square().mean()

    before = float(loss().detach())
    padded.train()
    optimiser = torch.optim.Adam(padded.parameters(), 3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        value = loss()
        value.backward()
        optimiser.step()
    assert float(loss().detach()) < 0.2 * before
    padded.eval()
    stream = convert(module, window=32, hop=4, channels=1, mode="stream")
    assert stream.report.parity.random_error < 5e-6


def test_wrong_training_length_is_refused() -> None:
    padded = SignalPadded(network(), window=64, channels=1)
    with pytest.raises(ValueError, match=r"expected context \d+ \+ window 64 \+ lookahead \d+"):
        padded(torch.zeros(1, 1, 64))


def test_nrmse_is_a_percentage_of_the_range_of_the_window_network() -> None:
    windowed = torch.tensor([[0.0, 1.0], [4.0, 3.0]])
    streamed = windowed + torch.tensor([0.4, -0.1])
    assert torch.allclose(nrmse_percent(streamed, windowed), torch.tensor([10.0, 5.0]))
    with pytest.raises(ValueError, match="compare the same rows"):
        nrmse_percent(streamed, windowed[:1])


def test_signal_padding_differs_from_the_zero_padded_window_as_published() -> None:
    module = network()
    signal = torch.randn(1, 1, 64 + 8 * 200).cumsum(-1) / 10
    stream = convert(module, window=64, hop=8, channels=1, mode="stream")
    rows = stream.push(signal)
    windows = windows_of(module, signal, 64, 1)
    starts = [stream.timeline.first_window_start + 8 * r for r in range(rows.shape[0])]
    error = nrmse_percent(rows, windows[starts])
    assert ((error > 0.01) & (error < 50)).all()
