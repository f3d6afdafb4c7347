"""Pixel decoder: a deformable-attention encoder over strides 32, 16, 8 and one FPN step to 4."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.models.fcclip.configuration import GROUP_NORM_GROUPS, FCCLIPConfig
from sensorium.models.fcclip.modeling_deformable import DeformableAttention

LEVELS = 3


@dataclass(frozen=True)
class PixelFeatures:
    """Output of the pixel decoder.

    Attributes:
        memory: (B, N, dim) encoder output, strides 32, 16, 8 flattened one after the other.
        levels: (B, dim, h, w) of the same memory per level, coarse to fine.
        mask_features: (B, dim, H/4, W/4), multiplied with mask embeddings.
    """

    memory: Tensor
    levels: tuple[Tensor, ...]
    mask_features: Tensor


class PixelDecoder(nn.Module):
    """Refines trunk features into decoder memory and mask features."""

    def __init__(self, config: FCCLIPConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.input_proj = nn.ModuleList(
            nn.Sequential(Convolution(width, dim, 1), nn.GroupNorm(GROUP_NORM_GROUPS, dim))
            for width in reversed(config.trunk_widths[1:])
        )
        self.transformer = Encoder(config)
        self.adapter_1 = NormedConvolution(config.trunk_widths[0], dim, 1)
        self.layer_1 = NormedConvolution(dim, dim, 3)
        self.mask_features = Convolution(dim, dim, 1)

    def forward(self, features: Sequence[Tensor]) -> PixelFeatures:
        """Decode the trunk outputs.

        Args:
            features: res2..res5 as (B, C, h, w), strides 4, 8, 16, 32.
        """
        res2, *finer_to_coarse = features
        coarse_to_fine = finer_to_coarse[::-1]
        projected = [p(x) for p, x in zip(self.input_proj, coarse_to_fine, strict=True)]
        sizes = [(x.shape[-2], x.shape[-1]) for x in projected]
        memory = self.transformer(projected)
        levels = tuple(
            part.transpose(1, 2).unflatten(2, size)
            for part, size in zip(memory.split([h * w for h, w in sizes], 1), sizes, strict=True)
        )
        upsampled = functional.interpolate(levels[-1], size=res2.shape[-2:], mode="bilinear")
        merged = functional.relu(self.layer_1(self.adapter_1(res2) + upsampled))
        return PixelFeatures(memory, levels, self.mask_features(merged))


class Convolution(nn.Conv2d):
    """Convolution that keeps channels-last memory; 1x1 runs as a linear layer on it."""

    def __init__(self, in_dim: int, out_dim: int, kernel_px: int, *, bias: bool = True) -> None:
        super().__init__(in_dim, out_dim, kernel_px, padding=kernel_px // 2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H, W)."""
        if self.kernel_size != (1, 1):
            return super().forward(x)
        pixels = functional.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
        return pixels.permute(0, 3, 1, 2)


class NormedConvolution(Convolution):
    """Convolution without bias, then group norm."""

    def __init__(self, in_dim: int, out_dim: int, kernel_px: int) -> None:
        super().__init__(in_dim, out_dim, kernel_px, bias=False)
        self.norm = nn.GroupNorm(GROUP_NORM_GROUPS, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H, W)."""
        normed: Tensor = self.norm(super().forward(x))
        return normed


class Encoder(nn.Module):
    """Deformable attention layers over all levels at once."""

    def __init__(self, config: FCCLIPConfig) -> None:
        super().__init__()
        self.level_embed = nn.Parameter(torch.randn(LEVELS, config.hidden_dim))
        self.encoder = nn.ModuleDict(
            {"layers": nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))}
        )

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map the levels (B, dim, h, w), coarse to fine, to their joint memory (B, N, dim)."""
        sizes = [(x.shape[-2], x.shape[-1]) for x in levels]
        memory = torch.cat([x.flatten(2).transpose(1, 2) for x in levels], 1)
        position = torch.cat(
            [
                sine_position(size, memory.shape[-1], memory.device).flatten(0, 1) + embed
                for size, embed in zip(sizes, self.level_embed, strict=True)
            ]
        )
        reference_xy = torch.cat([_pixel_centres(size, memory.device) for size in sizes])
        for layer in self.encoder["layers"]:  # type: ignore[attr-defined]
            memory = layer(memory, position, reference_xy, sizes)
        return memory


class EncoderLayer(nn.Module):
    """Deformable self-attention and feed-forward layer, both post-norm."""

    def __init__(self, config: FCCLIPConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.self_attn = DeformableAttention(
            dim, config.attention_heads, LEVELS, config.encoder_points
        )
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, config.encoder_ffn_dim)
        self.linear2 = nn.Linear(config.encoder_ffn_dim, dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(
        self,
        memory: Tensor,
        position: Tensor,
        reference_xy: Tensor,
        sizes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Map memory (B, N, dim) to the same shape; position (N, dim) goes to the query only."""
        attended = self.self_attn(memory + position, reference_xy, memory, sizes)
        memory = self.norm1(memory + attended)
        hidden = functional.relu(self.linear1(memory), inplace=True)
        output: Tensor = self.norm2(memory + self.linear2(hidden))
        return output


def sine_position(size: tuple[int, int], dim: int, device: torch.device) -> Tensor:
    """Return the sine position embedding of a feature map.

    Half of the channels encode y, the other half x; positions 1..n are scaled to 2 pi, wavelengths
    run geometrically from 2 pi to 10000 * 2 pi, sine on even and cosine on odd channels.

    Args:
        size: (height, width).
        dim: Channels; must be a multiple of four.
        device: Where to make it.

    Returns:
        float32 (height, width, dim).
    """
    channel = torch.arange(dim // 2, device=device)
    wavelength = 10000.0 ** (2 * (channel // 2) / (dim // 2))

    def encode(length: int) -> Tensor:
        steps = torch.arange(1, length + 1, device=device, dtype=torch.float32)
        angle = (steps / (length + 1e-6) * 2 * math.pi)[:, None] / wavelength
        return torch.where(channel % 2 == 0, angle.sin(), angle.cos())

    height, width = size
    y = encode(height)[:, None].expand(height, width, -1)
    x = encode(width)[None].expand(height, width, -1)
    return torch.cat((y, x), -1)


def _pixel_centres(size: tuple[int, int], device: torch.device) -> Tensor:
    height, width = size
    y = (torch.arange(height, device=device) + 0.5) / height
    x = (torch.arange(width, device=device) + 0.5) / width
    return torch.stack((x.repeat(height), y.repeat_interleave(width)), -1)
