"""Cameras in rendered rooms, for training and for evaluation on rooms that training never saw.

Training draws its rooms from seeds of ``TRAINING_SEEDS``; every other seed is held out, among them
seed 0 of the demo.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sensorium.sources.random_scene import SceneOptions, random_scene
from sensorium.sources.scene import Scene
from sensorium.sources.trajectory import Orbit, look_at

Float64 = NDArray[np.float64]

TRAINING_SEEDS = range(1_000_000, 2_000_000)

# A camera nearer than this to anything stands in a thing, or with its lens on it.
NEAREST_M = 0.25

_WALL_MARGIN_M = 0.35


def drawn_scene(seed: int) -> Scene:
    """Returns the room of a seed, with 4 to 24 objects."""
    objects = int(np.random.default_rng((seed, 0x0B7E)).integers(4, 25))
    return random_scene(seed, SceneOptions(objects=objects))


def drawn_focal(random: np.random.Generator) -> float:
    """Returns a focal length in image widths: horizontal fields of view of 51 to 78 degrees."""
    return float(random.uniform(0.62, 1.05))


def drawn_poses(scene: Scene, seed: int, count: int, random: np.random.Generator) -> list[Float64]:
    """Draws neighbouring camera poses: half of the time on the walk around the table.

    The other half stands anywhere in the room, 0.5 to 2 m high, looks anywhere and moves freely; it
    may stand inside of a thing, so views nearer than ``NEAREST_M`` have to be thrown away.

    Args:
        scene: The room.
        seed: Seed of the room, which also draws the walk.
        count: Number of poses.
        random: Source of chance.

    Returns:
        ``count`` matrices world_from_camera (4, 4), a few decimetres apart.
    """
    if random.random() < 0.5:
        orbit = Orbit(scene, seed)
        start, step = random.random(), random.uniform(0.01, 0.05)
        return [orbit.pose(start + index * step) for index in range(count)]
    if scene.room is None:
        raise ValueError("the scene has no room; cameras are drawn inside of one")
    size = np.array(scene.room.size_m)
    low = np.array((*(-size[:2] / 2 + _WALL_MARGIN_M), 0.5))
    high = np.array((*(size[:2] / 2 - _WALL_MARGIN_M), 2.0))
    eye = random.uniform(low, high)
    target = random.uniform((*(-size[:2] / 2), 0.0), (*(size[:2] / 2), 1.6))
    while np.linalg.norm((target - eye)[:2]) < 1.0:
        target = random.uniform((*(-size[:2] / 2), 0.0), (*(size[:2] / 2), 1.6))
    poses = []
    for _ in range(count):
        pose = look_at(eye, target)
        roll = np.radians(random.uniform(-6, 6))
        turn = np.eye(4)
        turn[:2, :2] = ((np.cos(roll), -np.sin(roll)), (np.sin(roll), np.cos(roll)))
        poses.append(pose @ turn)
        eye = np.clip(eye + random.uniform(-0.25, 0.25, 3), low, high)
        target = target + random.uniform(-0.25, 0.25, 3)
    return poses
