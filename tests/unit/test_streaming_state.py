"""Chunking, reset, state and independence of streams."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from streaming_networks import push_in_pieces, relative_error, settle, windows_of
from torch import nn

from sensorium.streaming import SignalStream, convert

torch.set_num_threads(1)
WINDOW, HOP = 256, 8


def network() -> nn.Module:
    """Large enough behind the ring that the ONNX executor multiplies ahead."""
    torch.manual_seed(11)
    return settle(
        nn.Sequential(
            nn.Conv1d(2, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(8, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 128, 64),
            nn.Tanh(), nn.Linear(64, 3),
        )
    )  # fmt: skip


def stream_of(executor: str, mode: str = "exact_window", batch: int = 1) -> SignalStream:
    return convert(
        network(), window=WINDOW, hop=HOP, channels=2, mode=mode, batch=batch, executor=executor,
        recompute="never",
    )  # fmt: skip


both = pytest.mark.parametrize("executor", ["torch", "onnxruntime"])
modes = pytest.mark.parametrize("mode", ["exact_window", "stream"])


@both
@modes
def test_rows_do_not_depend_on_how_the_signal_is_cut(executor: str, mode: str) -> None:
    signal = torch.randn(1, 2, WINDOW + HOP * 150)
    whole = stream_of(executor, mode).push(signal)
    pieces = push_in_pieces(stream_of(executor, mode), signal, HOP, seed=4)
    assert torch.equal(whole, pieces)


@both
@modes
@pytest.mark.parametrize("hops_before", [3, 40, 117])
def test_a_saved_state_continues_bit_for_bit(executor: str, mode: str, hops_before: int) -> None:
    signal = torch.randn(1, 2, WINDOW + HOP * 200)
    first = stream_of(executor, mode)
    first.push(signal[..., : HOP * hops_before])
    state = {name: value.clone() for name, value in first.state().items()}
    rest = signal[..., HOP * hops_before :]
    expected = first.push(rest)
    second = stream_of(executor, mode)
    second.push(torch.randn(1, 2, HOP * 77))
    second.load_state(state)
    assert torch.equal(second.push(rest), expected)


@both
def test_reset_starts_over(executor: str) -> None:
    signal = torch.randn(1, 2, WINDOW + HOP * 20)
    stream = stream_of(executor)
    first = stream.push(signal)
    stream.reset()
    assert stream.samples_received == 0
    assert torch.equal(stream.push(signal), first)


@both
@modes
def test_streams_of_a_batch_are_independent(executor: str, mode: str) -> None:
    signal = torch.randn(3, 2, WINDOW + HOP * 40)
    together = stream_of(executor, mode, batch=3).push(signal)
    alone = torch.cat([stream_of(executor, mode).push(x[None]) for x in signal], dim=1)
    assert relative_error(together, alone) < 5e-6


def test_arrays_of_any_float_type_are_taken() -> None:
    signal = np.random.default_rng(0).standard_normal((1, 2, WINDOW + HOP * 4))
    rows = stream_of("torch").push(signal)
    single = torch.from_numpy(signal).float()
    assert relative_error(rows, windows_of(network(), single, WINDOW, HOP)) < 5e-6


def test_returned_rows_are_not_overwritten_by_later_hops() -> None:
    stream = stream_of("onnxruntime")
    signal = torch.randn(1, 2, WINDOW + HOP * 3)
    row = stream.push(signal[..., : WINDOW + HOP])[-1]
    kept = row.clone()
    stream.push(signal[..., WINDOW + HOP :])
    assert torch.equal(row, kept)


def test_a_signal_that_requires_gradients_is_taken() -> None:
    stream = stream_of("torch")
    signal = torch.randn(1, 2, WINDOW + HOP, requires_grad=True)
    rows = stream.push(signal[..., :WINDOW])
    rows = stream.push(signal[..., WINDOW:])
    assert not rows.requires_grad


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((1, 3, 8), r"expected \(batch 1, channels 2, k \* 8\)"),
        ((2, 2, 8), r"expected \(batch 1, channels 2, k \* 8\)"),
        ((1, 2, 12), "12 samples are not a whole number of hops of 8; push 8 or 16"),
        ((1, 2, 0), "not a whole number of hops"),
    ],
)
def test_wrong_chunks_are_refused(shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        stream_of("torch").push(torch.zeros(shape))


def test_a_state_of_another_network_is_refused() -> None:
    stream = stream_of("torch")
    stream.push(torch.randn(1, 2, WINDOW))
    other = convert(
        nn.Sequential(nn.Conv1d(2, 4, 3)).eval(), window=64, hop=8, channels=2, recompute="never"
    )
    with pytest.raises(ValueError, match="needs shape"):
        other.load_state(stream.state())
    with pytest.raises(ValueError, match="'received' is missing"):
        other.load_state({})
