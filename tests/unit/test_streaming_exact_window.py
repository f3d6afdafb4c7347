"""exact_window: the stream equals the unmodified window network on every window."""

from __future__ import annotations

import pytest
import torch
from streaming_networks import (
    CausalBlock,
    ChannelNorm,
    Inception,
    Residual,
    push_in_pieces,
    relative_error,
    settle,
    windows_of,
)
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.streaming import convert

torch.set_num_threads(1)


class TwiceTheSame(nn.Module):
    """One module called twice: two states, one set of weights."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv1d(3, 4, 3, padding=1)
        self.shared = nn.Sequential(nn.Conv1d(4, 4, 3, padding=1), nn.ReLU())
        self.leave = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.shared(self.shared(self.enter(x)))
        return self.leave(y.mean(dim=-1))


class TwiceTheSameMaximum(TwiceTheSame):
    """The same with arithmetic that stays whole."""

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.shared(self.shared(self.enter(x))).amax(dim=-1))


class MultiScale(nn.Module):
    """Two embeddings of different strides feed one head."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv1d(3, 4, 5, padding=2)
        self.coarse = nn.Sequential(nn.AvgPool1d(4), nn.Conv1d(4, 6, 3, padding=1), nn.Tanh())
        self.out = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        fine = torch.relu(self.fine(x))
        coarse = self.coarse(fine)
        return self.out(torch.cat([fine.amax(-1), coarse.mean(-1)], dim=1))


class GatedWaveNet(nn.Module):
    """Chunked gates, dilation, skip sum, time-distributed output."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(4, 8, 2, padding=d, dilation=d) for d in (1, 2, 4))
        self.enter = nn.Conv1d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        total = 0.5 * x
        for conv in self.convs:
            value, gate = conv(x)[..., : x.shape[-1]].chunk(2, dim=1)
            x = x + torch.tanh(value) * torch.sigmoid(gate)
            total = total + x
        return total


class Arithmetic(nn.Module):
    """Scalars on both sides, clamping, and the values of a maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 3, padding=1)
        self.gain = nn.Parameter(torch.rand(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = 2 * (self.conv(x) - 0.1) / 3
        y = -(1 - y) * self.gain
        return y.abs().clamp(min=0.05).max(dim=-1).values


class UpAndDown(nn.Module):
    """Encoder and decoder with a skip: nearest upsampling, one output per sample."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv1d(3, 4, 3, padding=1)
        self.deep = nn.Conv1d(4, 6, 3, padding=1)
        self.join = nn.Conv1d(10, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        fine = F.relu(self.down(x), inplace=True)
        coarse = F.relu(self.deep(F.max_pool1d(fine, 2)))
        up = F.interpolate(coarse, scale_factor=2, mode="nearest")
        return self.join(torch.cat((up, fine), dim=1))


class InPlaceResidual(nn.Module):
    """``out += identity`` and a shared in-place ReLU, as torchvision writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 8, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm1d(8)
        self.relu = nn.ReLU(inplace=True)
        self.skip = nn.Sequential(nn.Conv1d(3, 8, 1, 2, bias=False), nn.BatchNorm1d(8))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.norm(self.conv(x)))
        out += self.skip(x)
        return torch.flatten(self.relu(out).mean(-1, keepdim=True), 1)


class RecurrentHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 5, 4, stride=4)
        self.gru = nn.GRU(5, 6, batch_first=True, bidirectional=True)
        self.out = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.gru(torch.relu(self.conv(x)).transpose(1, 2))
        return self.out(y[:, -1])


def stacked_network() -> nn.Module:
    trunk = nn.Sequential(
        nn.Conv1d(3, 6, 5, padding=2), nn.BatchNorm1d(6), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(6, 8, 3, padding=1, padding_mode="replicate"), nn.GELU(), nn.MaxPool1d(2),
    )  # fmt: skip
    return nn.Sequential(trunk, nn.Flatten(), nn.Linear(8 * 24, 7), nn.ReLU(), nn.Linear(7, 3))


def residual_network() -> nn.Module:
    return nn.Sequential(
        Residual(3, 6), Residual(6, 6), Residual(6, 8, stride=2), nn.AdaptiveAvgPool1d(1),
        nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip


def inception_network() -> nn.Module:
    return nn.Sequential(
        Inception(3, 2), nn.ReLU(), Inception(7, 2), nn.AdaptiveMaxPool1d(1), nn.Flatten()
    )


def causal_network() -> nn.Module:
    blocks = nn.Sequential(CausalBlock(3, 5, 1), CausalBlock(5, 5, 2), CausalBlock(5, 4, 4))
    return nn.Sequential(blocks, nn.Flatten(), nn.Linear(4 * 96, 3))


def normalised_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 6, 3, padding=1), ChannelNorm(6), nn.Conv1d(6, 6, 3, 2, 1, groups=3),
        nn.Upsample(scale_factor=2), nn.PReLU(6), nn.Flatten(), nn.Linear(6 * 96, 2),
    )  # fmt: skip


FAMILY = {
    "stacked": stacked_network,
    "residual": residual_network,
    "inception": inception_network,
    "causal": causal_network,
    "channel norm, groups, upsampling": normalised_network,
    "shared module": TwiceTheSame,
    "two embeddings": MultiScale,
    "gated wavenet": GatedWaveNet,
    "recurrent head": RecurrentHead,
    "arithmetic": Arithmetic,
    "upsampling and skips": UpAndDown,
    "in-place residual": InPlaceResidual,
}


@pytest.mark.parametrize("executor", ["torch", "onnxruntime"])
@pytest.mark.parametrize("name", FAMILY)
def test_every_window_equals_the_network(name: str, executor: str) -> None:
    torch.manual_seed(1)
    module = settle(FAMILY[name]())
    stream = convert(
        module, window=96, hop=8, channels=3, batch=2, executor=executor, recompute="never"
    )
    signal = torch.randn(2, 3, 96 + 8 * 90)
    rows = push_in_pieces(stream, signal, 8)
    assert relative_error(rows, windows_of(module, signal, 96, 8)) < 5e-6


@pytest.mark.parametrize("name", FAMILY)
def test_double_precision_agrees_to_a_billionth_of_a_thousandth(name: str) -> None:
    torch.manual_seed(2)
    module = settle(FAMILY[name]()).double()
    stream = convert(module, window=96, hop=12, channels=3, recompute="never")
    signal = torch.randn(1, 3, 96 + 12 * 70, dtype=torch.float64)
    rows = push_in_pieces(stream, signal, 12)
    assert relative_error(rows, windows_of(module, signal, 96, 12)) < 1e-12


@pytest.mark.parametrize("executor", ["torch", "onnxruntime"])
@pytest.mark.parametrize("mode", ["exact_window", "stream"])
@pytest.mark.parametrize("name", ["stacked", "residual", "inception", "causal", "shared module"])
def test_integer_valued_networks_agree_bit_for_bit(name: str, mode: str, executor: str) -> None:
    module = settle(FAMILY[name]())
    if name == "stacked":
        module[0][5] = nn.ReLU()
    if name == "residual":
        module[3] = nn.AdaptiveMaxPool1d(1)
    if name == "shared module":
        module = TwiceTheSameMaximum()
    stream = convert(
        module.eval(), window=96, hop=8, channels=3, mode=mode, executor=executor,
        recompute="never",
    )  # fmt: skip
    assert stream.report.parity.integer_exact
    assert stream.report.parity.integer_error == 0.0


def test_windows_are_those_of_unfold_when_the_hop_does_not_divide_the_window() -> None:
    module = settle(stacked_network())
    stream = convert(module, window=96, hop=20, channels=3, recompute="never")
    signal = torch.randn(1, 3, 20 * 60)
    rows = stream.push(signal)
    assert stream.delay == 4
    reference = windows_of(module, signal, 96, 20)[: rows.shape[0]]
    assert relative_error(rows, reference) < 5e-6


def test_no_row_before_the_first_window_is_full() -> None:
    module = settle(stacked_network())
    stream = convert(module, window=96, hop=8, channels=3)
    signal = torch.randn(1, 3, 96)
    assert stream.push(signal[..., :88]).shape == (0, 1, 3)
    rows = stream.push(signal[..., 88:])
    assert relative_error(rows, windows_of(module, signal, 96, 8)) < 5e-6


def test_weight_normalised_convolutions_are_converted() -> None:
    conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 4, 3, padding=1))
    module = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(4 * 48, 2)).eval()
    stream = convert(module, window=48, hop=4, channels=3, recompute="never")
    signal = torch.randn(1, 3, 400)
    rows = stream.push(signal)
    assert relative_error(rows, windows_of(module, signal, 48, 4)) < 5e-6


def test_a_last_frame_head_reuses_everything() -> None:
    class LastFrame(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(CausalBlock(3, 4, 1), CausalBlock(4, 4, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)[:, :, -1]

    module = LastFrame().eval()
    stream = convert(module, window=64, hop=2, channels=3, recompute="never")
    signal = torch.randn(1, 3, 400)
    rows = stream.push(signal)
    assert relative_error(rows, windows_of(module, signal, 64, 2)) < 5e-6
    assert stream.report.touched_by_padding == 0.0
    assert stream.report.reused_share > 0.9


def test_conditions_on_shapes_and_default_arguments_are_followed() -> None:
    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(3, 4, 3, padding=1)
            self.out = nn.Linear(4 * 48, 2)

        def forward(self, x: Tensor, mask: Tensor | None = None, scale: float = 2.0) -> Tensor:
            if x.dim() != 3:
                raise ValueError("three axes")
            batch, _, length = x.shape
            y = self.conv(x)
            if length % 2:
                y = F.pad(y, (0, 1))
            if mask is not None:
                y = y * mask
            return self.out((scale * y).reshape(batch, -1))

    module = Careful().eval()
    stream = convert(module, window=48, hop=4, channels=3, recompute="never")
    signal = torch.randn(1, 3, 300)
    assert relative_error(stream.push(signal), windows_of(module, signal, 48, 4)) < 5e-6
