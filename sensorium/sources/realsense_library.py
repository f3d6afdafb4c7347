"""Loads pyrealsense2 where it is used, and reads cameras and poses from its objects."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib
from functools import lru_cache
from typing import Any

import numpy as np

from sensorium.frames import CameraModel
from sensorium.poses import Float64
from sensorium.sources.source import SourceError

# librealsense projects with the Brown-Conrady polynomial for the "inverse" and "modified" models
# too; only the tangential terms are applied in another order, which moves a pixel by less than 0.1.
_DISTORTION = {
    "none": "",
    "brown_conrady": "plumb_bob",
    "modified_brown_conrady": "plumb_bob",
    "inverse_brown_conrady": "plumb_bob",
    "kannala_brandt4": "equidistant",
}


@lru_cache(maxsize=1)
def load_pyrealsense2() -> Any:  # noqa: ANN401 - the library has no types
    """Import and return pyrealsense2; libusb comes from the system or from `libusb_package`.

    Raises:
        SourceError: the library is not installed or libusb is missing.
    """
    if ctypes.util.find_library("usb-1.0") is None:
        try:
            package = importlib.import_module("libusb_package")
            # Global, so that the extension module finds the symbols of a library it cannot find.
            ctypes.CDLL(str(package.get_library_path()), mode=ctypes.RTLD_GLOBAL)
        except (ImportError, OSError) as error:
            raise SourceError(
                f"libusb is missing ({error}), which pyrealsense2 needs; "
                "install it: pip install libusb-package, or apt install libusb-1.0-0"
            ) from error
    try:
        return importlib.import_module("pyrealsense2")
    except ImportError as error:
        raise SourceError(
            f"pyrealsense2 cannot be imported ({error}); install it: pip install pyrealsense2"
        ) from error


def camera_of(intrinsics: Any) -> CameraModel:  # noqa: ANN401
    """Return the camera of a pyrealsense2 `intrinsics`.

    Raises:
        SourceError: a lens model that cannot be rectified.
        FrameError: the device reports an uncalibrated camera.
    """
    K = np.array(
        (
            (intrinsics.fx, 0, intrinsics.ppx),
            (0, intrinsics.fy, intrinsics.ppy),
            (0, 0, 1.0),
        )
    )
    size = (int(intrinsics.width), int(intrinsics.height))
    coefficients = tuple(float(value) for value in intrinsics.coeffs)
    if not any(coefficients):
        return CameraModel(*size, K)
    name = str(intrinsics.model).rsplit(".", maxsplit=1)[-1]
    if name not in _DISTORTION:
        raise SourceError(
            f"the camera has lens model '{name}', which is not known; "
            f"known are {', '.join(_DISTORTION)}"
        )
    model = _DISTORTION[name]
    count = 4 if model == "equidistant" else 5
    return CameraModel(*size, K, model, coefficients[:count] if model else ())


def transform_of(extrinsics: Any) -> Float64:  # noqa: ANN401
    """Return the (4, 4) target_from_source of pyrealsense2 `extrinsics` (column-major rotation)."""
    pose = np.eye(4)
    pose[:3, :3] = np.array(extrinsics.rotation, dtype=np.float64).reshape(3, 3).T
    pose[:3, 3] = extrinsics.translation
    return pose
