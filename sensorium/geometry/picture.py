"""Pictures of maps and depth images for people."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sensorium.frames import CameraModel, pinhole, valid_depth
from sensorium.geometry.atomic import write_atomically
from sensorium.geometry.surface import MapPoints
from sensorium.poses import inverse, transform_points

_BACKGROUND = (24, 26, 30)
_LEGEND_WIDTH_PX = 88
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def save_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an (H, W, 3) uint8 RGB picture; the file appears only when it is complete.

    Raises:
        OSError: the file cannot be written.
    """
    encoded, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not encoded:
        raise OSError(f"cannot encode a picture of shape {image.shape} as PNG for {path}")
    write_atomically(path, (data.tobytes(),))


def draw_map(
    cloud: MapPoints, camera: CameraModel, world_from_camera: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Return an (H, W, 3) uint8 RGB perspective picture of a map.

    Every point is a square of the size that a gap-free surface needs at its distance, nearer
    points over farther ones, shaded as if lit from the camera.

    Args:
        cloud: points in the map frame.
        camera: rectified camera of the picture.
        world_from_camera: (4, 4) pose of the picture's optical frame in the map frame.
    """
    picture = np.full((camera.height_px, camera.width_px, 3), _BACKGROUND, np.uint8)
    camera_from_world = inverse(world_from_camera)
    points = transform_points(camera_from_world, cloud.points_m.astype(np.float64))
    ahead = points[:, 2] > 0.05
    points, colors = points[ahead], cloud.colors[ahead].astype(np.float64)
    normals = cloud.normals[ahead].astype(np.float64) @ camera_from_world[:3, :3].T
    towards = -(normals * points).sum(axis=1) / np.linalg.norm(points, axis=1)
    colors *= (0.45 + 0.55 * np.abs(np.nan_to_num(towards, nan=0.5)))[:, None]
    pixels = points @ camera.K.T
    uv = np.rint(pixels[:, :2] / pixels[:, 2:]).astype(np.int64)
    # The last write to a pixel wins: far to near.
    order = np.argsort(-points[:, 2])
    side = (
        np.ceil(1.3 * cloud.voxel_size_m * camera.K[0, 0] / points[:, 2])
        .clip(1, 15)
        .astype(np.int64)
    )
    uv, colors, side = uv[order], colors[order].astype(np.uint8), side[order]
    # Points of one distance lie together, so bands of it keep the order within a few writes.
    for band in np.array_split(np.arange(len(uv)), 64):
        if band.size == 0:
            continue
        reach = np.arange(side[band].max()) - side[band].max() // 2
        for dv in reach:
            for du in reach:
                u, v = uv[band, 0] + du, uv[band, 1] + dv
                inside = (u >= 0) & (u < camera.width_px) & (v >= 0) & (v < camera.height_px)
                picture[v[inside], u[inside]] = colors[band[inside]]
    return picture


def draw_map_from_above(
    cloud: MapPoints, up: tuple[float, float, float] = (0.0, 0.0, 1.0),
    width_px: int = 960, height_px: int = 720,
) -> NDArray[np.uint8]:  # fmt: skip
    """Return an (H, W, 3) uint8 RGB picture of the whole map, seen steeply from outside.

    Args:
        cloud: points in the map frame; an empty map gives an empty picture that says so.
        up: direction against gravity in the map frame; z by REP 103.
        width_px: width of the picture.
        height_px: height of the picture.
    """
    if len(cloud) == 0:
        picture = np.full((height_px, width_px, 3), _BACKGROUND, np.uint8)
        cv2.putText(picture, "the map is empty", (40, height_px // 2), _FONT, 1.0, (255,) * 3, 2)
        return picture
    points = cloud.points_m.astype(np.float64)
    # Single stray points must not make the rest small.
    low, high = np.percentile(points, (0.5, 99.5), axis=0)
    points = points[((points >= low) & (points <= high)).all(axis=1)]
    centre = (low + high) / 2
    camera = pinhole(width_px, height_px, 0.9 * width_px)
    zenith = np.asarray(up, np.float64) / np.linalg.norm(up)
    sideways = np.cross(zenith, (0.6, 0.8, 0.0) if abs(zenith[2]) > 0.5 else (0.0, 0.6, 0.8))
    back = 0.85 * zenith + 0.5 * sideways / np.linalg.norm(sideways)
    pose = look_at(centre + back, centre, zenith)
    # Step back until every point is within the picture with a margin of 4 % to each side.
    x, y, z = ((points - centre) @ pose[:3, :3]).T
    focal = camera.K[0, 0] / 0.46
    distance = np.maximum(np.abs(x) * focal / width_px, np.abs(y) * focal / height_px) - z
    pose[:3, 3] = centre - pose[:3, 2] * max(float(distance.max(initial=0.0)), 0.2)
    return draw_map(cloud, camera, pose)


def look_at(
    eye_m: NDArray[np.float64], target_m: NDArray[np.float64], up: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return world_from_camera (4, 4) of an optical frame at `eye_m` that looks at `target_m`.

    Raises:
        ValueError: eye and target coincide, or `up` is parallel to the line of sight.
    """
    forward = target_m - eye_m
    right = np.cross(forward, up)
    if np.linalg.norm(forward) < 1e-9 or np.linalg.norm(right) < 1e-9:
        raise ValueError("look_at needs an eye apart from its target and an up across the sight")
    forward, right = forward / np.linalg.norm(forward), right / np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack((right, np.cross(forward, right), forward))
    pose[:3, 3] = eye_m
    return pose


def draw_depth(
    depth_m: NDArray[np.float32], near_m: float | None = None, far_m: float | None = None
) -> NDArray[np.uint8]:
    """Return an (H, W + 88, 3) uint8 RGB picture of a depth image with a scale in metres.

    Args:
        depth_m: (H, W) [m]; invalid pixels are black.
        near_m: depth at the near end of the colours; the 1st percentile by default.
        far_m: depth at the far end; the 99th percentile by default.
    """
    valid = valid_depth(depth_m)
    low, high = (0.0, 1.0)
    if valid.any():
        low, high = (float(value) for value in np.percentile(depth_m[valid], (1, 99)))
    low = low if near_m is None else near_m
    high = max(high if far_m is None else far_m, low + 1e-3)
    share = np.where(valid, (depth_m - low) / (high - low), 0.0)
    image = _colored(share)
    image[~valid] = 0
    return np.hstack((image, _legend(depth_m.shape[0], low, high)))


def _colored(share: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return RGB colours of shares 0 (near) to 1 (far)."""
    levels = (255 * (1 - share.clip(0, 1))).astype(np.uint8)
    colored = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    result: NDArray[np.uint8] = colored
    return result


def _legend(height_px: int, low_m: float, high_m: float) -> NDArray[np.uint8]:
    legend = np.full((height_px, _LEGEND_WIDTH_PX, 3), _BACKGROUND, np.uint8)
    top, bottom = min(16, height_px // 4), height_px - min(16, height_px // 4)
    ramp = np.linspace(0, 1, bottom - top)[:, None].repeat(16, axis=1)
    legend[top:bottom, 6:22] = _colored(ramp)
    for share in np.linspace(0, 1, 5 if height_px >= 160 else 2):
        row = round(top + share * (bottom - top - 1))
        text = f"{low_m + share * (high_m - low_m):.2f} m"
        cv2.putText(legend, text, (26, row + 4), _FONT, 0.42, (255,) * 3, 1, cv2.LINE_AA)
    return legend
