"""Dense prediction heads: a map per view from four aggregator layers (DPT, arXiv 2103.13413)."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.models.omnivggt.configuration import OmniVGGTConfig

_UV_SCALE = 0.1
_UV_BASE = 100.0
_HIDDEN = 32


class ResidualConvUnit(nn.Module):
    """Two convolutions around ReLUs; the skip path carries relu(x), as the published model has it.

    Published code reaches this by an in-place ReLU on the input.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, features, h, w) to the same shape."""
        x = functional.relu(x)
        result: Tensor = self.conv2(functional.relu(self.conv1(x)))
        return result + x


class FeatureFusion(nn.Module):
    """Merges a coarser map with a finer one and resizes the result."""

    def __init__(self, features: int, *, has_skip: bool) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(features, features, 1)
        if has_skip:
            self.resConfUnit1 = ResidualConvUnit(features)
        self.resConfUnit2 = ResidualConvUnit(features)

    def forward(self, x: Tensor, skip: Tensor | None, size: tuple[int, int]) -> Tensor:
        """Returns (N, features, *size).

        The 1x1 convolution comes before the resize, where the map is smaller: the two commute,
        because bilinear weights add up to one.
        """
        if skip is not None:
            x = x + self.resConfUnit1(skip)
        return _resize(self.out_conv(self.resConfUnit2(x)), size)


class Scratch(nn.Module):
    """The fusion part of DPT, named as in the published state dict."""

    def __init__(self, config: OmniVGGTConfig, out_channels: int) -> None:
        super().__init__()
        features = config.dpt_features
        c1, c2, c3, c4 = config.dpt_out_channels
        self.layer1_rn = nn.Conv2d(c1, features, 3, padding=1, bias=False)
        self.layer2_rn = nn.Conv2d(c2, features, 3, padding=1, bias=False)
        self.layer3_rn = nn.Conv2d(c3, features, 3, padding=1, bias=False)
        self.layer4_rn = nn.Conv2d(c4, features, 3, padding=1, bias=False)
        self.refinenet1 = FeatureFusion(features, has_skip=True)
        self.refinenet2 = FeatureFusion(features, has_skip=True)
        self.refinenet3 = FeatureFusion(features, has_skip=True)
        self.refinenet4 = FeatureFusion(features, has_skip=False)
        self.output_conv1 = nn.Conv2d(features, features // 2, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(features // 2, _HIDDEN, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(_HIDDEN, out_channels, 1),
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Fuses four maps, finest first, into (N, features / 2, 2 h1, 2 w1)."""
        layer1, layer2 = self.layer1_rn(maps[0]), self.layer2_rn(maps[1])
        layer3, layer4 = self.layer3_rn(maps[2]), self.layer4_rn(maps[3])
        x = self.refinenet4(layer4, None, _size(layer3))
        x = self.refinenet3(x, layer3, _size(layer2))
        x = self.refinenet2(x, layer2, _size(layer1))
        height, width = _size(layer1)
        x = self.refinenet1(x, layer1, (2 * height, 2 * width))
        fused: Tensor = self.output_conv1(x)
        return fused


class DPTHead(nn.Module):
    """One DPT head.

    Args:
        config: Dimensions.
        out_channels: Channels of the prediction, the last of which is the raw confidence.
    """

    def __init__(self, config: OmniVGGTConfig, out_channels: int) -> None:
        super().__init__()
        c1, c2, _, c4 = config.dpt_out_channels
        self.norm = nn.LayerNorm(config.token_dim, eps=1e-5)
        self.projects = nn.ModuleList(
            nn.Conv2d(config.token_dim, channels, 1) for channels in config.dpt_out_channels
        )
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(c1, c1, kernel_size=4, stride=4),
                nn.ConvTranspose2d(c2, c2, kernel_size=2, stride=2),
                nn.Identity(),
                nn.Conv2d(c4, c4, kernel_size=3, stride=2, padding=1),
            ]
        )
        self.scratch = Scratch(config, out_channels)

    def forward(
        self, layers: list[Tensor], grid: tuple[int, int], image_size: tuple[int, int]
    ) -> Tensor:
        """Predicts one map per view; views do not see one another.

        Args:
            layers: Four tensors (N, patches, 2 C), the patch tokens of the layers read.
            grid: (rows, columns) of patches.
            image_size: (H, W) of the prediction.

        Returns:
            (N, out_channels, H, W) without activation, in the dtype of the weights.
        """
        aspect = image_size[1] / image_size[0]
        dtype = self.norm.weight.dtype
        maps = []
        for tokens, project, resize in zip(layers, self.projects, self.resize_layers, strict=True):
            x = torch.unflatten(self.norm(tokens.to(dtype)).transpose(1, 2), 2, grid)
            maps.append(resize(_add_uv(project(x), aspect)))
        x = _resize(self.scratch(maps), image_size)
        prediction: Tensor = self.scratch.output_conv2(_add_uv(x, aspect))
        return prediction


def activate_depth(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Depth (N, H, W, 1) = exp and confidence (N, H, W) = 1 + exp of a raw map (N, 2, H, W)."""
    return raw[:, :1].exp().permute(0, 2, 3, 1), 1 + raw[:, 1].exp()


def activate_points(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Points (N, H, W, 3) = sign(y) expm1(|y|) and confidence 1 + exp of a raw map (N, 4, H, W)."""
    xyz = raw[:, :3].permute(0, 2, 3, 1)
    return xyz.sign() * xyz.abs().expm1(), 1 + raw[:, 3].exp()


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)


def _add_uv(x: Tensor, aspect: float) -> Tensor:
    """Adds the position embedding to a map that nobody else holds: in place.

    Half of the channels depend on the column only, half on the row only, so two thin tables take
    the place of a full map.
    """
    column, row = _uv_tables(x.shape[1], _size(x), aspect, x.device, x.dtype)
    half = x.shape[1] // 2
    x[:, :half] += column
    x[:, half:] += row
    return x


@functools.lru_cache(maxsize=64)
def _uv_tables(
    channels: int,
    size: tuple[int, int],
    aspect: float,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Embedding of the columns (channels/2, 1, width) and of the rows (channels/2, height, 1).

    The image spans [-span, span] with a diagonal of length 2 (MoGe, arXiv 2410.19115); positions
    are pixel centres. Sines and cosines are made in float64 and rounded to float32, as published.
    """
    with torch.inference_mode(False), torch.no_grad():
        height, width = size
        diagonal = (aspect**2 + 1) ** 0.5
        tables = []
        for count, span in ((width, aspect / diagonal), (height, 1 / diagonal)):
            edge = span * (count - 1) / count
            position = torch.linspace(-edge, edge, count, dtype=torch.float64)
            quarter = channels // 4
            frequency = _UV_BASE ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
            angle = frequency[:, None] * position
            table = torch.cat([angle.sin(), angle.cos()]).float() * _UV_SCALE
            tables.append(table.to(device=device, dtype=dtype))
        return tables[0][:, None, :], tables[1][:, :, None]
