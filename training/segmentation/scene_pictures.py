"""Renders the pictures that fcclip-small is trained on, into a folder outside the repository.

Run: python training/segmentation/scene_pictures.py FOLDER   (some 15 minutes of one core)

Two kinds of pictures, written in shards that the trainings read while more are rendered:

- views: a furnished room seen from around its table, 384 x 512, with a map of segment ids. No
  held-out name and no held-out combination is in them (sensorium/segmentation/rendered_names.py).
- photos: one object in the middle of a 96 x 96 picture, with a caption's facts and without a mask.
  All names, no held-out combination.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from sensorium.frames import pinhole
from sensorium.segmentation.rendered_names import photo_scenes, view_scenes
from sensorium.sources.random_scene import random_scene
from sensorium.sources.ray_caster import RayCaster, RenderedView
from sensorium.sources.scene import CLASS_NAMES, FURNITURE, STUFF, Scene, SceneObject
from sensorium.sources.trajectory import Orbit, look_at

Picture = npt.NDArray[np.uint8]
Pose = npt.NDArray[np.float64]
Facts = dict[str, str]

VIEW_PX = (384, 512)
# Rendered like the demo's camera and resized as the model's processor resizes.
CAMERA = pinhole(640, 480, 525.0)
VIEWS_PER_SCENE = 4
VIEWS_PER_SHARD = 100
PHOTO_PX = 96
PHOTOS_PER_SHARD = 500
FIRST_VIEW_SEED, FIRST_PHOTO_SEED = 1_000_000, 2_000_000
"""Seeds of training scenes; evaluations use seeds below 1,000,000."""
STUFF_IDS = {name: 250 + i for i, name in enumerate(STUFF)}
"""Segment ids of the room's parts in a view; objects have their instance ids."""

_TRIES = 12
_SMALLEST_DEPTH_M = 0.25


@dataclass(frozen=True)
class Shard:
    """Pictures of one kind.

    Attributes:
        color: uint8 (N, H, W, 3).
        facts: views: for each picture, segment id -> facts; photos: the object's facts. Facts are
            category and, of objects, color, material and size.
        ids: uint8 (N, H, W) segment ids of views, 0 for none; absent for photos.
    """

    color: Picture
    facts: list[dict[str, Facts]] | list[Facts]
    ids: Picture | None = None

    def save(self, path: Path) -> None:
        """Write the shard under a name that appears only when it is whole."""
        partial = path.with_suffix(".partial")
        arrays = {"color": self.color, "facts": np.array(json.dumps(self.facts))}
        if self.ids is not None:
            arrays["ids"] = self.ids
        with partial.open("wb") as file:
            np.savez(file, **arrays)
        partial.replace(path)


def read_shard(path: Path) -> Shard:
    """Read a shard."""
    with np.load(path, allow_pickle=False) as stored:
        ids = stored.get("ids")
        return Shard(stored["color"], json.loads(str(stored["facts"])), ids)


def facts_of(thing: SceneObject) -> Facts:
    """Return what captions may say of an object."""
    return {
        "category": thing.category,
        "color": thing.color,
        "material": thing.material,
        "size": thing.size,
    }


def views(number: int) -> Shard:
    """Render one shard of views."""
    color, ids, facts = [], [], []
    for scene_index in range(VIEWS_PER_SHARD // VIEWS_PER_SCENE):
        seed = FIRST_VIEW_SEED + number * VIEWS_PER_SHARD + scene_index
        random = np.random.default_rng((seed, 1))
        scene = random_scene(seed, view_scenes())
        caster, orbit = RayCaster(scene, CAMERA), Orbit(scene, seed)
        named = {thing.instance_id: facts_of(thing) for thing in scene.objects}
        for _ in range(VIEWS_PER_SCENE):
            pose = orbit.pose(random.random())
            if random.random() < 0.5:
                pose = _nearer(scene, pose, random)
            view = caster.render(pose)
            segment_ids = _segment_ids(view)
            size = VIEW_PX[1], VIEW_PX[0]
            picture = Image.fromarray(view.color).resize(size, Image.Resampling.BILINEAR)
            color.append(np.asarray(picture))
            ids.append(np.asarray(Image.fromarray(segment_ids).resize(size, 0)))
            present = {str(i): named[i] for i in np.unique(ids[-1]).tolist() if i in named}
            facts.append(present | {str(i): {"category": name} for name, i in STUFF_IDS.items()})
    return Shard(np.stack(color), facts, np.stack(ids))


def photos(number: int) -> Shard:
    """Render one shard of photos."""
    color: list[Picture] = []
    facts: list[Facts] = []
    random = np.random.default_rng((FIRST_PHOTO_SEED, number))
    scene_index = 0
    while len(color) < PHOTOS_PER_SHARD:
        # Shards have room for as many scenes as they have photos.
        scene = random_scene(
            FIRST_PHOTO_SEED + number * PHOTOS_PER_SHARD + scene_index, photo_scenes()
        )
        scene_index += 1
        for thing in scene.objects:
            # Furniture is in every scene, each tabletop name only in some.
            if thing.category in FURNITURE and random.random() < 0.4:
                continue
            picture = _photo(scene, thing, random)
            if picture is not None and len(color) < PHOTOS_PER_SHARD:
                color.append(picture)
                facts.append(facts_of(thing))
    return Shard(np.stack(color), facts)


def _segment_ids(view: RenderedView) -> Picture:
    ids = view.instance_ids.astype(np.uint8)
    for name, segment_id in STUFF_IDS.items():
        ids[view.class_ids == CLASS_NAMES.index(name)] = segment_id
    return ids


def _nearer(scene: Scene, pose: Pose, random: np.random.Generator) -> Pose:
    """Return a pose nearer to the table, lower or higher, that looks somewhere else."""
    center = np.array(scene.orbit_center_m)
    eye = pose[:3, 3].copy()
    eye[:2] = center[:2] + (eye[:2] - center[:2]) * random.uniform(0.55, 1.0)
    eye[2] = random.uniform(1.15, 1.75)
    target = center + random.uniform((-0.5, -0.5, -0.3), (0.5, 0.5, 0.3))
    return look_at(eye, target)


def _photo(scene: Scene, thing: SceneObject, random: np.random.Generator) -> Picture | None:
    """Return a picture with an object in the middle, None where it cannot be seen well."""
    assert scene.room is not None  # noqa: S101 - random scenes have rooms
    box = thing.box()
    middle = box.world_from_box[:3, 3]
    reach = float(np.linalg.norm(box.size_m)) / 2
    limit = np.array(scene.room.size_m[:2]) / 2 - 0.1
    for _ in range(_TRIES):
        azimuth = random.uniform(0, 2 * np.pi)
        elevation = random.uniform(0.15, 1.1)
        distance = reach + random.uniform(0.5, 1.8)
        flat = np.array((np.cos(azimuth), np.sin(azimuth))) * np.cos(elevation)
        eye = middle + distance * np.array((*flat, np.sin(elevation)))
        if (np.abs(eye[:2]) > limit).any() or not 0.2 < eye[2] < scene.room.size_m[2] - 0.1:
            continue
        # Its diagonal spans a share of the picture; it is a little off the middle.
        share = random.uniform(0.35, 1.2)
        focal_px = share * PHOTO_PX * distance / (2 * reach)
        pose = look_at(eye, middle + random.uniform(-0.15, 0.15, 3) * reach)
        view = RayCaster(scene, pinhole(PHOTO_PX, PHOTO_PX, focal_px)).render(pose)
        shown = view.instance_ids == thing.instance_id
        near = slice(PHOTO_PX // 4, 3 * PHOTO_PX // 4)
        others = (view.instance_ids != 0) & ~shown
        if np.nanmin(view.depth_m) < _SMALLEST_DEPTH_M or not shown[near, near].any():
            continue
        hides = others & (view.depth_m < np.median(view.depth_m[shown]) - reach)
        if shown.sum() > 120 and hides.sum() < 0.3 * shown.sum():
            return view.color
    return None


def main() -> None:
    """Render shards that are not there yet, photos and views in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--view-shards", type=int, default=30)
    parser.add_argument("--photo-shards", type=int, default=30)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for number in range(max(arguments.view_shards, arguments.photo_shards)):
        for kind, render, count in (
            ("photos", photos, arguments.photo_shards),
            ("views", views, arguments.view_shards),
        ):
            path = arguments.folder / f"{kind}_{number:03d}.npz"
            if number < count and not path.exists():
                render(number).save(path)
                sys.stdout.write(f"{path}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
