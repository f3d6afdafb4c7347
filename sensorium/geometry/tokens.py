"""Geometry tokens: what is known about each patch of an image, on a fixed grid of patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.configuration import parameter

# Points of a patch within this band around its median depth belong to its surface.
_BAND_FRACTION = 0.05
_BAND_M = 0.02
# Fewest points from which a normal is fitted.
_MIN_NORMAL_POINTS = 6

# Pixels taken from a patch in each direction: all up to 11, then an even choice of 6 or more.
_SAMPLES_PER_SIDE = 6

GEOMETRIC_CHANNELS = (
    "normal_x", "normal_y", "normal_z", "red", "green", "blue", "valid_fraction",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TokensConfiguration:
    """The patch grid of the tokens."""

    rows: int = parameter(32, "Rows of the patch grid.", minimum=1, maximum=512)
    columns: int = parameter(32, "Columns of the patch grid.", minimum=1, maximum=512)


@dataclass(frozen=True, slots=True)
class TokenLayout:
    """What tokens are made of, as in TokensInfo.

    Attributes:
        backend: name of the backend.
        weights_sha256: SHA-256 of the weights file in lower-case hex; "" without weights.
        rows: rows of the patch grid.
        columns: columns of the patch grid.
        channels: feature values per token.
        channel_names: meaning of each channel; empty for learned features.
        window_views: images that are looked at together.
        hints: what the network is shown beside images where it comes: depth, intrinsics, poses.
    """

    backend: str
    weights_sha256: str
    rows: int
    columns: int
    channels: int
    channel_names: tuple[str, ...] = ()
    window_views: int = 1
    hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Tokens of one view, row-major from the top-left patch.

    Attributes:
        rows: rows of the patch grid.
        columns: columns of the patch grid.
        xyz_m: (rows * columns, 3) float32 in the optical frame [m]; NaN without valid depth.
        confidence: (rows * columns,) float32, 0 to 1; 0 without valid depth.
        features: (rows * columns, C) float32; NaN where unknown.
    """

    rows: int
    columns: int
    xyz_m: NDArray[np.float32]
    confidence: NDArray[np.float32]
    features: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class PatchSurfaces:
    """The surface in each patch of a grid (N = rows * columns), as tensors of the input's device.

    Attributes:
        xyz_m: (N, 3) float32 centre; NaN without valid points.
        normal: (N, 3) float32 unit normal towards the camera; NaN with fewer than 6 points or
            where they lie on a line.
        confidence: (N,) float32 mean confidence of the points of the surface; 0 without points.
        valid_fraction: (N,) float32 share of the sampled pixels with valid depth.
    """

    xyz_m: Tensor
    normal: Tensor
    confidence: Tensor
    valid_fraction: Tensor


class PatchGrid:
    """Patches that cover an image of any size exactly and once.

    Row r of the grid holds the image rows floor(r H / rows) .. floor((r + 1) H / rows) - 1, and
    columns alike: patch sizes differ by at most one pixel. From patches of 12 pixels and more in a
    direction every 2nd, 3rd, ... line is sampled, so that at least 6 x 6 evenly spread pixels stand
    for the patch (56 of 300 at 640 x 480 with 32 x 32 patches).
    """

    def __init__(
        self, rows: int, columns: int, height_px: int, width_px: int, device: torch.device
    ) -> None:
        """Prepare the grid of one image size.

        Raises:
            ValueError: the image has fewer pixels than the grid has patches in a direction.
        """
        if rows > height_px or columns > width_px:
            raise ValueError(
                f"a token grid of {rows} x {columns} does not fit an image of {height_px} x "
                f"{width_px} px: choose tokens.rows and tokens.columns at most the image size"
            )
        self.rows, self.columns = rows, columns
        self.shape = (height_px, width_px)
        line, line_used = _lines(height_px, rows)
        column, column_used = _lines(width_px, columns)
        used = (line_used[:, None, :, None] & column_used[None, :, None, :]).flatten(2)
        pixel = (line[:, None, :, None] * width_px + column[None, :, None, :]).flatten(2)
        self._pixel = pixel.flatten(0, 1).to(device)
        # Patches are gathered at one size; smaller ones repeat a pixel that is not counted.
        self.used = used.flatten(0, 1).to(device)
        self.samples = self.used.sum(dim=1)

    def gather(self, image: Tensor) -> Tensor:
        """Return (N, P) or (N, P, C) sampled pixels by patch of an image (H, W) or (H, W, C).

        Entries where ``used`` (N, P) is False are repetitions and must be left out.
        """
        if tuple(image.shape[:2]) != self.shape:
            raise ValueError(f"image is {tuple(image.shape)}, the grid is for {self.shape}")
        return image.flatten(0, 1)[self._pixel]


def _lines(size: int, parts: int) -> tuple[Tensor, Tensor]:
    """Return indices (parts, n) int64 of the sampled lines of each part, and which are its own."""
    start = torch.arange(parts + 1) * size // parts
    longest = int(start.diff().max())
    step = max(1, longest // _SAMPLES_PER_SIDE)
    index = start[:-1, None] + torch.arange(0, longest, step)
    return index.clamp(max=size - 1), index < start[1:, None]


def patch_surfaces(grid: PatchGrid, points_m: Tensor, confidence: Tensor) -> PatchSurfaces:
    """Return the surface of each patch.

    Patches often see two surfaces. The surface of a patch is the one that holds the median depth:
    its points are those within 5 % of it (at least 2 cm). The centre is their mean, which unlike a
    median per coordinate lies on a plane when they do. The normal is the direction of least
    spread of these points.

    Args:
        grid: patches of this image size.
        points_m: (H, W, 3) float32 in the optical frame [m]; NaN where invalid.
        confidence: (H, W) float32.
    """
    patches = grid.gather(points_m)
    depth = patches[..., 2]
    valid = grid.used & depth.isfinite()
    count = valid.sum(dim=1)
    middle = torch.where(valid, depth, torch.nan).nanmedian(dim=1, keepdim=True).values
    band = (_BAND_FRACTION * middle).clamp(min=_BAND_M)
    # Comparisons with the NaN median of an empty patch are False.
    belongs = valid & ((depth - middle).abs() <= band)
    share = belongs.float()
    share /= share.sum(dim=1, keepdim=True).clamp(min=1)
    patches = torch.where(belongs[..., None], patches, 0.0)
    centre = (share[:, None, :] @ patches)[:, 0]
    trust = (share * grid.gather(confidence).nan_to_num(0.0)).sum(dim=1)
    offsets = (patches - centre[:, None, :]) * share.sqrt()[..., None]
    spread, directions = torch.linalg.eigh((offsets.mT @ offsets).double())
    normal = directions[..., 0].float()
    normal = torch.where((normal * centre).sum(dim=1, keepdim=True) > 0, -normal, normal)
    on_a_line = spread[:, 1] <= 1e-9 + 1e-6 * spread[:, 2]
    known = (belongs.sum(dim=1) >= _MIN_NORMAL_POINTS) & ~on_a_line
    return PatchSurfaces(
        xyz_m=torch.where((count > 0)[:, None], centre, torch.nan),
        normal=torch.where(known[:, None], normal, torch.nan),
        confidence=trust,
        valid_fraction=count.float() / grid.samples,
    )


def patch_colors(grid: PatchGrid, color: Tensor) -> Tensor:
    """Return (N, 3) float32 mean RGB, 0 to 1, of each patch of an image (H, W, 3) uint8."""
    pixels = grid.gather(color).float()
    total = (pixels * grid.used[..., None]).sum(dim=1)
    return total / (255.0 * grid.samples[:, None])


def geometric_tokens(
    grid: PatchGrid, points_m: Tensor, confidence: Tensor, color: Tensor | None
) -> Tokens:
    """Return tokens with the channels ``GEOMETRIC_CHANNELS``.

    Args:
        grid: patches of this image size.
        points_m: (H, W, 3) float32 in the optical frame [m]; NaN where invalid.
        confidence: (H, W) float32.
        color: (H, W, 3) uint8 RGB, or None: red, green and blue are NaN then.
    """
    surfaces = patch_surfaces(grid, points_m, confidence)
    rgb = torch.full_like(surfaces.normal, torch.nan)
    if color is not None:
        rgb = patch_colors(grid, color)
    features = torch.cat((surfaces.normal, rgb, surfaces.valid_fraction[:, None]), dim=1)
    return Tokens(
        grid.rows,
        grid.columns,
        surfaces.xyz_m.cpu().numpy(),
        surfaces.confidence.cpu().numpy(),
        features.cpu().numpy(),
    )
