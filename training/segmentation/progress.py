"""Time budget, learning rate and checkpoints of the trainings."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

WARM_UP = 0.03
SAVE_EVERY_S = 120.0


class Budget:
    """Training time spent, over all runs of a training that was interrupted.

    Args:
        minutes: Time that the training may take in all.
        spent_s: Time that earlier runs took.
    """

    def __init__(self, minutes: float, spent_s: float = 0.0) -> None:
        self._total_s = 60.0 * minutes
        self._started = time.monotonic() - spent_s

    @property
    def spent_s(self) -> float:
        """Seconds of training up to now."""
        return time.monotonic() - self._started

    @property
    def share(self) -> float:
        """Part of the budget that is spent, 0..1."""
        return min(1.0, self.spent_s / self._total_s)

    def rate(self, highest: float) -> float:
        """Learning rate: a short linear rise, then half a cosine to a hundredth."""
        if self.share < WARM_UP:
            return highest * (0.01 + 0.99 * self.share / WARM_UP)
        falling = (self.share - WARM_UP) / (1 - WARM_UP)
        return highest * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * falling)))


class Checkpoint:
    """The state of a training on disk, written every few minutes.

    Args:
        path: File.
        model: What is trained.
        optimiser: Its optimiser.
    """

    def __init__(self, path: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self._path, self._model, self._optimiser = path, model, optimiser
        self._saved = time.monotonic()

    def resume(self) -> tuple[float, int]:
        """Load the state; returns seconds spent and steps done."""
        state = torch.load(self._path, weights_only=True)
        self._model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        return float(state["spent_s"]), int(state["step"])

    def save(self, budget: Budget, step: int, *, now: bool = False) -> bool:
        """Write the state when it is time to; returns whether it was."""
        if not now and time.monotonic() - self._saved < SAVE_EVERY_S:
            return False
        self._saved = time.monotonic()
        state = {
            "model": self._model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "spent_s": budget.spent_s,
            "step": step,
        }
        write_tensors(state, self._path)
        return True


def write_tensors(state: Mapping[str, Any], path: Path) -> None:
    """Write a file that appears only when it is whole."""
    partial = path.with_name(f"{path.name}.partial")
    torch.save(state, partial)
    partial.replace(path)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()
