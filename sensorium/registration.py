"""Registers depth to colour: moves every depth pixel to where the colour camera sees it."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sensorium.frames import CameraModel, FrameError, valid_depth
from sensorium.poses import Float64, validated_pose

Float32 = NDArray[np.float32]

# A crack is filled where both of its sides agree to this share of the depth: the step of a surface
# seen at 80 degrees between neighbouring pixels is about 1 %.
_SAME_SURFACE = np.float32(0.02)
_NEAREST_M = 1e-3


def register_depth_to_color(
    depth_m: Float32,
    depth_camera: CameraModel,
    color_camera: CameraModel,
    color_from_depth: Float64,
) -> Float32:
    """Return the depth as the colour camera would measure it, on the colour pixel grid.

    Each depth pixel is splatted over the colour pixels that it covers (more than one where colour
    is finer), the nearest surface wins, and cracks one pixel wide between splats of one surface are
    filled. What the depth camera does not see (occlusion, outside its view) is NaN.

    Args:
        depth_m: (H, W) float32 along the optical axis of the depth camera [m]; invalid is NaN, zero
            or infinite.
        depth_camera: rectified intrinsics of `depth_m`.
        color_camera: rectified intrinsics of the colour image.
        color_from_depth: (4, 4) rigid transform of points in the depth camera to the colour camera.

    Returns:
        (color H, color W) float32 along the optical axis of the colour camera [m]; NaN elsewhere.

    Raises:
        FrameError: a camera has distortion, or the depth has not the size of its camera.
        PoseError: `color_from_depth` is not rigid.
    """
    for name, camera in (("depth", depth_camera), ("colour", color_camera)):
        if not camera.is_rectified:
            raise FrameError(
                f"the {name} camera has distortion ({camera.distortion_model!r}): "
                "rectify first (sensorium.rectification)"
            )
    if depth_m.shape != (depth_camera.height_px, depth_camera.width_px):
        raise FrameError(
            f"depth is {depth_m.shape[1]} x {depth_m.shape[0]} px but its camera is "
            f"{depth_camera.width_px} x {depth_camera.height_px} px"
        )
    transform = validated_pose(color_from_depth, "color_from_depth")
    projection = _projected_rays(_key(depth_camera), _key(color_camera), transform.tobytes())
    offset = (color_camera.K @ transform[:3, 3]).astype(np.float32)
    width, height = color_camera.width_px, color_camera.height_px

    valid = np.flatnonzero(valid_depth(depth_m))
    along = depth_m.reshape(-1).take(valid)
    depth = projection[2].take(valid) * along + offset[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(depth > _NEAREST_M, 1 / depth, np.float32(np.nan))
        u = (projection[0].take(valid) * along + offset[0]) * inverse
        v = (projection[1].take(valid) * along + offset[1]) * inverse

    # One extra row and column on each side take what falls outside, so no index is tested.
    buffer = np.full((height + 2) * (width + 2), np.inf, np.float32)
    footprint_u = color_camera.K[0, 0] / depth_camera.K[0, 0]
    footprint_v = color_camera.K[1, 1] / depth_camera.K[1, 1]
    columns = [_border_index(u + shift, width) for shift in _shifts(footprint_u)]
    rows = [_border_index(v + shift, height) * (width + 2) for shift in _shifts(footprint_v)]
    for column in columns:
        for row in rows:
            np.minimum.at(buffer, row + column, depth)
    result = buffer.reshape(height + 2, width + 2)[1:-1, 1:-1].copy()
    result[result == np.inf] = np.nan
    _fill_cracks(result)
    return result


def _shifts(footprint_px: float) -> Float32:
    """Return sub-pixel offsets about one colour pixel apart that cover one depth pixel."""
    # A tenth of a pixel more than one leaves rare cracks, which are filled afterwards.
    count = max(1, math.ceil(footprint_px - 0.1))
    offsets = (np.arange(count) - (count - 1) / 2) * (footprint_px / count)
    return offsets.astype(np.float32)


def _border_index(position_px: Float32, size_px: int) -> NDArray[np.int32]:
    """Return the nearest pixel plus one; 0 or size_px + 1 for NaN and what is outside."""
    # fmax and fmin prefer the number over the NaN.
    shifted = np.fmax(position_px + np.float32(1.5), 0)
    return np.asarray(np.fmin(shifted, np.float32(size_px + 1.5)), np.int32)


def _fill_cracks(depth_m: Float32) -> None:
    """Fill, in place, NaN pixels between two neighbours of one surface (left/right, up/down)."""
    width = depth_m.shape[1]
    flat = depth_m.reshape(-1)
    for axis, step in ((1, 1), (0, width)):
        inner = depth_m[:, 1:-1] if axis == 1 else depth_m[1:-1]
        rows, columns = np.nonzero(np.isnan(inner))
        center = rows * width + columns + step
        before, after = flat.take(center - step), flat.take(center + step)
        # Comparisons with NaN are false: a missing neighbour never fills.
        same = np.abs(before - after) < _SAME_SURFACE * np.minimum(before, after)
        flat[center[same]] = (before[same] + after[same]) * np.float32(0.5)


_Key = tuple[int, int, bytes]


def _key(camera: CameraModel) -> _Key:
    return camera.width_px, camera.height_px, camera.K.tobytes()


@lru_cache(maxsize=8)
def _projected_rays(depth_key: _Key, color_key: _Key, transform: bytes) -> Float32:
    """Return (3, H * W) float32: K_color R K_depth^-1 applied to the depth pixels (u, v, 1)."""
    width, height, k_depth = depth_key
    K_depth = np.frombuffer(k_depth, np.float64).reshape(3, 3)
    K_color = np.frombuffer(color_key[2], np.float64).reshape(3, 3)
    rotation = np.frombuffer(transform, np.float64).reshape(4, 4)[:3, :3]
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack((u.ravel(), v.ravel(), np.ones(u.size)))
    homography = K_color @ rotation @ np.linalg.inv(K_depth)
    return (homography @ pixels).astype(np.float32)
