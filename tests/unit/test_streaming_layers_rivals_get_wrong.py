"""Layers that other streaming libraries get silently wrong: equal to torch here, or refused."""

from __future__ import annotations

import pytest
import torch
from streaming_networks import relative_error, windows_of
from torch import nn

from sensorium.streaming import NotStreamableError, convert

torch.set_num_threads(1)

POOLS = {
    "padded max-pool": nn.MaxPool1d(3, stride=2, padding=1),
    "dilated max-pool": nn.MaxPool1d(3, stride=1, padding=1, dilation=2),
    "overlapping max-pool": nn.MaxPool1d(4, stride=2),
    "max-pool with gaps": nn.MaxPool1d(2, stride=3),
    "average without padding in the count": nn.AvgPool1d(
        4, stride=2, padding=2, count_include_pad=False
    ),
    "average with padding in the count": nn.AvgPool1d(3, stride=3, padding=1),
}


@pytest.mark.parametrize("executor", ["torch", "onnxruntime"])
@pytest.mark.parametrize("name", POOLS)
def test_pooling_equals_torch_on_shifted_signals(name: str, executor: str) -> None:
    torch.manual_seed(3)
    module = nn.Sequential(
        nn.Conv1d(2, 4, 3, padding=1), POOLS[name], nn.Conv1d(4, 4, 3, padding=1)
    ).eval()
    stream = convert(
        module, window=48, hop=6, channels=2, batch=2, executor=executor, recompute="never"
    )
    signal = torch.randn(2, 2, 400) - 10.0
    signal = signal[..., : signal.shape[-1] // 6 * 6]
    rows = stream.push(signal)
    assert relative_error(rows, windows_of(module, signal, 48, 6)) < 5e-6


@pytest.mark.parametrize("name", POOLS)
def test_pooling_straight_on_the_signal_streams_like_one_long_pass(name: str) -> None:
    pool = POOLS[name]
    module = nn.Sequential(pool, nn.Conv1d(2, 3, 1)).eval()
    stream = convert(module, window=48, hop=6, channels=2, mode="stream", recompute="never")
    signal = torch.randn(1, 2, 300) - 10.0
    rows = stream.push(signal)
    with torch.no_grad():
        whole = module(signal)
    stride = pool.stride[0] if isinstance(pool.stride, tuple) else pool.stride
    starts = [(stream.timeline.first_window_start + 6 * r) // stride for r in range(rows.shape[0])]
    reference = torch.stack([whole[..., s : s + rows.shape[-1]] for s in starts])
    assert relative_error(rows, reference) < 5e-6


def test_ceil_mode_is_refused() -> None:
    module = nn.Sequential(nn.Conv1d(1, 2, 3), nn.MaxPool1d(2, ceil_mode=True)).eval()
    with pytest.raises(NotStreamableError, match=r"1 \(MaxPool1d\).*ceil_mode=True"):
        convert(module, window=33, hop=2, channels=1)


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(2, 4), nn.InstanceNorm1d(4), nn.InstanceNorm1d(4, affine=True)]
)
def test_whole_window_normalisation_is_refused(norm: nn.Module) -> None:
    module = nn.Sequential(nn.Conv1d(1, 4, 3), norm, nn.ReLU()).eval()
    with pytest.raises(NotStreamableError, match="statistics of the whole window"):
        convert(module, window=32, hop=2, channels=1)


@pytest.mark.parametrize("hop", [1, 5, 12, 100])
def test_misaligned_hops_are_refused_with_the_nearest_valid_ones(hop: int) -> None:
    module = nn.Sequential(
        nn.Conv1d(1, 4, 3, padding=1), nn.MaxPool1d(4), nn.Conv1d(4, 4, 3, stride=2, padding=1)
    ).eval()
    below, above = hop - hop % 8, hop - hop % 8 + 8
    nearest = f"{below} or {above}" if below else str(above)
    with pytest.raises(NotStreamableError, match=rf"hop of {nearest} \(multiples of 8\)"):
        convert(module, window=256, hop=hop, channels=1)


def test_tracking_instance_norm_is_pointwise_and_streams() -> None:
    norm = nn.InstanceNorm1d(4, affine=True, track_running_stats=True)
    module = nn.Sequential(nn.Conv1d(1, 4, 3, padding=1), norm, nn.ReLU())
    module(torch.randn(8, 1, 64))
    module.eval()
    signal = torch.randn(1, 1, 300)
    rows = convert(module, window=32, hop=2, channels=1, recompute="never").push(signal)
    assert relative_error(rows, windows_of(module, signal, 32, 2)) < 5e-6
