"""Takes lens distortion out of colour and depth images; the intrinsics K stay the same.

The maps are made once per camera: the last few are kept, found by the numbers of the camera.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from sensorium.frames import CameraModel, FrameError

# How many coefficients each model of sensor_msgs/CameraInfo may have, in OpenCV's order.
COEFFICIENTS: dict[str, tuple[int, ...]] = {
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),
    "equidistant": (4,),
}

_Key = tuple[int, int, bytes, str, tuple[float, ...]]
_Maps = tuple[NDArray[np.int16], NDArray[np.uint16], NDArray[np.float32]]


def rectified_camera(camera: CameraModel) -> CameraModel:
    """Return the camera of the rectified image: same size and K, no distortion.

    Raises:
        FrameError: an unknown distortion model or a wrong number of coefficients.
    """
    if camera.is_rectified:
        return camera if not camera.distortion_model else _without_distortion(camera)
    _check(camera)
    return _without_distortion(camera)


def rectified_color(color: NDArray[np.uint8], camera: CameraModel) -> NDArray[np.uint8]:
    """Return the image as a camera without distortion sees it, by linear interpolation.

    Args:
        color: (H, W, 3) or (H, W) uint8 of `camera`.
        camera: the camera with its distortion.

    Returns:
        Same shape; black where the distorted image has no pixel. `color` itself when nothing is
        distorted.

    Raises:
        FrameError: size mismatch, unknown model or wrong number of coefficients.
    """
    if _nothing_to_do(color.shape, camera):
        return color
    coarse, fine, _ = _maps(_key(camera))
    result: NDArray[np.uint8] = cv2.remap(
        color, coarse, fine, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    return result


def rectified_depth(depth_m: NDArray[np.float32], camera: CameraModel) -> NDArray[np.float32]:
    """Return the depth as a camera without distortion sees it, by the nearest pixel.

    Depth along the optical axis does not change with the lens, and interpolation would invent
    surfaces at edges, so values are only moved.

    Args:
        depth_m: (H, W) float32 [m] of `camera`.
        camera: the camera with its distortion.

    Returns:
        (H, W) float32; NaN where the distorted image has no pixel. `depth_m` itself when nothing is
        distorted.

    Raises:
        FrameError: as :func:`rectified_color`.
    """
    if _nothing_to_do(depth_m.shape, camera):
        return depth_m
    _, _, nearest = _maps(_key(camera))
    result: NDArray[np.float32] = cv2.remap(
        depth_m, nearest, None, cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT, borderValue=float("nan"),
    )  # fmt: skip
    return result


def _without_distortion(camera: CameraModel) -> CameraModel:
    return CameraModel(camera.width_px, camera.height_px, camera.K)


def _nothing_to_do(shape: tuple[int, ...], camera: CameraModel) -> bool:
    if shape[:2] != (camera.height_px, camera.width_px):
        raise FrameError(
            f"the image is {shape[1]} x {shape[0]} px but its camera is "
            f"{camera.width_px} x {camera.height_px} px: publish the CameraInfo of this image"
        )
    if camera.is_rectified:
        return True
    _check(camera)
    return False


def _check(camera: CameraModel) -> None:
    model, count = camera.distortion_model, len(camera.distortion)
    if model not in COEFFICIENTS:
        raise FrameError(
            f"distortion model {model!r} is not known; known are {', '.join(COEFFICIENTS)}: "
            "publish a rectified image (image_proc) or calibrate with one of these"
        )
    if count not in COEFFICIENTS[model]:
        allowed = " or ".join(str(number) for number in COEFFICIENTS[model])
        raise FrameError(
            f"distortion model {model!r} has {count} coefficients; it takes {allowed}: "
            "correct D in the CameraInfo"
        )


def _key(camera: CameraModel) -> _Key:
    return (
        camera.width_px, camera.height_px, camera.K.tobytes(),
        camera.distortion_model, tuple(camera.distortion),
    )  # fmt: skip


@lru_cache(maxsize=8)
def _maps(key: _Key) -> _Maps:
    """Return fixed-point maps for colour and a float map (H, W, 2) for the nearest pixel."""
    width, height, k_bytes, model, distortion = key
    K = np.frombuffer(k_bytes, np.float64).reshape(3, 3)
    D = np.array(distortion)
    size = (width, height)
    if model == "equidistant":
        x, y = cv2.fisheye.initUndistortRectifyMap(K, D, np.eye(3), K, size, cv2.CV_32FC1)
    else:
        x, y = cv2.initUndistortRectifyMap(K, D, None, K, size, cv2.CV_32FC1)
    coarse, fine = cv2.convertMaps(x, y, cv2.CV_16SC2)
    return coarse, fine, np.stack((x, y), axis=-1)
