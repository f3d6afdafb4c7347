"""Renders the training views of omnivggt-small into shards (about 20 ms a view on one core).

Run: python training/geometry/render_views.py FOLDER --scenes 4000
Shards already in the folder are kept, so that a later run goes on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sensorium.frames import pinhole
from sensorium.geometry.evaluation_scenes import (
    NEAREST_M,
    TRAINING_SEEDS,
    drawn_focal,
    drawn_poses,
    drawn_scene,
)
from sensorium.sources.ray_caster import RayCaster

WIDTH_PX, HEIGHT_PX = 168, 126
VIEWS = 6
SCENES_PER_SHARD = 50
# Colour is the mean of 2 x 2 rays, as an image made smaller is; depth is that of one of them.
_OVERSAMPLING = 2

Views = dict[str, npt.NDArray[np.generic]]


def render_scene(seed: int) -> Views | None:
    """Renders neighbouring views of one room.

    Returns:
        color (V, H, W, 3) uint8; depth_m (V, H, W) float16; incidence (V, H, W) uint8, the cosine
        between ray and surface times 255; pose (V, 4, 4) world_from_camera; focal () in widths.
        None when one of the cameras stands in something.
    """
    random = np.random.default_rng((seed, 0x7A17))
    scene = drawn_scene(seed)
    focal = drawn_focal(random)
    width, height = WIDTH_PX * _OVERSAMPLING, HEIGHT_PX * _OVERSAMPLING
    caster = RayCaster(scene, pinhole(width, height, focal * width))
    colors, depths, incidences = [], [], []
    poses = drawn_poses(scene, seed, VIEWS, random)
    for pose in poses:
        view = caster.render(pose, with_normals=True)
        if not np.nanmin(view.depth_m) > NEAREST_M or view.normals is None:
            return None
        fine = view.color.reshape(HEIGHT_PX, _OVERSAMPLING, WIDTH_PX, _OVERSAMPLING, 3)
        colors.append(fine.mean(axis=(1, 3)).round().astype(np.uint8))
        pick = (slice(1, None, _OVERSAMPLING), slice(1, None, _OVERSAMPLING))
        rays = caster.rays[pick]
        normals = view.normals[pick] @ pose[:3, :3].astype(np.float32)
        cosine = -np.einsum("ijk,ijk->ij", normals, rays) / np.linalg.norm(rays, axis=2)
        depths.append(view.depth_m[pick].astype(np.float16))
        incidences.append((np.clip(cosine, 0, 1) * 255).astype(np.uint8))
    return {
        "color": np.stack(colors),
        "depth_m": np.stack(depths),
        "incidence": np.stack(incidences),
        "pose": np.stack(poses),
        "focal": np.array(focal),
    }


def render_shard(folder: Path, number: int) -> None:
    """Renders one shard: an uncompressed .npz of ``SCENES_PER_SHARD`` scenes."""
    path = folder / f"shard-{number:05d}.npz"
    if path.exists():
        return
    rendered: list[Views] = []
    # Ten times as many seeds as scenes belong to a shard; a few are thrown away.
    for seed in range(number * 10 * SCENES_PER_SHARD, (number + 1) * 10 * SCENES_PER_SHARD):
        views = render_scene(TRAINING_SEEDS[seed])
        if views is not None:
            rendered.append(views)
        if len(rendered) == SCENES_PER_SHARD:
            break
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, **{key: np.stack([views[key] for views in rendered]) for key in rendered[0]})
    partial.rename(path)


def main() -> None:
    """Render what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, default=4000)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    shards = -(-arguments.scenes // SCENES_PER_SHARD)
    for number in range(shards):
        render_shard(arguments.folder, number)
        sys.stdout.write(f"shard {number + 1} of {shards}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
