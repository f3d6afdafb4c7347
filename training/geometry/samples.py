"""Batches for omnivggt-small: rendered views, spoilt as cameras and depth sensors spoil them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.sources.depth_sensor import DepthSensorOptions, measured_depth

Float32 = npt.NDArray[np.float32]
Shard = dict[str, npt.NDArray[np.generic]]

# Width and height of the images that the model is trained on: whole patches of 14 px.
WIDTH_PX, HEIGHT_PX = 112, 84

_FLIP = np.diag((-1.0, 1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Batch:
    """B samples of S views.

    Attributes:
        images: (B, S, 3, H, W) RGB in [0, 1].
        depth: (B, S, H, W) exact z-depth; mean distance of all points to the first camera is 1.
        measured: (B, S, H, W) depth as measured, in the unit of ``depth``; 0 where invalid.
        camera_from_world: (B, S, 3, 4), the first camera's frame is the world.
        intrinsics: (B, S, 3, 3) in pixels.
    """

    images: Tensor
    depth: Tensor
    measured: Tensor
    camera_from_world: Tensor
    intrinsics: Tensor


class ViewStore:
    """Rendered shards in memory.

    Args:
        folder: Folder that ``render_views.py`` fills, perhaps still while this runs.
        limit: Most shards to hold (17 MB each).
    """

    def __init__(self, folder: Path, limit: int = 80) -> None:
        self._folder = folder
        self._limit = limit
        self._shards: dict[str, Shard] = {}
        self.refresh()

    def __len__(self) -> int:
        return sum(len(shard["focal"]) for shard in self._shards.values())

    def refresh(self) -> None:
        """Reads shards that have come since."""
        for path in sorted(self._folder.glob("shard-[0-9]*.npz")):
            if len(self._shards) >= self._limit:
                break
            if path.name not in self._shards and ".partial" not in path.name:
                with np.load(path, allow_pickle=False) as arrays:
                    self._shards[path.name] = _smaller({key: arrays[key] for key in arrays.files})
        if not self._shards:
            raise FileNotFoundError(
                f"{self._folder} has no shards; render some: python "
                f"training/geometry/render_views.py {self._folder}"
            )

    def draw(self, samples: int, views: int, random: np.random.Generator) -> Batch:
        """Draws a batch of ``samples`` rooms with ``views`` views each."""
        shards = list(self._shards.values())
        drawn = []
        for _ in range(samples):
            shard = shards[random.integers(len(shards))]
            drawn.append(_sample(shard, int(random.integers(len(shard["focal"]))), views, random))
        fields = zip(*drawn, strict=True)
        return Batch(*(torch.from_numpy(np.stack(field)) for field in fields))


def _smaller(shard: Shard) -> Shard:
    """A shard at the size of training: colours averaged, depth and incidence picked."""
    scenes, views, height, width = shard["depth_m"].shape
    rows = (np.arange(HEIGHT_PX) + 0.5) * height / HEIGHT_PX
    columns = (np.arange(WIDTH_PX) + 0.5) * width / WIDTH_PX
    pick = np.ix_(
        np.arange(scenes), np.arange(views), rows.astype(np.intp), columns.astype(np.intp)
    )
    size = (WIDTH_PX, HEIGHT_PX)
    colors = [
        cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        for image in shard["color"].reshape(-1, height, width, 3)
    ]
    return {
        **shard,
        "color": np.stack(colors).reshape(scenes, views, HEIGHT_PX, WIDTH_PX, 3),
        "depth_m": shard["depth_m"][pick],
        "incidence": shard["incidence"][pick],
    }


def _sample(
    shard: Shard, scene: int, views: int, random: np.random.Generator
) -> tuple[Float32, Float32, Float32, Float32, Float32]:
    available = shard["color"].shape[1]
    chosen = random.permutation(available)[:views]
    colors = shard["color"][scene, chosen]
    depth_m = shard["depth_m"][scene, chosen].astype(np.float32)
    incidence = shard["incidence"][scene, chosen].astype(np.float32) / 255
    world_from_camera = shard["pose"][scene, chosen].astype(np.float64)
    if random.random() < 0.5:
        colors, depth_m, incidence = (x[:, :, ::-1] for x in (colors, depth_m, incidence))
        world_from_camera = _FLIP @ world_from_camera @ _FLIP
    camera_from_first = np.linalg.inv(world_from_camera) @ world_from_camera[0]
    height, width = depth_m.shape[1:]
    focal = float(shard["focal"][scene]) * width
    intrinsics = np.array(((focal, 0, width / 2), (0, focal, height / 2), (0, 0, 1)), np.float32)
    measured = _measured(np.ascontiguousarray(depth_m), incidence, random)
    unit = _mean_distance(depth_m, focal, camera_from_first)
    camera_from_first[:, :3, 3] /= unit
    return (
        _photographed(np.ascontiguousarray(colors), random),
        np.ascontiguousarray(depth_m / unit, np.float32),
        (measured / unit).astype(np.float32),
        camera_from_first[:, :3].astype(np.float32),
        np.tile(intrinsics, (views, 1, 1)),
    )


def _mean_distance(
    depth_m: Float32, focal: float, camera_from_first: npt.NDArray[np.float64]
) -> float:
    """Mean distance of the points of all views to the first camera: the model's unit of length."""
    height, width = depth_m.shape[1:]
    v, u = np.mgrid[0:height:4, 0:width:4]
    rays = np.stack(
        [(u - (width - 1) / 2) / focal, (v - (height - 1) / 2) / focal, np.ones_like(u)], -1
    )
    points = rays * depth_m[:, ::4, ::4, None]
    first_from_camera = np.linalg.inv(camera_from_first)
    rotation, centre = first_from_camera[:, :3, :3], first_from_camera[:, :3, 3]
    in_first = np.einsum("sij,shwj->shwi", rotation, points) + centre[:, None, None]
    return float(np.linalg.norm(in_first, axis=-1).mean())


def _measured(depth_m: Float32, incidence: Float32, random: np.random.Generator) -> Float32:
    """Depth (S, H, W) as one sensor measures it, 0 where it does not; a quarter is exact."""
    if random.random() < 0.25:
        result = depth_m.copy()
    else:
        options = DepthSensorOptions(
            noise=float(random.uniform(0, 2)),
            holes=float(random.choice((0.0, random.uniform(0, 0.4)))),
            edge_px=int(random.integers(3)),
            grazing_deg=float(random.uniform(70, 90)),
            minimum_m=float(random.uniform(0, 0.6)),
            maximum_m=float(random.uniform(4, 12)),
        )
        maps = [
            measured_depth(depth, cosine, options, random)
            for depth, cosine in zip(depth_m, incidence, strict=True)
        ]
        result = np.nan_to_num(np.stack(maps), nan=0.0)
    if random.random() < 0.6:
        for one in result:
            _hide_blocks(one, float(random.uniform(0.05, 0.35)), random)
    return result


def _hide_blocks(depth: Float32, share: float, random: np.random.Generator) -> None:
    """Sets rectangles of 1/20 to 1/5 of the width to 0, until they cover ``share`` of the image."""
    height, width = depth.shape
    hidden = np.zeros(depth.shape, bool)
    while hidden.mean() < share:
        rows, columns = random.integers(width // 20, width // 5, 2)
        top, left = random.integers(1 - rows, height), random.integers(1 - columns, width)
        hidden[max(0, top) : top + rows, max(0, left) : left + columns] = True
    depth[hidden] = 0


def _photographed(colors: npt.NDArray[np.uint8], random: np.random.Generator) -> Float32:
    """Colours (S, 3, H, W) in [0, 1] with exposure, white balance, gamma, blur and noise."""
    images = colors.astype(np.float32) / 255
    if random.random() < 0.2:
        images = images[..., random.permutation(3)]
    gain = random.uniform(0.7, 1.3) * random.uniform(0.85, 1.15, 3)
    images = np.clip(images * gain.astype(np.float32), 0, 1) ** np.float32(random.uniform(0.7, 1.4))
    if random.random() < 0.3:
        sigma = float(random.uniform(0.3, 0.9))
        images = np.stack([cv2.GaussianBlur(image, (0, 0), sigma) for image in images])
    noise = random.standard_normal(images.shape, dtype=np.float32)
    images = np.clip(images + np.float32(random.uniform(0, 0.03)) * noise, 0, 1)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
