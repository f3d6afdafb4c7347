"""How an episode begins: where cubes, tray, camera and arm are, drawn from the seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.tabletop.options import CameraRange
from sensorium.tabletop.tasks import COLORS

__all__ = ["CUBE_HALF_M", "TRAY_HALF_M", "CubePlace", "Layout", "random_layout"]

Float64 = NDArray[np.float64]

CUBE_HALF_M = 0.02
TRAY_HALF_M = 0.065
_LOWEST_XY_M = np.array((0.37, -0.25))
_HIGHEST_XY_M = np.array((0.63, 0.25))
# Fingers and palm pass between neighbours at these distances of the centres.
_CUBE_SPACING_M = 0.12
_TRAY_SPACING_M = 0.145
_HIGHEST_PEDESTAL_M = 0.10
_LARGEST_YAW_RAD = 0.2
_LOOK_AT_M = np.array((0.48, 0.0, 0.06))
_START_RANGE_M = np.array((0.05, 0.08, 0.03))


@dataclass(frozen=True)
class CubePlace:
    """Where a cube stands.

    Attributes:
        x_m: Position in the arm's base.
        y_m: Position in the arm's base.
        pedestal_m: Height of what it stands on; 0 is the table.
        yaw_rad: Rotation about the vertical.
    """

    x_m: float
    y_m: float
    pedestal_m: float
    yaw_rad: float

    @property
    def center_m(self) -> Float64:
        """(3,) centre of the cube in the arm's base."""
        return np.array((self.x_m, self.y_m, self.pedestal_m + CUBE_HALF_M))


@dataclass(frozen=True, eq=False)
class Layout:
    """The scene of one episode; the task does not change it.

    Attributes:
        cubes: Place by colour.
        tray_xy_m: (2,) centre of the tray.
        base_from_camera: (4, 4) pose of the camera, OpenCV axes.
        start_offset_m: (3,) shift of the tip from its home at the beginning.
    """

    cubes: Mapping[str, CubePlace]
    tray_xy_m: Float64
    base_from_camera: Float64
    start_offset_m: Float64


def random_layout(seed: int, camera: CameraRange) -> Layout:
    """Draws the scene of a seed; the same seed gives the same scene.

    Args:
        seed: Not negative.
        camera: Where the camera may stand.
    """
    random = np.random.default_rng((seed, 0))
    places, tray = _places(random)
    heights = random.uniform(0.0, _HIGHEST_PEDESTAL_M, len(COLORS))
    yaws = random.uniform(-_LARGEST_YAW_RAD, _LARGEST_YAW_RAD, len(COLORS))
    cubes = {
        color: CubePlace(float(x), float(y), float(height), float(yaw))
        for color, (x, y), height, yaw in zip(COLORS, places, heights, yaws, strict=True)
    }
    start = random.uniform(-1.0, 1.0, 3) * _START_RANGE_M
    return Layout(cubes, tray, _camera_pose(random, camera), start)


def _places(random: np.random.Generator) -> tuple[Float64, Float64]:
    """(cubes, 2) and (2,) positions that keep their distances."""
    while True:
        points = random.uniform(_LOWEST_XY_M, _HIGHEST_XY_M, (len(COLORS) + 1, 2))
        cubes, tray = points[:-1], points[-1]
        apart = np.linalg.norm(cubes[:, None] - cubes[None], axis=2)
        apart[np.diag_indices_from(apart)] = np.inf
        from_tray = np.linalg.norm(cubes - tray, axis=1)
        if apart.min() >= _CUBE_SPACING_M and from_tray.min() >= _TRAY_SPACING_M:
            return cubes, tray


def _camera_pose(random: np.random.Generator, camera: CameraRange) -> Float64:
    middle = np.array((camera.x_m, camera.y_m, camera.z_m))
    deviation = np.array((camera.range_x_m, camera.range_y_m, camera.range_z_m))
    position = middle + random.uniform(-1.0, 1.0, 3) * deviation
    target = _LOOK_AT_M + random.uniform(-1.0, 1.0, 3) * camera.range_target_m
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = right, np.cross(forward, right), forward
    pose[:3, 3] = position
    return pose
