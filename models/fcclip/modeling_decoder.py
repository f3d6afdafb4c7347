"""Masked-attention transformer decoder: queries become masks and class embeddings.

Source: Cheng et al. 2022 (Mask2Former, section 3.2) with FC-CLIP's mask-pooled class head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.models.fcclip.configuration import FCCLIPConfig
from sensorium.models.fcclip.modeling_attention import PackedAttention
from sensorium.models.fcclip.modeling_pixel_decoder import LEVELS, PixelFeatures, sine_position

POOLING_EPS = 1e-8


@dataclass(frozen=True)
class HeadOutput:
    """What one run of the prediction head says.

    Attributes:
        mask_logits: (B, Q, H/4, W/4).
        class_embedding: (B, Q, embed_dim) in CLIP's joint space, not normalised.
    """

    mask_logits: Tensor
    class_embedding: Tensor


class MaskDecoder(nn.Module):
    """Queries attend to one pyramid level per layer, inside their own current mask."""

    def __init__(self, config: FCCLIPConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        layers = range(config.decoder_layers)
        self.transformer_self_attention_layers = nn.ModuleList(
            SelfAttentionLayer(config) for _ in layers
        )
        self.transformer_cross_attention_layers = nn.ModuleList(
            CrossAttentionLayer(config) for _ in layers
        )
        self.transformer_ffn_layers = nn.ModuleList(FeedForwardLayer(config) for _ in layers)
        self.decoder_norm = nn.LayerNorm(dim)
        self.query_feat = nn.Embedding(config.queries, dim)
        self.query_embed = nn.Embedding(config.queries, dim)
        self.level_embed = nn.Embedding(LEVELS, dim)
        self.mask_embed = Perceptron((dim, dim, dim, dim))
        self._mask_pooling_proj = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim))
        self.class_embed = Perceptron((dim, dim, dim, config.embed_dim))
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def forward(self, pixels: PixelFeatures, *, every_head: bool = False) -> list[HeadOutput]:
        """Decode all queries.

        A prediction head stands before every layer and after the last one. Between layers only its
        mask at the size of the next level is needed, and that is the product of the mask embedding
        with mask features already resized to that level (resizing is linear over space).

        Args:
            pixels: Output of the pixel decoder.
            every_head: Also return the intermediate heads, which inference does not need.

        Returns:
            The last head's output alone, or all of them in order.
        """
        batch = len(pixels.mask_features)
        memories, keys, resized = self._levels(pixels)
        queries = self.query_feat.weight.expand(batch, -1, -1)
        position = self.query_embed.weight
        outputs: list[HeadOutput] = []
        for i, (cross, self_attention, feed_forward) in enumerate(
            zip(
                self.transformer_cross_attention_layers,
                self.transformer_self_attention_layers,
                self.transformer_ffn_layers,
                strict=True,
            )
        ):
            if every_head:
                outputs.append(self.predict(queries, pixels.mask_features))
            level = i % LEVELS
            allowed = self._attention_mask(queries, resized[level])
            queries = cross(queries, position, keys[level], memories[level], allowed)
            queries = self_attention(queries, position)
            queries = feed_forward(queries)
        return [*outputs, self.predict(queries, pixels.mask_features)]

    def predict(self, queries: Tensor, mask_features: Tensor) -> HeadOutput:
        """Run the prediction head on (B, Q, dim) queries."""
        normed = self.decoder_norm(queries)
        mask_logits = torch.einsum("bqc,bchw->bqhw", self.mask_embed(normed), mask_features)
        pooled = self._mask_pooling_proj(pool_by_mask(mask_features, mask_logits))
        return HeadOutput(mask_logits, self.class_embed(pooled + normed))

    def _levels(self, pixels: PixelFeatures) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        memories, keys, resized = [], [], []
        for level, embed in zip(pixels.levels, self.level_embed.weight, strict=True):
            size = (level.shape[-2], level.shape[-1])
            memory = level.flatten(2).transpose(1, 2) + embed
            memories.append(memory)
            keys.append(memory + sine_position(size, memory.shape[-1], memory.device).flatten(0, 1))
            # The attention mask is a hard decision that no gradient passes.
            resized.append(resize(pixels.mask_features.detach(), size).flatten(2))
        return memories, keys, resized

    @torch.no_grad()
    def _attention_mask(self, queries: Tensor, mask_features: Tensor) -> Tensor:
        logits = self.mask_embed(self.decoder_norm(queries)) @ mask_features
        # Compared after the sigmoid, as published: it rounds to 0.5 slightly below a logit of zero.
        allowed = logits.sigmoid() >= 0.5
        blocked_everywhere = ~allowed.any(-1, keepdim=True)
        return torch.logical_or(allowed, blocked_everywhere)


class CrossAttentionLayer(nn.Module):
    """Queries attend to image memory, post-norm."""

    def __init__(self, config: FCCLIPConfig) -> None:
        super().__init__()
        self.multihead_attn = PackedAttention(config.hidden_dim, config.attention_heads)
        self.norm = nn.LayerNorm(config.hidden_dim)

    def forward(
        self, queries: Tensor, position: Tensor, keys: Tensor, memory: Tensor, allowed: Tensor
    ) -> Tensor:
        """Map (B, Q, dim) to the same shape; keys and memory (B, N, dim), allowed (B, Q, N)."""
        attended = self.multihead_attn(queries + position, keys, memory, allowed=allowed)
        normed: Tensor = self.norm(queries + attended)
        return normed


class SelfAttentionLayer(nn.Module):
    """Queries attend to each other, post-norm."""

    def __init__(self, config: FCCLIPConfig) -> None:
        super().__init__()
        self.self_attn = PackedAttention(config.hidden_dim, config.attention_heads)
        self.norm = nn.LayerNorm(config.hidden_dim)

    def forward(self, queries: Tensor, position: Tensor) -> Tensor:
        """Map (B, Q, dim) to the same shape."""
        placed = queries + position
        normed: Tensor = self.norm(queries + self.self_attn(placed, placed, queries))
        return normed


class FeedForwardLayer(nn.Module):
    """Two linear layers with ReLU, post-norm."""

    def __init__(self, config: FCCLIPConfig) -> None:
        super().__init__()
        self.linear1 = nn.Linear(config.hidden_dim, config.decoder_ffn_dim)
        self.linear2 = nn.Linear(config.decoder_ffn_dim, config.hidden_dim)
        self.norm = nn.LayerNorm(config.hidden_dim)

    def forward(self, queries: Tensor) -> Tensor:
        """Map (B, Q, dim) to the same shape."""
        hidden = self.linear2(functional.relu(self.linear1(queries)))
        normed: Tensor = self.norm(queries + hidden)
        return normed


class Perceptron(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., widths[0]) to (..., widths[-1])."""
        *hidden, last = self.layers
        for layer in hidden:
            x = functional.relu(layer(x))
        output: Tensor = last(x)
        return output


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (B, C, H, W) maps bilinearly, without antialiasing, to (height, width)."""
    if maps.shape[-2:] == size:
        return maps
    return functional.interpolate(maps, size=size, mode="bilinear")


def pool_by_mask(features: Tensor, mask_logits: Tensor) -> Tensor:
    """Average features inside each mask, where its logit is positive.

    Args:
        features: (B, C, h, w).
        mask_logits: (B, Q, H, W), resized to the features when sizes differ.

    Returns:
        (B, Q, C); zero where a mask is empty.
    """
    inside = resize(mask_logits.detach(), (features.shape[-2], features.shape[-1])) > 0
    inside = inside.to(features.dtype)
    area = inside.sum(dim=(-1, -2), keepdim=True) + POOLING_EPS
    return torch.einsum("bchw,bqhw->bqc", features, inside / area)
