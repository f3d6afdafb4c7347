"""Depth images of analytic shapes, for the geometry tests."""

import numpy as np

from sensorium.frames import CameraModel


def rays(camera: CameraModel) -> np.ndarray:
    """(H, W, 3) directions at unit depth, from the definition of K."""
    v, u = np.mgrid[: camera.height_px, : camera.width_px]
    pixels = np.stack((u, v, np.ones_like(u)), axis=-1).astype(np.float64)
    return pixels @ np.linalg.inv(camera.K).T


def plane_depth(camera, world_from_camera, normal, offset_m) -> np.ndarray:
    """Depth of the plane normal . p = offset in the world; NaN where it is not ahead."""
    directions = rays(camera) @ world_from_camera[:3, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = (offset_m - world_from_camera[:3, 3] @ normal) / (directions @ normal)
    return np.where(depth > 0, depth, np.nan).astype(np.float32)


def quadric_depth(camera, world_from_camera, center, radius_m, axes=(1, 1, 1)) -> np.ndarray:
    """Depth of a sphere, or of a cylinder along the axis whose weight in `axes` is 0."""
    weights = np.asarray(axes, np.float64)
    directions = rays(camera) @ world_from_camera[:3, :3].T
    start = world_from_camera[:3, 3] - center
    a = (directions**2 * weights).sum(-1)
    b = (directions * start * weights).sum(-1)
    c = (start**2 * weights).sum() - radius_m**2
    with np.errstate(invalid="ignore"):
        depth = (-b - np.sqrt(b**2 - a * c)) / a
    return np.where(depth > 0, depth, np.nan).astype(np.float32)


def nearest(*depths) -> np.ndarray:
    """The depth image in which nearer shapes hide farther ones."""
    return np.fmin.reduce(depths)


def looking_at(eye, target, up=(0.0, 0.0, 1.0)) -> np.ndarray:
    """world_from_camera of an optical frame at `eye`, made without the code under test."""
    z = np.subtract(target, eye) / np.linalg.norm(np.subtract(target, eye))
    x = np.cross(z, up) / np.linalg.norm(np.cross(z, up))
    pose = np.eye(4)
    pose[:3, :4] = np.column_stack((x, np.cross(z, x), z, eye))
    return pose


def orbit(radius_m, count, height_m=0.0) -> list[np.ndarray]:
    """Poses on a circle around the origin that look at it."""
    angles = 2 * np.pi * np.arange(count) / count
    return [
        looking_at((radius_m * np.cos(angle), radius_m * np.sin(angle), height_m), (0, 0, 0))
        for angle in angles
    ]
