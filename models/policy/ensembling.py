"""Temporal ensembling of action chunks at inference."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

__all__ = ["TemporalEnsembler", "ensembling_weights"]


def ensembling_weights(count: int, coefficient: float) -> Tensor:
    """Weights for ``count`` predictions of one action, oldest first.

    Source: Zhao et al. 2023 (ACT), Algorithm 2: w_i = exp(-m * i), i = 0 for the oldest.

    Args:
        count: Number of predictions, at least 1.
        coefficient: m. Positive prefers old predictions, negative new ones, zero averages.

    Returns:
        (count,) float64 weights that sum to 1.
    """
    exponents = -coefficient * torch.arange(count, dtype=torch.float64)
    return torch.softmax(exponents, dim=0)


class TemporalEnsembler:
    """Averages what the last chunks say about the present step.

    A chunk predicted j steps ago speaks about the present in its row j, so a chunk of T rows
    takes part for T steps. All predictions for the step are averaged with
    :func:`ensembling_weights`. Equal to LeRobot's running average up to rounding.
    """

    def __init__(self, coefficient: float, chunk_size: int) -> None:
        self._coefficient = coefficient
        self._chunks: deque[Tensor] = deque(maxlen=chunk_size)

    def reset(self) -> None:
        """Forgets all chunks."""
        self._chunks.clear()

    def update(self, chunk: Tensor) -> Tensor:
        """Takes the chunk predicted at this step and returns the action of this step.

        Args:
            chunk: (T, A) floating; row 0 is the present step.

        Returns:
            (A,) action in the chunk's dtype.
        """
        self._chunks.append(chunk)
        count = len(self._chunks)
        predictions = torch.stack([c[count - 1 - i] for i, c in enumerate(self._chunks)])
        weights = ensembling_weights(count, self._coefficient).to(predictions.device)
        return (weights @ predictions.double()).to(chunk.dtype)
