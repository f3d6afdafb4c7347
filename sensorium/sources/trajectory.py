"""A smooth, closed walk of the camera around the table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sensorium.sources.scene import Scene

Float64 = NDArray[np.float64]


def look_at(eye_m: Float64, target_m: Float64) -> Float64:
    """Return world_from_camera (4, 4) of a camera at `eye_m` that looks at `target_m`, upright.

    Args:
        eye_m: (3,) position in a world whose z points up [m].
        target_m: (3,) point on the optical axis; not straight above or below the eye.
    """
    forward = target_m - eye_m
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = right, np.cross(forward, right), forward
    pose[:3, 3] = eye_m
    return pose


class Orbit:
    """Poses of a closed walk around the table of a scene, by phase.

    The first turn and every other are the same; position and view are sums of sines of the phase,
    so velocity and acceleration have no jumps.

    Args:
        scene: gives the middle and the radius that meets no furniture.
        seed: draws start, direction, height and sway.
    """

    def __init__(self, scene: Scene, seed: int) -> None:
        random = np.random.default_rng((seed, 0x0B817))
        self._center = np.array(scene.orbit_center_m)
        self._radius = scene.orbit_radius_m * random.uniform(0.86, 0.98)
        self._start = random.uniform(0, 2 * np.pi)
        self._direction = random.choice((-1.0, 1.0))
        # Above every chair (0.93 m), below the ceiling (2.4 m).
        self._height = random.uniform(1.3, 1.65)
        self._sway = random.uniform(0, 2 * np.pi, 4)

    def pose(self, phase: float) -> Float64:
        """Return world_from_camera (4, 4) at `phase`, in turns (1.0 is once around)."""
        turn = 2 * np.pi * phase
        sway = self._sway
        angle = self._start + self._direction * turn
        radius = self._radius * (1 - 0.06 * (1 + np.sin(2 * turn + sway[0])))
        eye = self._center.copy()
        eye[:2] += radius * np.cos(angle), radius * np.sin(angle)
        eye[2] = self._height + 0.12 * np.sin(turn + sway[1])
        target = self._center.copy()
        target[:2] += 0.18 * np.sin(turn + sway[2:])
        target[2] += 0.06 * np.sin(2 * turn + sway[1])
        return look_at(eye, target)
