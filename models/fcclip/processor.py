"""Pictures to network input: resize, normalise, pad."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from sensorium.models.fcclip.configuration import FCCLIPConfig


@dataclass(frozen=True)
class ProcessedImage:
    """Network input with the sizes needed to map masks back.

    Attributes:
        pixels: float32 (1, 3, H, W) normalised RGB, zero padded right and below.
        resized_size: (height, width) of the picture inside the padding.
        original_size: (height, width) of the picture as given.
    """

    pixels: Tensor
    resized_size: tuple[int, int]
    original_size: tuple[int, int]


class ImageProcessor:
    """Resizes the short edge with Pillow, which the published numbers depend on to the last bit."""

    def __init__(self, config: FCCLIPConfig) -> None:
        self._config = config
        self._mean = np.array(config.image_mean, dtype=np.float32)
        self._std = np.array(config.image_std, dtype=np.float32)

    def __call__(self, image_rgb: npt.NDArray[np.uint8]) -> ProcessedImage:
        """Prepare one picture.

        Args:
            image_rgb: uint8 (H, W, 3).

        Raises:
            ValueError: If shape or type differ.
        """
        image_rgb = np.asarray(image_rgb)
        if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8:
            raise ValueError(
                f"image_rgb has shape {image_rgb.shape} and type {image_rgb.dtype}; it must be "
                "uint8 (height, width, 3) in RGB order"
            )
        if 0 in image_rgb.shape:
            raise ValueError(f"image_rgb has shape {image_rgb.shape}; it holds no pixels")
        original = (image_rgb.shape[0], image_rgb.shape[1])
        height, width = self.resized_size(original)
        picture = Image.fromarray(np.ascontiguousarray(image_rgb))
        if (height, width) != original:
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        normalised = (np.asarray(picture, dtype=np.float32) - self._mean) / self._std
        divisor = self._config.size_divisor
        padding = (0, -width % divisor, 0, -height % divisor)
        pixels = functional.pad(torch.from_numpy(normalised).permute(2, 0, 1), padding)
        return ProcessedImage(pixels[None], (height, width), original)

    def resized_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) a picture of this size is resized to.

        The short edge becomes ``short_edge_px`` unless the long one would exceed ``long_edge_px``.
        """
        scale = self._config.short_edge_px / min(size)
        height, width = size[0] * scale, size[1] * scale
        if max(height, width) > self._config.long_edge_px:
            shrink = self._config.long_edge_px / max(height, width)
            height, width = height * shrink, width * shrink
        return max(1, int(height + 0.5)), max(1, int(width + 0.5))
