"""The report's numbers, and the promise never to be slower than recomputation."""

from __future__ import annotations

import json

import pytest
import torch
from streaming_networks import relative_error, settle, windows_of
from torch import nn

from sensorium.streaming import convert

torch.set_num_threads(1)


def network(window: int = 256) -> nn.Module:
    torch.manual_seed(5)
    return settle(
        nn.Sequential(
            nn.Conv1d(2, 8, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 16, 3),
            nn.Flatten(), nn.Linear(16 * (window // 2 - 2), 4),
        )
    )  # fmt: skip


def test_costs_are_counted_by_layer() -> None:
    report = convert(network(), window=256, hop=8, channels=2, recompute="never").report
    first, second = (layer for layer in report.layers if "Conv1d" in layer.layer)
    assert first.layer == "0 (Conv1d)"
    assert first.macs_per_window == 256 * 2 * 8 * 5
    assert second.macs_per_window == 126 * 8 * 16 * 3
    assert first.positions_per_hop == 2 + 8 + 2
    assert report.head_macs == 16 * 126 * 4
    assert report.macs_floor == 8 * 80 + 4 * 8 * 16 * 3 + report.head_macs
    assert report.macs_floor <= report.macs_per_hop < report.macs_per_window


def test_receptive_field_padding_and_reuse() -> None:
    report = convert(network(), window=256, hop=8, channels=2, recompute="never").report
    assert report.receptive_field == 5 + 1 + 2 * 2
    assert report.touched_by_padding == pytest.approx(2 / 126)
    assert 0.9 < report.reused_share < 1.0
    assert report.state_bytes > 4 * 2 * 256
    assert report.output_shape == (1, 4)


def test_a_report_is_plain_data() -> None:
    report = convert(network(), window=256, hop=8, channels=2).report
    held = json.loads(json.dumps(report.as_dict()))
    assert held["parity"]["random_error"] <= 5e-6
    assert held["mode"] == "exact_window"


def test_the_faster_of_reuse_and_recomputation_is_kept_and_named() -> None:
    report = convert(network(), window=256, hop=8, channels=2).report
    faster = report.step_ms <= report.recompute_ms
    assert report.recomputes is not faster
    assert report.decision.startswith("reuse" if faster else "recomputes every window")


@pytest.mark.parametrize("executor", ["torch", "onnxruntime"])
@pytest.mark.parametrize("mode", ["exact_window", "stream"])
def test_recomputation_gives_the_same_rows(mode: str, executor: str) -> None:
    module = network()
    signal = torch.randn(1, 2, 256 + 16 * 40)
    rows = [
        convert(
            module, window=256, hop=16, channels=2, mode=mode, executor=executor, recompute=how
        ).push(signal)
        for how in ("never", "always")
    ]
    assert relative_error(*rows) < 5e-6
    if mode == "exact_window":
        assert relative_error(rows[1], windows_of(module, signal, 256, 16)) < 5e-6


def test_a_hop_of_the_whole_window_reuses_nothing() -> None:
    module = network()
    stream = convert(module, window=256, hop=256, channels=2, recompute="never")
    assert stream.report.reused_share == 0.0
    signal = torch.randn(1, 2, 256 * 4)
    assert relative_error(stream.push(signal), windows_of(module, signal, 256, 256)) < 5e-6
