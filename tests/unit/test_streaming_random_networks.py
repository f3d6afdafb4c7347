"""Random networks: what converts is exact, what does not is refused; nothing is silently wrong."""

from __future__ import annotations

import hypothesis
import torch
from hypothesis import strategies as st
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

from sensorium.streaming import NotStreamableError, convert

torch.set_num_threads(1)


class Cropped(nn.Module):
    def __init__(self, left: int, right: int) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, self.left : -self.right or None]


class EveryOther(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[..., 1::2]


class MeanHead(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(-1)


class RecurrentHead(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gru = nn.GRU(channels, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(x.transpose(1, 2))[0][:, -1]


ACTIVATIONS = (
    nn.ReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.LeakyReLU, nn.Hardtanh, nn.Softplus, nn.Mish,
    nn.Hardswish, nn.ReLU6, nn.SELU, nn.Hardsigmoid, nn.Sigmoid,
)  # fmt: skip


@st.composite
def layers(draw: st.DrawFn, channels: int) -> tuple[nn.Module, int]:
    """One layer and the channels it leaves."""

    def pick(*options: object) -> object:
        return draw(st.sampled_from(options))

    kernel, dilation, out = pick(1, 2, 3, 4, 5), pick(1, 1, 2, 3), pick(2, 3, 4)
    same = (kernel - 1) * dilation // 2
    kept = {
        "activation": pick(*ACTIVATIONS),
        "max": lambda: nn.MaxPool1d(2, pick(1, 2, 3)),
        "padded max": lambda: nn.MaxPool1d(3, pick(1, 2), padding=1, dilation=pick(1, 2)),
        "average": lambda: nn.AvgPool1d(3, pick(1, 2), 1, count_include_pad=pick(True, False)),
        "batch norm": lambda: nn.BatchNorm1d(channels),
        "channel norm": lambda: ChannelNorm(channels),
        "upsample": lambda: nn.Upsample(scale_factor=2),
        "depthwise": lambda: nn.Conv1d(channels, channels, kernel, padding=1, groups=channels),
        "edge pad": lambda: nn.ReplicationPad1d((2, pick(0, 1))),
        "constant pad": lambda: nn.ConstantPad1d((pick(0, 3), 0), 1.0),
        "crop": lambda: Cropped(pick(0, 1, 3), pick(0, 1, 2)),
        "every other": EveryOther,
    }
    made = {
        "conv": lambda: nn.Conv1d(channels, out, kernel, dilation=dilation, padding=pick(0, same)),
        "strided": lambda: nn.Conv1d(channels, out, kernel, stride=pick(2, 3), padding=kernel // 2),
        "edge conv": lambda: nn.Conv1d(
            channels, out, kernel, padding=kernel // 2, padding_mode="replicate"
        ),
        "residual": lambda: Residual(channels, out, pick(1, 2)),
        "causal": lambda: CausalBlock(channels, out, pick(1, 2)),
    }
    name = draw(st.sampled_from([*kept, *made, "inception", "conv", "conv"]))
    if name == "inception":
        return Inception(channels, 2), channels + 4
    return (kept[name](), channels) if name in kept else (made[name](), out)


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Module, int, int]:
    """A network, its channels and its window."""
    torch.manual_seed(draw(st.integers(0, 1000)))
    first = channels = draw(st.integers(1, 3))
    window = draw(st.sampled_from([24, 36, 48, 60, 96]))
    trunk = []
    for _ in range(draw(st.integers(1, 6))):
        layer, channels = draw(layers(channels))
        trunk.append(layer)
    body = nn.Sequential(*trunk).eval()
    try:
        positions = body(torch.zeros(1, first, window)).shape[-1]
    except RuntimeError:
        hypothesis.reject()
    hypothesis.assume(positions > 0)
    heads = {
        "none": [],
        "dense": [nn.Flatten(), nn.Linear(positions * channels, 4), nn.ReLU(), nn.Linear(4, 2)],
        "mean": [MeanHead(), nn.Linear(channels, 3)],
        "pool": [nn.AdaptiveMaxPool1d(1), nn.Flatten()],
        "segments": [nn.AdaptiveAvgPool1d(3), nn.Flatten()],
        "recurrent": [RecurrentHead(channels)],
    }
    head = heads[draw(st.sampled_from(list(heads)))]
    return settle(nn.Sequential(*trunk, *head)), first, window


@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
@hypothesis.given(
    made=networks(),
    hop=st.sampled_from([1, 2, 4, 6, 8, 12, 24]),
    batch=st.integers(1, 3),
    mode=st.sampled_from(["exact_window", "exact_window", "stream"]),
    recompute=st.sampled_from(["never", "never", "always"]),
    double=st.booleans(),
)
def test_random_networks_are_exact_or_refused(
    made: tuple[nn.Module, int, int], hop: int, batch: int, mode: str, recompute: str, double: bool
) -> None:
    module, channels, window = made
    dtype = torch.float64 if double else torch.float32
    module = module.to(dtype)
    hypothesis.assume(hop <= window)
    try:
        stream = convert(
            module, window=window, hop=hop, channels=channels, mode=mode, batch=batch,
            recompute=recompute,
        )  # fmt: skip
    except NotStreamableError as refusal:
        assert "self-check" not in str(refusal)
        assert "report" not in refusal.remedy
        return
    parity = stream.report.parity
    assert parity.random_error <= (1e-12 if double else 5e-6)
    if mode == "exact_window" and any(True for _ in module.parameters()):
        signal = torch.randn(batch, channels, (2 * window // hop + 30) * hop, dtype=dtype)
        rows = push_in_pieces(stream, signal, hop)
        reference = windows_of(module, signal, window, hop)[: rows.shape[0]]
        assert relative_error(rows, reference) <= (1e-12 if double else 5e-6)
