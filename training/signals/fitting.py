"""Fits a window network, plainly or with signal padding, deterministically."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sensorium.streaming.training import SignalPadded

Batches = Callable[
    [int, np.random.Generator], tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
]


def fit(
    network: nn.Module,
    batches: Callable[[int, int], Batches],
    *,
    window: int,
    channels: int,
    mode: str,
    steps: int,
    seed: int,
    batch: int = 64,
    learning_rate: float = 3e-3,
    class_weights: tuple[float, ...] | None = None,
) -> None:
    """Trains `network` in place and leaves it in eval mode.

    Args:
        network: the untrained window network.
        batches: given the samples of an example and how many of them lie after its window,
            returns a drawer of (batch, channels, samples) and labels (batch,) of the windows.
        window: samples of one window.
        channels: channels of the signal.
        mode: "stream" trains with signal padding, "exact_window" on plain windows.
        steps: optimiser steps.
        seed: of the draws.
        batch: examples per step.
        learning_rate: highest of the one-cycle schedule.
        class_weights: of the loss, one per class.
    """
    network.eval()
    trained: nn.Module = network
    samples, after = window, 0
    if mode == "stream":
        trained = padded = SignalPadded(network, window=window, channels=channels)
        samples, after = padded.samples, padded.lookahead
    draw = batches(samples, after)
    trained.train()
    weights = None if class_weights is None else torch.tensor(class_weights)
    loss_of = nn.CrossEntropyLoss(weight=weights, label_smoothing=0.02)
    optimiser = torch.optim.AdamW(trained.parameters(), lr=learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
    generator = np.random.default_rng(seed)
    for _ in range(steps):
        inputs, labels = draw(batch, generator)
        loss: Tensor = loss_of(trained(torch.from_numpy(inputs)), torch.from_numpy(labels))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    trained.eval()
    network.eval()
