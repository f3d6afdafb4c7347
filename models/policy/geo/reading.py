"""Places of an image, what is known about them, and heads that look at them and read."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.models.policy.geo.text import LanguageModulation

__all__ = [
    "OFFSET_SIZE", "PlaceAttention", "PlaceEncoder", "attention_weights", "offset_code",
    "patches",
]  # fmt: skip

_WAVELENGTHS_M = (1.0, 0.5, 0.25, 0.12, 0.06, 0.03)
_OFFSET_UNIT_M = 0.1

OFFSET_SIZE = 3 + 6 * len(_WAVELENGTHS_M)
"""Values of :func:`offset_code` per offset."""


def offset_code(offset_m: Tensor) -> Tensor:
    """Fourier code of offsets, (..., 3) [m] to (..., OFFSET_SIZE).

    Source: Mildenhall et al. 2020 (NeRF), section 5.1; wavelengths from 1 m to 3 cm.
    """
    frequencies = offset_m.new_tensor([2 * math.pi / length for length in _WAVELENGTHS_M])
    phases = (offset_m[..., None] * frequencies).flatten(-2)
    return torch.cat((offset_m / _OFFSET_UNIT_M, phases.sin(), phases.cos()), dim=-1)


def patches(image: Tensor, size: int) -> Tensor:
    """Pixels of square patches, (B, 3, H, W) to (B, H / size * W / size, size * size * 3), 0..1."""
    b, _, height, width = image.shape
    cut = image.permute(0, 2, 3, 1).reshape(b, height // size, size, width // size, size * 3)
    return cut.transpose(2, 3).reshape(b, -1, size * size * 3)


def attention_weights(logits: Tensor, valid: Tensor) -> Tensor:
    """Softmax over the valid places only; all zero where none is valid.

    Args:
        logits: (B, heads, N).
        valid: (B, N), 1 or 0.

    Returns:
        (B, heads, N), summing to 1 or, without a valid place, to 0.
    """
    mask = valid[:, None, :] == 0
    # Far below any logit, yet finite: without a valid place the softmax is no NaN.
    weights = logits.masked_fill(mask, -1e9).softmax(-1)
    return weights * valid.amax(1)[:, None, None]


class PlaceEncoder(nn.Module):
    """Features of places on a grid: each place, then its neighbourhood, both modulated by language.

    Args:
        inputs: Values given per place.
        channels: Values made per place.
        text_size: Width of the instruction's vector.
        grid: Rows and columns.
    """

    def __init__(self, inputs: int, channels: int, text_size: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, channels)
        self.first_modulation = LanguageModulation(text_size, channels)
        self.mix = nn.Conv2d(channels, channels, 3, padding=1)
        self.second_modulation = LanguageModulation(text_size, channels)
        self._grid = grid

    def forward(self, places: Tensor, text: Tensor) -> Tensor:
        """Places (B, N, inputs), row-major, text (B, text_size) -> (B, N, channels)."""
        x = functional.relu(self.first_modulation(self.enter(places), text))
        # A view: memory stays place by place (channels_last), which is what the rest works on.
        rows, columns = self._grid
        x = self.mix(x.reshape(x.shape[0], rows, columns, -1).permute(0, 3, 1, 2))
        x = x.permute(0, 2, 3, 1).flatten(1, 2)
        return functional.relu(self.second_modulation(x, text))


class PlaceAttention(nn.Module):
    """Queries of the action side look at places.

    Args:
        action_size: Width of what the queries are made from.
        channels: Values per place.
        heads: Number of heads.
        value_size: Values that each head reads.
    """

    def __init__(self, action_size: int, channels: int, heads: int, value_size: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(action_size, heads * channels)
        # Reading before projecting is the same, as both are linear, and cheaper.
        self.value = nn.Parameter(torch.randn(heads, channels, value_size) * channels**-0.5)
        self._scale = channels**-0.5

    def forward(self, action: Tensor, places: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        """Looks and reads.

        Args:
            action: (B, action_size).
            places: (B, N, C).
            valid: (B, N), 1 or 0.

        Returns:
            Logits and weights (B, heads, N) and what is read, (B, heads * value_size); weights and
            reading are zero without valid places.
        """
        query = self.query(action).unflatten(1, (self.heads, -1))
        logits = (query @ places.mT).float() * self._scale
        weights = attention_weights(logits, valid)
        seen = weights.to(places.dtype) @ places
        read = torch.einsum("bhc,hcv->bhv", seen.float(), self.value.float())
        return logits, weights, read.flatten(1)
