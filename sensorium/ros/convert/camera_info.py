"""sensor_msgs/CameraInfo to and from `sensorium.frames.CameraModel`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from sensorium.frames import CameraModel, FrameError
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.header import header

# Distortion model -> the numbers of coefficients it may have (OpenCV's and ROS's).
_COEFFICIENTS: dict[str, tuple[int, ...]] = {
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),
    "equidistant": (4,),
}


def is_calibrated(message: CameraInfo) -> bool:
    """True when the message holds intrinsics; ``K[0] == 0`` is how ROS says "uncalibrated"."""
    return bool(message.k[0] != 0)


def camera_from_info(message: CameraInfo) -> CameraModel:
    """Return the camera of the raw image: K, distortion, region of interest and binning.

    ROS gives K and the region of interest in pixels of the full, unbinned sensor; the returned
    camera is that of the image as published (binning averages pixels, so their common centre
    moves). Distortion that is all zero is dropped: the camera counts as rectified.

    Raises:
        ConversionError: uncalibrated, no size, a region outside the sensor, an unknown distortion
            model, or coefficients that do not fit the model.
    """
    model, coefficients = _distortion(message)
    return _camera(message, np.asarray(message.k).reshape(3, 3), model, coefficients)


def rectified_camera_from_info(message: CameraInfo) -> CameraModel:
    """Return the camera of the rectified image (``image_rect``): the left 3 x 3 of P.

    Raises:
        ConversionError: uncalibrated, no size, a region outside the sensor, or no P.
    """
    projection = np.asarray(message.p).reshape(3, 4)
    if is_calibrated(message) and projection[0, 0] == 0:
        raise ConversionError(
            "P[0] is 0: the CameraInfo has no rectified camera; calibrate, or use the raw image"
        )
    return _camera(message, projection[:, :3], "", ())


def info_from_camera(camera: CameraModel, stamp_ns: int, frame_id: str) -> CameraInfo:
    """Return the CameraInfo of an image taken by `camera`, full resolution, with P = [K | 0].

    A rectified camera is written as "plumb_bob" with five zeros, which every consumer reads.

    Raises:
        ConversionError: a stamp that ROS cannot hold.
    """
    K = camera.K
    projection = np.zeros((3, 4))
    projection[:, :3] = K
    rectified = camera.is_rectified
    return CameraInfo(
        header=header(stamp_ns, frame_id),
        width=camera.width_px,
        height=camera.height_px,
        distortion_model="plumb_bob" if rectified else camera.distortion_model,
        d=[0.0] * 5 if rectified else list(camera.distortion),
        k=K.reshape(9),
        r=np.eye(3).reshape(9),
        p=projection.reshape(12),
    )


def _camera(
    message: CameraInfo, K: NDArray[np.float64], model: str, coefficients: tuple[float, ...]
) -> CameraModel:
    if not is_calibrated(message):
        raise ConversionError(
            "K[0] is 0: the camera is uncalibrated; calibrate it (camera_calibration) and publish "
            "its CameraInfo"
        )
    if message.width == 0 or message.height == 0:
        raise ConversionError(
            f"camera size is {message.width} x {message.height} px; "
            "set width and height to the full resolution of the calibration"
        )
    region = message.roi
    # Zeros mean the full image.
    width = region.width or message.width
    height = region.height or message.height
    if region.x_offset + width > message.width or region.y_offset + height > message.height:
        raise ConversionError(
            f"region of interest is {width} x {height} px at ({region.x_offset}, "
            f"{region.y_offset}) but the camera has {message.width} x {message.height} px: "
            "the region is given in full resolution"
        )
    bin_x, bin_y = message.binning_x or 1, message.binning_y or 1
    if width < bin_x or height < bin_y:
        raise ConversionError(
            f"binning is {bin_x} x {bin_y} but the region has {width} x {height} px; "
            "no pixel would be left"
        )
    image_K = np.array(K, dtype=np.float64)
    image_K[0] /= bin_x
    image_K[1] /= bin_y
    # Pixel centres are at integers: binned pixel u covers full pixels b u to b u + b - 1.
    image_K[0, 2] = (K[0, 2] - region.x_offset) / bin_x + (0.5 / bin_x - 0.5)
    image_K[1, 2] = (K[1, 2] - region.y_offset) / bin_y + (0.5 / bin_y - 0.5)
    try:
        return CameraModel(width // bin_x, height // bin_y, image_K, model, coefficients)
    except FrameError as error:
        raise ConversionError(f"CameraInfo: {error}") from error


def _distortion(message: CameraInfo) -> tuple[str, tuple[float, ...]]:
    model = message.distortion_model
    coefficients = tuple(float(value) for value in message.d)
    if model and model not in _COEFFICIENTS:
        raise ConversionError(
            f"distortion model '{model}' is unknown; allowed: {', '.join(_COEFFICIENTS)}, "
            "or empty for a rectified image"
        )
    if not all(np.isfinite(coefficients)):
        raise ConversionError(f"distortion {coefficients} has non-finite numbers; calibrate again")
    if not any(coefficients):
        return "", ()
    allowed = _COEFFICIENTS.get(model, ())
    if len(coefficients) not in allowed:
        raise ConversionError(
            f"distortion model '{model}' comes with {len(coefficients)} coefficients; "
            + (f"it has {' or '.join(map(str, allowed))}" if allowed else "name the model")
        )
    return model, coefficients
