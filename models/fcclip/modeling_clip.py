"""The frozen CLIP half of FC-CLIP: image tower, text tower and their joint space.

Names of modules and parameters are those of OpenCLIP's ``convnext_large_d_320``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.models.fcclip.configuration import FCCLIPConfig
from sensorium.models.fcclip.modeling_attention import PackedAttention
from sensorium.models.fcclip.modeling_convnext import ConvNeXt


class CLIP(nn.Module):
    """Image and text towers with a shared embedding space."""

    def __init__(self, config: FCCLIPConfig) -> None:
        super().__init__()
        self.visual = ImageTower(config)
        self.transformer = nn.ModuleDict(
            {
                "resblocks": nn.ModuleList(
                    TextBlock(config.text_width, config.text_heads)
                    for _ in range(config.text_layers)
                )
            }
        )
        self.token_embedding = nn.Embedding(config.token_count, config.text_width)
        self.positional_embedding = nn.Parameter(
            0.01 * torch.randn(config.context_length, config.text_width)
        )
        self.ln_final = nn.LayerNorm(config.text_width)
        self.text_projection = nn.Parameter(
            torch.randn(config.text_width, config.embed_dim) / math.sqrt(config.text_width)
        )
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_text(self, tokens: Tensor, end_index: Tensor) -> Tensor:
        """Embed token sequences.

        What follows the end token cannot influence it (causal attention), so sequences may be cut
        after the last end token of the batch and padded with anything.

        Args:
            tokens: int64 (N, T) rows of the token table, T at most the context length.
            end_index: int64 (N,) position of the end token of each sequence.

        Returns:
            float (N, embed_dim), not normalised.
        """
        x = self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]
        for block in self.transformer["resblocks"]:  # type: ignore[attr-defined]
            x = block(x)
        x = self.ln_final(x[torch.arange(len(x), device=x.device), end_index])
        return torch.matmul(x, self.text_projection)

    def encode_image(self, images: Tensor) -> Tensor:
        """Embed whole images (B, 3, H, W): float (B, embed_dim), not normalised."""
        dense = self.visual.trunk(images)[-1]
        return self.visual.project(dense.mean(dim=(1, 2)))


class ImageTower(nn.Module):
    """ConvNeXt trunk and the projection of pooled features into the joint space."""

    def __init__(self, config: FCCLIPConfig) -> None:
        super().__init__()
        self.trunk = ConvNeXt(config.trunk_depths, config.trunk_widths)
        hidden_dim = 2 * config.embed_dim
        self.head = nn.ModuleDict(
            {
                "mlp": nn.ModuleDict(
                    {
                        "fc1": nn.Linear(config.trunk_widths[-1], hidden_dim),
                        "fc2": nn.Linear(hidden_dim, config.embed_dim, bias=False),
                    }
                )
            }
        )

    def project(self, pooled: Tensor) -> Tensor:
        """Map pooled trunk features (..., C) to the joint space (..., embed_dim)."""
        mlp = self.head["mlp"]
        x = self.trunk.head["norm"](pooled)
        projected: Tensor = mlp["fc2"](functional.gelu(mlp["fc1"](x)))  # type: ignore[index]
        return projected


class TextBlock(nn.Module):
    """Pre-norm causal transformer block with exact GELU."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = PackedAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)}
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, T, width) to the same shape."""
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, causal=True)
        y = functional.gelu(self.mlp["c_fc"](self.ln_2(x)))
        return torch.add(x, self.mlp["c_proj"](y))
