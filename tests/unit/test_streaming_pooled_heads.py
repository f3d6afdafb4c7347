"""Means, sums and maxima over a window are made of its hops, each reduced once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sensorium.streaming import convert

WINDOW, CHANNELS = 96, 3


class Pooled(nn.Module):
    """A small trunk and a head that pools over time in a given way."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv1d(CHANNELS, 8, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(8, 8, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.kind = kind
        self.average, self.maximum = nn.AdaptiveAvgPool1d(1), nn.AdaptiveMaxPool1d(1)
        self.dense = nn.Linear(16 if kind == "mean and max" else 8, 4)

    def forward(self, signal: Tensor) -> Tensor:
        x = self.trunk(signal)
        pooled = {
            "adaptive mean": lambda: self.average(x).flatten(1),
            "adaptive max": lambda: self.maximum(x).squeeze(-1),
            "mean": lambda: x.mean(dim=-1),
            "sum": lambda: torch.sum(x, 2),
            "amax": lambda: x.amax(2, keepdim=True).flatten(1),
            "mean and max": lambda: torch.cat([x.mean(-1), x.amax(-1)], dim=1),
        }[self.kind]()
        return self.dense(pooled)  # type: ignore[no-any-return]


KINDS = ("adaptive mean", "adaptive max", "mean", "sum", "amax", "mean and max")


def layers(stream: object) -> list[str]:
    return [cost.layer for cost in stream.report.layers]  # type: ignore[attr-defined]


@pytest.mark.parametrize("executor", ["torch", "onnxruntime"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_window_equals_the_network(kind: str, executor: str) -> None:
    torch.manual_seed(1)
    module = Pooled(kind).eval()
    stream = convert(
        module, window=WINDOW, hop=8, channels=CHANNELS, executor=executor, recompute="never"
    )
    assert any(layer.endswith("per hop") for layer in layers(stream))
    signal = torch.randn(1, CHANNELS, WINDOW + 50 * 8)
    rows = stream.push(signal)
    with torch.no_grad():
        expected = torch.stack([module(signal[..., 8 * r : 8 * r + WINDOW]) for r in range(51)])
    torch.testing.assert_close(rows, expected, atol=5e-6, rtol=5e-6)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("hop", [4, 8, 24])
def test_hops_stay_in_step_with_windows_that_wait_for_samples_on_the_right(
    hop: int, batch: int
) -> None:
    torch.manual_seed(2)
    module = Pooled("mean and max").eval()
    stream = convert(
        module, window=WINDOW, hop=hop, channels=CHANNELS, batch=batch, mode="stream",
        recompute="never",
    )  # fmt: skip
    assert any(layer.endswith("maxima per hop") for layer in layers(stream))
    signal = torch.randn(batch, CHANNELS, WINDOW + 40 * hop)
    rows = stream.push(signal)
    with torch.no_grad():
        embedding = module.trunk(signal)
    start = stream.timeline.first_window_start // 2
    for number, row in enumerate(rows):
        at = start + number * hop // 2
        part = embedding[..., at : at + WINDOW // 2]
        with torch.no_grad():
            expected = module.dense(torch.cat([part.mean(-1), part.amax(-1)], dim=1))
        if at >= 4 and at + WINDOW // 2 <= embedding.shape[-1] - 4:
            torch.testing.assert_close(row, expected, atol=5e-6, rtol=5e-6)


def test_a_window_that_is_no_whole_number_of_hops_is_pooled_as_before() -> None:
    module = Pooled("mean").eval()
    stream = convert(module, window=WINDOW, hop=20, channels=CHANNELS, recompute="never")
    assert not any(layer.endswith("per hop") for layer in layers(stream))


def test_integer_valued_networks_give_the_same_bits() -> None:
    module = Pooled("mean").eval()
    # A mean over 2^n positions does not round either.
    stream = convert(module, window=128, hop=32, channels=CHANNELS, recompute="never")
    assert stream.report.parity is not None
    assert stream.report.parity.integer_exact


def test_a_pooled_stream_goes_on_from_a_saved_state() -> None:
    torch.manual_seed(3)
    module = Pooled("mean").eval()
    stream = convert(module, window=WINDOW, hop=8, channels=CHANNELS, recompute="never")
    signal = torch.randn(1, CHANNELS, WINDOW + 20 * 8)
    stream.push(signal[..., : WINDOW + 80])
    state = stream.state()
    expected = stream.push(signal[..., WINDOW + 80 :])
    other = convert(module, window=WINDOW, hop=8, channels=CHANNELS, recompute="never")
    other.load_state(state)
    assert torch.equal(other.push(signal[..., WINDOW + 80 :]), expected)
