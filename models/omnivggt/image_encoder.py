"""DINOv2 image encoder with registers: one image in, its patch tokens out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.models.omnivggt.configuration import OmniVGGTConfig
from sensorium.models.omnivggt.layers import Block

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class PatchProjection(nn.Module):
    """Strided convolution that makes one token of every patch."""

    def __init__(self, channels: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, channels, H, W) to (N, patches, dim), patches row by row."""
        tokens: Tensor = self.proj(x.to(self.proj.weight.dtype)).flatten(2).transpose(1, 2)
        return tokens


class ImageEncoder(nn.Module):
    """DINOv2 ViT with registers (Oquab et al. 2023, Darcet et al. 2023), as OmniVGGT uses it.

    The position embedding is added before the registers are inserted; only patch tokens are
    returned, after the final norm. LayerNorm eps is 1e-6 throughout.
    """

    def __init__(self, config: OmniVGGTConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.patch_size = config.patch_size
        self.side = config.img_size // config.patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.side**2, dim))
        self.register_tokens = nn.Parameter(torch.zeros(1, config.num_register_tokens, dim))
        self.patch_embed = PatchProjection(3, dim, config.patch_size)
        self.blocks = nn.ModuleList(
            Block(dim, config.dino_heads, config.mlp_ratio, init_values=1.0, norm_eps=1e-6)
            for _ in range(config.dino_depth)
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=1e-6)
        nn.init.normal_(self.register_tokens, std=1e-6)
        self._position_cache: dict[tuple[int, int], tuple[Tensor, int, Tensor]] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Encodes every image by itself.

        Args:
            images: (N, 3, H, W) RGB in [0, 1]; H and W multiples of the patch size.

        Returns:
            (N, patches, dim) patch tokens in the dtype of the final norm.
        """
        dtype = self.norm.weight.dtype
        mean = _channel_constant(_IMAGENET_MEAN, images)
        std = _channel_constant(_IMAGENET_STD, images)
        grid = (images.shape[-2] // self.patch_size, images.shape[-1] // self.patch_size)
        patches = self.patch_embed((images - mean) / std).to(dtype)
        position = self._position_embedding(grid)
        count = len(images)
        x = torch.cat(
            [
                (self.cls_token + position[:, :1]).expand(count, -1, -1),
                self.register_tokens.expand(count, -1, -1),
                patches + position[:, 1:],
            ],
            dim=1,
        )
        for block in self.blocks:
            x = block(x)
        encoded: Tensor = self.norm(x[:, 1 + self.register_tokens.shape[1] :])
        return encoded

    def _position_embedding(self, grid: tuple[int, int]) -> Tensor:
        """Position embedding (1, 1 + rows * columns, dim), interpolated once per grid.

        The interpolated embedding is kept while the parameter is unchanged; with gradients on it
        is made anew, because training moves the parameter.
        """
        if grid == (self.side, self.side):
            return self.pos_embed
        if torch.is_grad_enabled() or self.pos_embed.is_inference():
            return self._interpolated(grid)
        kept = self._position_cache.get(grid)
        if (
            kept is not None
            and kept[0] is self.pos_embed
            and kept[1] == self.pos_embed._version
            and kept[2].device == self.pos_embed.device
            and kept[2].dtype == self.pos_embed.dtype
        ):
            return kept[2]
        with torch.inference_mode(False), torch.no_grad():
            position = self._interpolated(grid)
        if len(self._position_cache) >= 16:
            self._position_cache.clear()
        self._position_cache[grid] = (self.pos_embed, self.pos_embed._version, position)
        return position

    def _interpolated(self, grid: tuple[int, int]) -> Tensor:
        square = self.pos_embed[:, 1:].float().view(1, self.side, self.side, -1)
        resized = functional.interpolate(
            square.permute(0, 3, 1, 2), size=grid, mode="bicubic", antialias=True
        )
        patches = resized.flatten(2).transpose(1, 2).to(self.pos_embed.dtype)
        return torch.cat([self.pos_embed[:, :1], patches], dim=1)


def _channel_constant(values: tuple[float, float, float], like: Tensor) -> Tensor:
    # The published constants are float32 buffers, also in a float64 model. Filled on the device:
    # a copy from host memory would make the device wait.
    channels = [like.new_full((1, 1, 1), torch.tensor(v).item()) for v in values]
    return torch.cat(channels)
