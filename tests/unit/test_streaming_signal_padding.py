"""Mode "stream": the receptive field runs on into the past instead of meeting padding."""

from __future__ import annotations

import pytest
import torch
from streaming_networks import CausalBlock, push_in_pieces, relative_error, settle
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.streaming import convert

torch.set_num_threads(1)


class Split(nn.Module):
    """A trunk and a head that can be called apart, for references that use only torch."""

    def __init__(self, trunk: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))


class LeftPadded(nn.Module):
    def __init__(self, inside: int, outside: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.left = (kernel - 1) * dilation
        self.conv = nn.Conv1d(inside, outside, kernel, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (self.left, 0)))


def causal() -> Split:
    trunk = nn.Sequential(
        LeftPadded(2, 6, 5), nn.BatchNorm1d(6), nn.ReLU(), nn.MaxPool1d(2),
        LeftPadded(6, 8, 3, dilation=2), nn.ELU(), nn.AvgPool1d(2), CausalBlock(8, 5, 2),
    )  # fmt: skip
    return settle(Split(trunk, nn.Sequential(nn.Flatten(), nn.Linear(5 * 24, 4))))


@pytest.mark.parametrize("executor", ["torch", "onnxruntime"])
@pytest.mark.parametrize("hop", [4, 12, 32, 96])
def test_causal_network_equals_one_pass_over_the_whole_past(hop: int, executor: str) -> None:
    module = causal()
    stream = convert(
        module, window=96, hop=hop, channels=2, mode="stream", batch=2, executor=executor,
        recompute="never",
    )  # fmt: skip
    signal = torch.randn(2, 2, hop * (96 // hop + 50))
    rows = push_in_pieces(stream, signal, hop)
    with torch.no_grad():
        embedding = module.trunk(signal)
        first = stream.timeline.first_window_start // 4
        reference = torch.stack(
            [
                module.head(embedding[..., p : p + 24])
                for p in range(first, embedding.shape[-1] - 23, hop // 4)
            ]
        )
    assert stream.delay == (-96) % hop
    assert relative_error(rows, reference[: rows.shape[0]]) < 5e-6


def test_a_window_with_its_context_gives_the_same_row() -> None:
    module = causal()
    stream = convert(module, window=96, hop=8, channels=2, mode="stream")
    context = -(-stream.report.receptive_field // 4) * 4
    signal = torch.randn(1, 2, 96 + 8 * 40)
    rows = stream.push(signal)
    with torch.no_grad():
        piece = signal[..., -(96 + context) :]
        reference = module.head(module.trunk(piece)[..., -24:])
    assert relative_error(rows[-1], reference) < 5e-6


@pytest.mark.parametrize("executor", ["torch", "onnxruntime"])
def test_centred_padding_waits_for_its_right_context(executor: str) -> None:
    trunk = nn.Sequential(
        nn.Conv1d(2, 6, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(6, 4, 5, padding=2)
    )
    module = settle(Split(trunk, nn.Sequential(nn.Flatten(), nn.Linear(4 * 32, 3))))
    stream = convert(
        module, window=64, hop=4, channels=2, mode="stream", executor=executor, recompute="never"
    )
    assert stream.report.lookahead == 2 + 2 * 2
    assert stream.delay == 6
    signal = torch.randn(1, 2, 64 + 4 * 60)
    rows = stream.push(signal)
    with torch.no_grad():
        embedding = module.trunk(signal)
        starts = [stream.timeline.first_window_start + 4 * r for r in range(rows.shape[0])]
        reference = torch.stack([module.head(embedding[..., s // 2 : s // 2 + 32]) for s in starts])
    assert starts[-1] + 64 == signal.shape[-1] - stream.delay
    assert relative_error(rows, reference) < 5e-6


def test_branches_of_different_delay_are_lined_up() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.long = nn.Conv1d(2, 3, 9, padding=4)
            self.short = nn.Conv1d(2, 3, 1)
            self.pool = nn.MaxPool1d(3, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.long(x) + self.short(x), self.pool(x)], dim=1)

    trunk = Branches().eval()
    stream = convert(
        Split(trunk, nn.AdaptiveMaxPool1d(1)).eval(), window=48, hop=1, channels=2, mode="stream",
        recompute="never",
    )  # fmt: skip
    assert stream.delay == 4
    signal = torch.randn(1, 2, 200)
    rows = stream.push(signal)
    with torch.no_grad():
        embedding = trunk(signal)
        reference = torch.stack(
            [embedding[..., s : s + 48].amax(-1, keepdim=True) for s in range(rows.shape[0])]
        )
    assert relative_error(rows, reference) < 5e-6


def test_networks_without_padding_stream_exactly_in_both_modes() -> None:
    module = nn.Sequential(
        nn.Conv1d(2, 4, 5), nn.ReLU(), nn.Conv1d(4, 3, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten()
    ).eval()
    signal = torch.randn(1, 2, 300)
    rows = [
        convert(module, window=40, hop=4, channels=2, mode=mode, recompute="never").push(signal)
        for mode in ("exact_window", "stream")
    ]
    assert relative_error(*rows) < 5e-6


def test_receptive_field_longer_than_the_window_streams() -> None:
    blocks = [CausalBlock(2, 3, 1), CausalBlock(3, 3, 8), CausalBlock(3, 3, 32)]
    trunk = nn.Sequential(*blocks).eval()
    module = Split(trunk, nn.AdaptiveAvgPool1d(1)).eval()
    stream = convert(module, window=32, hop=4, channels=2, mode="stream", recompute="never")
    assert stream.report.receptive_field > 32
    signal = torch.randn(1, 2, 400)
    rows = stream.push(signal)
    with torch.no_grad():
        embedding = trunk(signal)
        reference = torch.stack(
            [embedding[..., 4 * r : 4 * r + 32].mean(-1, keepdim=True) for r in range(len(rows))]
        )
    assert relative_error(rows, reference) < 5e-6
