"""ConvNeXt trunk (Liu et al. 2022) that keeps feature maps channels-last.

Every tensor between modules is (B, H, W, C) and contiguous, so layer norms and the two linear
layers of a block run without any transposition; a convolution sees the same memory as an NCHW
tensor in channels-last format.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

LAYER_NORM_EPS = 1e-6
# Pixels are independent after the convolution; a CPU works on few enough at a time that the wide
# hidden layer stays in its cache and is not asked from the system anew for every block.
HIDDEN_VALUES_CPU = 2**22


class ConvNeXt(nn.Module):
    """Stem and four stages at strides 4, 8, 16 and 32.

    Args:
        depths: Blocks per stage.
        widths: Channels per stage.
    """

    def __init__(self, depths: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 4, stride=4), nn.LayerNorm(widths[0], eps=LAYER_NORM_EPS)
        )
        previous = [0, *widths[:-1]]
        self.stages = nn.ModuleList(
            Stage(p, w, d) for p, w, d in zip(previous, widths, depths, strict=True)
        )
        # For pooled features only (ImageTower.project); it is here because its published key is.
        self.head = nn.ModuleDict({"norm": nn.LayerNorm(widths[-1], eps=LAYER_NORM_EPS)})

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the stem output and the outputs of the four stages.

        Args:
            images: (B, 3, H, W) normalised RGB, H and W multiples of 32.

        Returns:
            Five float tensors (B, H/s, W/s, C) with s = 4, 4, 8, 16, 32.
        """
        x = self.stem[1](_convolve(self.stem[0], images.permute(0, 2, 3, 1)))
        features = [x]
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class Stage(nn.Module):
    """Optional downsampling by two, then blocks."""

    def __init__(self, previous_width: int, width: int, depth: int) -> None:
        super().__init__()
        self.downsample: nn.Module = nn.Identity()
        if previous_width:
            self.downsample = nn.Sequential(
                nn.LayerNorm(previous_width, eps=LAYER_NORM_EPS),
                nn.Conv2d(previous_width, width, 2, stride=2),
            )
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H/2, W/2, C'), or to the same size in the first stage."""
        if isinstance(self.downsample, nn.Sequential):
            norm, conv = self.downsample
            x = _convolve(conv, norm(x))
        for block in self.blocks:
            x = block(x)
        return x


class Block(nn.Module):
    """Depthwise 7x7 convolution, layer norm, two linear layers with exact GELU, layer scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)}
        )
        self.gamma = nn.Parameter(1e-6 * torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape."""
        y = _convolve(self.conv_dw, x)
        rows = x.shape[:-1].numel() if x.is_cuda else HIDDEN_VALUES_CPU // (4 * x.shape[-1])
        parts = zip(
            torch.split(x.flatten(0, 2), rows), torch.split(y.flatten(0, 2), rows), strict=True
        )
        return torch.cat([self._rows(*part) for part in parts]).view(x.shape)

    def _rows(self, x: Tensor, y: Tensor) -> Tensor:
        y = self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm(y))))
        return torch.addcmul(x, y, self.gamma.to(y.dtype))


def _convolve(conv: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = conv(x.permute(0, 3, 1, 2))
    return y.permute(0, 2, 3, 1).contiguous()
