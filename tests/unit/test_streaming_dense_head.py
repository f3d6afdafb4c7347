"""Large dense heads are multiplied ahead, a group of positions per hop: still the same sums."""

from __future__ import annotations

import pytest
import torch
from streaming_networks import push_in_pieces, relative_error, settle, windows_of
from torch import Tensor, nn

from sensorium.streaming import SignalStream, convert

torch.set_num_threads(1)
WINDOW = 256


class Viewed(nn.Module):
    """Flattens with view and drops out before the Linear, as many published heads do."""

    def __init__(self, trunk: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head
        self.drop = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.trunk(x)
        return self.head(self.drop(y.view(y.size(0), -1)))


def network(centred: bool, viewed: bool) -> nn.Module:
    torch.manual_seed(21)
    trunk = nn.Sequential(
        nn.Conv1d(2, 16, 5, padding=2 if centred else 0), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(16, 32, 3, padding=1 if centred else 0), nn.ReLU(),
    )  # fmt: skip
    positions = trunk(torch.zeros(1, 2, WINDOW)).shape[-1]
    head = nn.Sequential(nn.Linear(32 * positions, 72), nn.ReLU(), nn.Linear(72, 3))
    if viewed:
        return settle(Viewed(trunk, head))
    return settle(nn.Sequential(*trunk, nn.Flatten(), *head))


def levels(stream: SignalStream) -> tuple[object, ...]:
    split = stream._stepper.executor.split
    return () if split is None else split.levels


@pytest.mark.parametrize("viewed", [False, True])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("hop", [2, 8, 32])
def test_every_window_equals_the_network(hop: int, centred: bool, viewed: bool) -> None:
    module = network(centred, viewed)
    stream = convert(
        module, window=WINDOW, hop=hop, channels=2, executor="onnxruntime", recompute="never"
    )
    assert levels(stream)
    signal = torch.randn(1, 2, WINDOW + hop * 150)
    rows = push_in_pieces(stream, signal, hop)
    assert relative_error(rows, windows_of(module, signal, WINDOW, hop)) < 5e-6
    assert stream.report.parity.integer_exact


def test_signal_padding_agrees_with_the_plain_executor() -> None:
    module = network(centred=True, viewed=False)
    signal = torch.randn(1, 2, WINDOW + 8 * 150)
    rows = []
    for executor in ("onnxruntime", "torch"):
        stream = convert(
            module, window=WINDOW, hop=8, channels=2, mode="stream", executor=executor,
            recompute="never",
        )  # fmt: skip
        rows.append(stream.push(signal))
    assert relative_error(*rows) < 5e-6


def test_nothing_is_carried_over_a_reset_or_drifts() -> None:
    module = network(centred=True, viewed=False)
    stream = convert(
        module, window=WINDOW, hop=8, channels=2, executor="onnxruntime", recompute="never"
    )
    stream.push(1e6 * torch.randn(1, 2, WINDOW + 8 * 77))
    quiet = torch.randn(1, 2, WINDOW + 8 * 100)
    rows = stream.push(quiet)[-100:]
    assert relative_error(rows, windows_of(module, quiet, WINDOW, 8)[-100:]) < 5e-6
    stream.reset()
    assert relative_error(stream.push(quiet), windows_of(module, quiet, WINDOW, 8)) < 5e-6


@pytest.mark.parametrize("case", ["batch", "small head", "torch head"])
def test_it_stays_off_where_it_does_not_apply(case: str) -> None:
    module = network(centred=True, viewed=False)
    if case == "small head":
        module[6] = nn.Linear(module[6].in_features, 4)
        module[8] = nn.Linear(4, 3)
    if case == "torch head":
        module[7] = nn.Softplus(beta=2)
    batch = 2 if case == "batch" else 1
    stream = convert(
        module.eval(), window=WINDOW, hop=8, channels=2, batch=batch, executor="onnxruntime",
        recompute="never",
    )  # fmt: skip
    assert not levels(stream)
    signal = torch.randn(batch, 2, WINDOW + 8 * 40)
    assert relative_error(stream.push(signal), windows_of(module, signal, WINDOW, 8)) < 5e-6
