"""Pictures of a run: the map beside what the camera saw, and depth beside its errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sensorium.demo.recorded import RecordedFrame
from sensorium.frames import CameraModel, pinhole, valid_depth
from sensorium.geometry.picture import draw_depth, draw_map, look_at
from sensorium.geometry.surface import MapPoints
from sensorium.poses import Float64

Picture = NDArray[np.uint8]

_BACKGROUND = (24, 26, 30)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPTION_PX = 30
_GAP_PX = 8
# Width of the scale that draw_depth adds.
_LEGEND_PX = 88
_OVERVIEW_PX = (1080, 840)
_SIDE_WIDTH_PX = 560
_ERROR_SCALE_MM = 30.0
_OVERVIEW_FAR_M = 8.0
_FILLED = 0.94
# draw_map sizes points for a grid seen straight; turned by 45 degrees it has wider gaps.
_GAP_FREE = 1.2
_FRAMING_ROUNDS = 6
# Normals of single points are noisy; the sides of a table top must not be averaged.
_SMOOTHING_CELL_M = 0.12
_LEAST_AGREEMENT = 0.4
# Within this angle the cameras' mean upwards direction is taken for an axis of the world.
_SNAP_COSINE = np.cos(np.radians(30))


def map_picture(
    cloud: MapPoints, frames: Sequence[RecordedFrame], color: Picture | None
) -> Picture:
    """Return the map from above with its near walls left out; beside it the camera's own view.

    Args:
        cloud: the map.
        frames: the frames; their poses say which way is up.
        color: picture of the middle frame where frames carry no colour, or None.
    """
    posed = [frame for frame in frames if frame.world_from_camera is not None]
    overview = _overview(_brightened(cloud), [f.world_from_camera for f in posed])
    if not posed:
        return _captioned(overview, "fused map")
    frame = posed[len(posed) // 2]
    seen = frame.color if frame.color is not None else color
    height, width = frame.depth_m.shape
    camera = pinhole(
        width, height, (float(frame.K[0, 0]), float(frame.K[1, 1])),
        (float(frame.K[0, 2]), float(frame.K[1, 2])),
    )  # fmt: skip
    side_height = round(height * _SIDE_WIDTH_PX / width)
    assert frame.world_from_camera is not None  # noqa: S101 - chosen above
    large = camera.resized(_SIDE_WIDTH_PX, side_height)
    again = draw_map(_gap_free(_brightened(cloud)), large, frame.world_from_camera)
    panels = [_captioned(again, "fused map from the same place")]
    if seen is not None:
        shown = cv2.resize(seen, (_SIDE_WIDTH_PX, side_height), interpolation=cv2.INTER_AREA)
        panels.insert(0, _captioned(np.asarray(shown, np.uint8), "camera image"))
    return _beside([_captioned(overview, "fused map"), _below(panels)])


def depth_picture(frame: RecordedFrame, color: Picture | None) -> Picture:
    """Return a frame's colour, its published depth, and what is exact about it.

    Args:
        frame: the frame.
        color: its picture where the frame carries none, or None.
    """
    depth = frame.depth_m if frame.points_depth_m is None else frame.points_depth_m
    truth = frame.truth_depth_m
    known = depth if truth is None else np.concatenate((depth, truth))
    valid = known[valid_depth(known)]
    near, far = (float(v) for v in np.percentile(valid, (1, 99))) if valid.size else (0.0, 1.0)
    share = float(valid_depth(depth).mean())
    panels = [_captioned(draw_depth(depth, near, far), f"published depth, {share:.0%} valid")]
    seen = frame.color if frame.color is not None else color
    if seen is not None:
        size = (depth.shape[1], depth.shape[0])
        shown = np.asarray(cv2.resize(seen, size, interpolation=cv2.INTER_AREA), np.uint8)
        if truth is not None:
            # As wide as the depth below with its scale.
            shown = _padded(shown, depth.shape[0], depth.shape[1] + _LEGEND_PX)
        panels.insert(0, _captioned(shown, "camera image"))
    if truth is None:
        return _enlarged(_beside(panels))
    exact = _captioned(draw_depth(truth, near, far), "exact depth")
    error = np.abs(depth - truth) * np.float32(1000)
    known_error = error[np.isfinite(error)]
    median = f", median {np.median(known_error):.1f} mm" if known_error.size else ""
    wrong = _captioned(_draw_error(error), f"error{median}")
    return _enlarged(_below([_beside(panels), _beside([wrong, exact])]))


def _overview(cloud: MapPoints, poses: Sequence[Float64 | None]) -> Picture:
    if not len(cloud):
        empty = np.full((_OVERVIEW_PX[1], _OVERVIEW_PX[0], 3), _BACKGROUND, np.uint8)
        cv2.putText(empty, "the map is empty", (40, 400), _FONT, 1.0, (255,) * 3, 2)
        return empty
    known = [pose for pose in poses if pose is not None]
    zenith, back = _directions(known)
    points = cloud.points_m.astype(np.float64)
    center = (points.min(axis=0) + points.max(axis=0)) / 2
    eye = center + _OVERVIEW_FAR_M * (0.8 * zenith + 0.75 * back)
    shown = _facing(cloud, eye)
    camera = pinhole(*_OVERVIEW_PX, 1.1 * _OVERVIEW_PX[0])
    pose = _framing(shown.points_m.astype(np.float64), look_at(eye, center, zenith), camera)
    return draw_map(_gap_free(shown), camera, pose)


def _framing(points: Float64, world_from_camera: Float64, camera: CameraModel) -> Float64:
    """Move a camera, without turning it, so that the points fill its picture."""
    pose = world_from_camera.copy()
    local = points @ pose[:3, :3]
    eye = np.median(local, axis=0)
    focal = np.diag(camera.K)[:2]
    reach = _FILLED * np.array((camera.width_px, camera.height_px)) / 2 / focal
    for _ in range(_FRAMING_ROUNDS):
        # Far enough that all but stray points are within the picture, then to their middle.
        beside = np.abs(local[:, :2] - eye[:2]) / reach
        eye[2] = -np.percentile((beside - local[:, 2:]).max(axis=1), 99.8)
        low, high = np.percentile(
            (local[:, :2] - eye[:2]) / (local[:, 2:] - eye[2]), (0.2, 99.8), axis=0
        )
        eye[:2] += (low + high) / 2 * (np.median(local[:, 2]) - eye[2])
    pose[:3, 3] = pose[:3, :3] @ eye
    return pose


def _directions(poses: Sequence[Float64]) -> tuple[Float64, Float64]:
    """Return unit vectors up and backwards (across up) of the cameras taken together."""
    if not poses:
        return np.array((0.0, 0.0, 1.0)), np.array((0.0, -1.0, 0.0))
    zenith = -np.mean([pose[:3, 1] for pose in poses], axis=0)
    zenith /= max(float(np.linalg.norm(zenith)), 1e-9)
    axis = int(np.argmax(np.abs(zenith)))
    if abs(zenith[axis]) > _SNAP_COSINE:
        zenith = np.eye(3)[axis] * np.sign(zenith[axis])
    back = -np.mean([pose[:3, 2] for pose in poses], axis=0)
    back -= zenith * (back @ zenith)
    if np.linalg.norm(back) < 0.3:
        # The cameras look all around: no side is the front.
        back = np.cross(zenith, (0.6, 0.8, 0.0) if abs(zenith[2]) > 0.5 else (0.0, 0.6, 0.8))
    return zenith, back / np.linalg.norm(back)


def _facing(cloud: MapPoints, eye_m: Float64) -> MapPoints:
    """Leave out surfaces seen from behind, such as the walls between the eye and the room."""
    towards = eye_m - cloud.points_m
    facing = np.einsum("nc,nc->n", towards, _smoothed_normals(cloud)) >= 0
    return MapPoints(
        cloud.points_m[facing], cloud.normals[facing], cloud.colors[facing],
        cloud.weights[facing], cloud.voxel_size_m,
    )  # fmt: skip


def _gap_free(cloud: MapPoints) -> MapPoints:
    return replace(cloud, voxel_size_m=_GAP_FREE * cloud.voxel_size_m)


def _smoothed_normals(cloud: MapPoints) -> NDArray[np.float64]:
    """Return (N, 3) mean normals of small cells; a point's own where its cell disagrees."""
    own = np.nan_to_num(cloud.normals).astype(np.float64)
    cells = np.floor(cloud.points_m / _SMOOTHING_CELL_M).astype(np.int64)
    _, cell_of, count = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    cell_of = cell_of.reshape(-1)
    mean = np.stack([np.bincount(cell_of, own[:, axis]) / count for axis in range(3)], axis=1)
    agrees = np.linalg.norm(mean, axis=1) > _LEAST_AGREEMENT
    normals: NDArray[np.float64] = np.where(agrees[cell_of, None], mean[cell_of], own)
    return normals


def _brightened(cloud: MapPoints) -> MapPoints:
    """Use the whole range of brightness: a map of a dim room is drawn as if lit."""
    if not len(cloud):
        return cloud
    brightest = max(float(np.percentile(cloud.colors.max(axis=1), 98)), 1.0)
    colors = (cloud.colors * min(255.0 / brightest, 1.6)).clip(0, 255).astype(np.uint8)
    return replace(cloud, colors=colors)


def _draw_error(error_mm: NDArray[np.float32]) -> Picture:
    """Return black without a value, dark to light for 0 to 30 mm, with a scale."""
    height = error_mm.shape[0]
    levels = np.nan_to_num(error_mm / _ERROR_SCALE_MM * 255).clip(0, 255).astype(np.uint8)
    image = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
    image[np.isnan(error_mm)] = 0
    legend = np.full((height, _LEGEND_PX, 3), _BACKGROUND, np.uint8)
    ramp = np.linspace(0, 255, height - 32).astype(np.uint8)[:, None].repeat(16, axis=1)
    legend[16:-16, 6:22] = cv2.cvtColor(
        cv2.applyColorMap(ramp, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB
    )
    for share in (0.0, 0.5, 1.0):
        row = round(16 + share * (height - 33))
        text = f"{share * _ERROR_SCALE_MM:.0f} mm"
        cv2.putText(legend, text, (26, row + 4), _FONT, 0.42, (255,) * 3, 1, cv2.LINE_AA)
    return np.hstack((image, legend))


def _captioned(image: Picture, text: str) -> Picture:
    strip = np.full((_CAPTION_PX, image.shape[1], 3), _BACKGROUND, np.uint8)
    cv2.putText(strip, text, (6, 20), _FONT, 0.5, (235,) * 3, 1, cv2.LINE_AA)
    return np.vstack((strip, image))


def _below(images: Sequence[Picture]) -> Picture:
    width = max(image.shape[1] for image in images)
    return np.vstack([_padded(image, image.shape[0] + _GAP_PX, width) for image in images])


def _beside(images: Sequence[Picture]) -> Picture:
    height = max(image.shape[0] for image in images)
    return np.hstack([_padded(image, height, image.shape[1] + _GAP_PX) for image in images])


def _padded(image: Picture, height: int, width: int) -> Picture:
    padded = np.full((height, width, 3), _BACKGROUND, np.uint8)
    padded[: image.shape[0], : image.shape[1]] = image
    return padded


def _enlarged(image: Picture) -> Picture:
    """Return small pictures at twice their size, so that pixels can be told apart."""
    if image.shape[1] > 1000:
        return image
    doubled: Picture = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    return doubled
