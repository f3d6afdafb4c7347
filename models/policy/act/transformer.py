"""ACT's transformer layers: positions are added to queries and keys at every layer, as in DETR."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.models.policy.act.configuration import ActConfiguration

__all__ = ["Decoder", "Encoder", "image_positions", "sequence_positions"]

_TEMPERATURE = 10000.0
_EPS = 1e-6


class FeedForward(nn.Module):
    """Holds the two linear layers of a block; mixed into the layers to keep published keys flat."""

    def __init__(self, configuration: ActConfiguration) -> None:
        super().__init__()
        self.linear1 = nn.Linear(configuration.dim_model, configuration.dim_feedforward)
        self.linear2 = nn.Linear(configuration.dim_feedforward, configuration.dim_model)
        gelu = configuration.feedforward_activation == "gelu"
        self._activation = functional.gelu if gelu else functional.relu
        self._pre_norm = configuration.pre_norm

    def _feed_forward(self, tokens: Tensor) -> Tensor:
        hidden: Tensor = self.linear2(self._activation(self.linear1(tokens)))
        return hidden


class EncoderLayer(FeedForward):
    """Self-attention and feed-forward, each with a residual and a layer norm."""

    def __init__(self, configuration: ActConfiguration) -> None:
        super().__init__(configuration)
        self.self_attn = nn.MultiheadAttention(configuration.dim_model, configuration.n_heads)
        self.norm1 = nn.LayerNorm(configuration.dim_model)
        self.norm2 = nn.LayerNorm(configuration.dim_model)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """(N, B, D) tokens and (N, 1, D) positions to (N, B, D)."""
        if self._pre_norm:
            tokens = tokens + self._attend(self.norm1(tokens), positions)
            return tokens + self._feed_forward(self.norm2(tokens))
        tokens = self.norm1(tokens + self._attend(tokens, positions))
        normalized: Tensor = self.norm2(tokens + self._feed_forward(tokens))
        return normalized

    def _attend(self, tokens: Tensor, positions: Tensor) -> Tensor:
        query = tokens + positions
        attended: Tensor = self.self_attn(query, query, tokens, need_weights=False)[0]
        return attended


class Encoder(nn.Module):
    """A stack of encoder layers, with a last layer norm only in the pre-norm form."""

    def __init__(self, configuration: ActConfiguration, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(configuration) for _ in range(layers))
        self.norm = nn.LayerNorm(configuration.dim_model) if configuration.pre_norm else None

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """(N, B, D) tokens and (N, 1, D) positions to (N, B, D)."""
        for layer in self.layers:
            tokens = layer(tokens, positions)
        return tokens if self.norm is None else self.norm(tokens)


class DecoderLayer(FeedForward):
    """Self-attention, attention to the encoder's tokens, feed-forward."""

    def __init__(self, configuration: ActConfiguration) -> None:
        super().__init__(configuration)
        width, heads = configuration.dim_model, configuration.n_heads
        self.self_attn = nn.MultiheadAttention(width, heads)
        self.multihead_attn = nn.MultiheadAttention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(
        self, tokens: Tensor, positions: Tensor, memory: Tensor, memory_keys: Tensor
    ) -> Tensor:
        """(T, B, D) tokens to (T, B, D).

        Args:
            tokens: (T, B, D) what the layer refines.
            positions: (T, 1, D) added to queries and to self-attention keys.
            memory: (N, B, D) the encoder's output, the values.
            memory_keys: (N, B, D) the encoder's output with its positions.
        """
        if self._pre_norm:
            tokens = tokens + self._attend_self(self.norm1(tokens), positions)
            query = self.norm2(tokens) + positions
            tokens = tokens + self._attend_memory(query, memory, memory_keys)
            return tokens + self._feed_forward(self.norm3(tokens))
        tokens = self.norm1(tokens + self._attend_self(tokens, positions))
        tokens = self.norm2(tokens + self._attend_memory(tokens + positions, memory, memory_keys))
        normalized: Tensor = self.norm3(tokens + self._feed_forward(tokens))
        return normalized

    def _attend_self(self, tokens: Tensor, positions: Tensor) -> Tensor:
        query = tokens + positions
        attended: Tensor = self.self_attn(query, query, tokens, need_weights=False)[0]
        return attended

    def _attend_memory(self, query: Tensor, memory: Tensor, memory_keys: Tensor) -> Tensor:
        attended: Tensor = self.multihead_attn(query, memory_keys, memory, need_weights=False)[0]
        return attended


class Decoder(nn.Module):
    """A stack of decoder layers and a last layer norm."""

    def __init__(self, configuration: ActConfiguration) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(configuration) for _ in range(configuration.n_decoder_layers)
        )
        self.norm = nn.LayerNorm(configuration.dim_model)

    def forward(
        self, tokens: Tensor, positions: Tensor, memory: Tensor, memory_positions: Tensor
    ) -> Tensor:
        """(T, B, D) tokens, attending (N, B, D) memory, to (T, B, D)."""
        memory_keys = memory + memory_positions
        for layer in self.layers:
            tokens = layer(tokens, positions, memory, memory_keys)
        normalized: Tensor = self.norm(tokens)
        return normalized


def sequence_positions(count: int, width: int) -> Tensor:
    """Sinusoidal positions of a sequence (Vaswani et al. 2017, section 3.5).

    Returns:
        (count, width) float32, sine in even and cosine in odd columns.
    """
    column = torch.arange(width, dtype=torch.float64)
    rate = _TEMPERATURE ** (-2 * (column // 2) / width)
    angle = torch.arange(count, dtype=torch.float64)[:, None] * rate
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


def image_positions(height: int, width: int, dim_model: int, device: torch.device) -> Tensor:
    """Sinusoidal positions of image cells (Carion et al. 2020, DETR), scaled to 0..2 pi.

    Args:
        height: Rows of the feature map.
        width: Columns of the feature map.
        dim_model: D; the first half encodes the row, the second the column.
        device: Where the result lies.

    Returns:
        (height * width, 1, D) float32, row by row.
    """
    rows = _axis_positions(height, dim_model // 2, device)
    columns = _axis_positions(width, dim_model // 2, device)
    grid = torch.cat(
        (
            rows[:, None, :].expand(height, width, -1),
            columns[None, :, :].expand(height, width, -1),
        ),
        dim=-1,
    )
    return grid.reshape(height * width, 1, dim_model)


def _axis_positions(count: int, width: int, device: torch.device) -> Tensor:
    cell = torch.arange(1, count + 1, dtype=torch.float32, device=device)
    scaled = cell / (count + _EPS) * (2 * math.pi)
    column = torch.arange(width, dtype=torch.float32, device=device)
    angle = scaled[:, None] / _TEMPERATURE ** (2 * (column // 2) / width)
    return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=-1).flatten(1)
