"""From directions of words to one vector of the instruction, and its influence on features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["InstructionNetwork", "LanguageModulation"]


class InstructionNetwork(nn.Module):
    """Words to a vector: the strongest and the mean response of each channel over the words.

    The maximum lets a single word decide ("red"), whatever stands around it; order is not read.

    Args:
        word_size: Values per word.
        size: Values of the result.
    """

    def __init__(self, word_size: int, size: int) -> None:
        super().__init__()
        self.word = nn.Linear(word_size, size, bias=False)
        self.mix = nn.Sequential(nn.Linear(2 * size, size), nn.ReLU(), nn.Linear(size, size))

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """(B, size) of words (B, W, word_size) with mask (B, W), 1 where there is a word."""
        response = self.word(words)
        present = mask[..., None]
        strongest = (response + (present - 1.0) * 1e4).amax(1).clamp(min=-10.0)
        mean = (response * present).sum(1) / present.sum(1).clamp(min=1.0)
        vector: Tensor = self.mix(torch.cat((strongest, mean), dim=1))
        return functional.relu(vector)


class LanguageModulation(nn.Module):
    """Scales and shifts the channels of places by the instruction.

    Source: Perez et al. 2018 (FiLM).
    """

    def __init__(self, text_size: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Linear(text_size, 2 * channels)
        nn.init.zeros_(self.project.bias)

    def forward(self, features: Tensor, text: Tensor) -> Tensor:
        """Features (B, N, C), text (B, size) -> (B, N, C)."""
        scale, shift = self.project(text)[:, None].chunk(2, dim=2)
        return torch.addcmul(shift, features, 1.0 + scale)
