"""Draws network inputs from the rendered pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scene_pictures import PHOTO_PX, Facts, Shard, read_shard
from torch import Tensor
from torch.nn import functional

from sensorium.models.fcclip import FCCLIPConfig
from sensorium.segmentation.rendered_names import HELD_OUT_NAMES
from sensorium.sources.scene import TABLETOP

MASK_STRIDE = 4
# Fewer pixels than this at mask resolution are no segment worth learning.
SMALLEST_SEGMENT = 4.0
# Sides of photos inside views, at mask resolution.
SMALLEST_PHOTO, LARGEST_PHOTO = 10, 17
HELD_OUT_SHARE = 0.15


@dataclass(frozen=True)
class Segments:
    """Segments of one picture.

    Attributes:
        masks: float (N, H/4, W/4), share of each cell that the segment covers.
        facts: Facts of each segment.
    """

    masks: Tensor
    facts: list[Facts]


class Pictures:
    """All shards of one kind in a folder; shards that appear later are found by ``refresh``."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder, self._kind = folder, kind
        self._paths: list[Path] = []
        self._shards: list[Shard] = []
        self.refresh()

    def refresh(self) -> None:
        """Read shards that were not there before."""
        for path in sorted(self._folder.glob(f"{self._kind}_*.npz")):
            if path not in self._paths:
                self._paths.append(path)
                self._shards.append(read_shard(path))
        if not self._shards:
            raise FileNotFoundError(
                f"{self._folder} holds no {self._kind}; render them with scene_pictures.py"
            )

    def __len__(self) -> int:
        return sum(len(shard.color) for shard in self._shards)

    def draw(
        self, random: np.random.Generator, categories: Sequence[str] = ()
    ) -> tuple[Shard, int]:
        """Return a shard and the index of a picture in it.

        Args:
            random: Draws it.
            categories: For photos, the names that may be in it; empty for all.
        """
        while True:
            shard = self._shards[random.integers(len(self._shards))]
            index = int(random.integers(len(shard.color)))
            if not categories or shard.facts[index]["category"] in categories:
                return shard, index


def draw_photos(
    pictures: Pictures,
    count: int,
    size_px: int,
    random: np.random.Generator,
    categories: Sequence[str] = (),
) -> tuple[Tensor, list[Facts]]:
    """Draw photos of one size: float (count, 3, size, size) in 0..255, and their facts.

    A window around the middle is cut and resized, so objects are seen large and small.
    """
    images, facts = [], []
    for _ in range(count):
        shard, index = pictures.draw(random, categories)
        side = int(random.integers(min(56, PHOTO_PX), PHOTO_PX + 1))
        low = (PHOTO_PX - side) // 2
        top, left = (int(low + random.integers(-low // 2, low // 2 + 1)) for _ in "yx")
        image = torch.from_numpy(shard.color[index][top : top + side, left : left + side])
        images.append(_resized(image.permute(2, 0, 1)[None].float(), (size_px, size_px)))
        facts.append(shard.facts[index])
    return torch.cat(images), facts  # type: ignore[return-value]


def draw_views(
    pictures: Pictures,
    count: int,
    size: tuple[int, int],
    random: np.random.Generator,
    scales: tuple[float, float],
) -> tuple[Tensor, list[Segments]]:
    """Draw windows of views with their segments.

    Args:
        pictures: The views.
        count: Windows.
        size: Height and width of a window in the network, multiples of 32.
        random: Draws everything.
        scales: Least and largest enlargement of a window; limited so that it lies in the view.

    Returns:
        float (count, 3, H, W) in 0..255, and the segments of each.
    """
    images, segments = [], []
    for _ in range(count):
        shard, index = pictures.draw(random)
        color = shard.color[index]
        assert shard.ids is not None  # noqa: S101 - views have ids
        height, width = color.shape[:2]
        least = max(size[0] / height, size[1] / width)
        scale = random.uniform(max(scales[0], least), max(scales[1], least))
        rows, columns = round(size[0] / scale), round(size[1] / scale)
        top = int(random.integers(height - rows + 1))
        left = int(random.integers(width - columns + 1))
        window = (slice(top, top + rows), slice(left, left + columns))
        image = torch.from_numpy(color[window]).permute(2, 0, 1)[None].float()
        ids = shard.ids[index][window]
        if random.random() < 0.5:
            image, ids = image.flip(-1), ids[:, ::-1]
        images.append(_resized(image, size))
        segments.append(_segments(np.ascontiguousarray(ids), shard.facts[index], size))  # type: ignore[arg-type]
    return torch.cat(images), segments


def put_photos(
    images: Tensor,
    segments: list[Segments],
    pictures: Pictures,
    count: int,
    random: np.random.Generator,
) -> list[Segments]:
    """Put small photos into windows of views, in place, and return the segments that result.

    A photo has a caption and no mask. In a view it is pooled inside its rectangle, so that names
    with captions alone are met among surroundings too, at the size that things have in views.

    Args:
        images: (B, 3, H, W) in 0..255.
        segments: Segments of each.
        pictures: The photos.
        count: Photos for each window.
        random: Draws everything.
    """
    height, width = images.shape[-2:]
    result = []
    for image, of in zip(images, segments, strict=True):
        masks, facts = of.masks.clone(), list(of.facts)
        rectangles: list[Tensor] = []
        for _ in range(count):
            size = MASK_STRIDE * int(random.integers(SMALLEST_PHOTO, LARGEST_PHOTO + 1))
            # Names with masks are met in views anyway.
            names = HELD_OUT_NAMES if random.random() < HELD_OUT_SHARE else TABLETOP
            photo, photo_facts = draw_photos(pictures, 1, size, random, names)
            top = MASK_STRIDE * int(random.integers((height - size) // MASK_STRIDE + 1))
            left = MASK_STRIDE * int(random.integers((width - size) // MASK_STRIDE + 1))
            rectangle = torch.zeros(masks.shape[1:])
            rows, columns = (
                slice(x // MASK_STRIDE, (x + size) // MASK_STRIDE) for x in (top, left)
            )
            rectangle[rows, columns] = 1
            image[:, top : top + size, left : left + size] = photo[0]
            masks = masks * (1 - rectangle)
            rectangles = [*(r * (1 - rectangle) for r in rectangles), rectangle]
            facts += photo_facts
        result.append(Segments(torch.cat((masks, torch.stack(rectangles))), facts))
    return result


def normalised(images: Tensor, config: FCCLIPConfig, random: np.random.Generator) -> Tensor:
    """Vary brightness, contrast and noise a little and normalise, (B, 3, H, W)."""
    count = len(images)
    gain = torch.from_numpy(random.uniform(0.85, 1.15, (count, 1, 1, 1)).astype(np.float32))
    shift = torch.from_numpy(random.uniform(-12, 12, (count, 1, 1, 1)).astype(np.float32))
    varied = (images * gain + shift + 3 * torch.randn_like(images)).clamp_(0, 255)
    mean = torch.tensor(config.image_mean).view(3, 1, 1)
    return (varied - mean) / torch.tensor(config.image_std).view(3, 1, 1)


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    if image.shape[-2:] == size:
        return image
    return functional.interpolate(image, size, mode="bilinear", antialias=True)


def _segments(
    ids: npt.NDArray[np.uint8], facts: dict[str, Facts], size: tuple[int, int]
) -> Segments:
    height, width = size[0] // MASK_STRIDE, size[1] // MASK_STRIDE
    present = [int(i) for i in np.unique(ids) if str(i) in facts]
    planes = torch.from_numpy(ids == np.array(present, np.uint8)[:, None, None])
    masks = functional.interpolate(planes[None].float(), (height, width), mode="area")[0]
    large = [i for i, area in enumerate(masks.sum((1, 2)).tolist()) if area >= SMALLEST_SEGMENT]
    return Segments(masks[large], [facts[str(present[i])] for i in large])
