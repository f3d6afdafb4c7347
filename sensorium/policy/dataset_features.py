"""What the policy `geo` sees of one RGB-D frame: made here for training and library evaluation.

The live graph makes the same features from the same code: the `sensor` backend's tokens (geometry
node) and :func:`sensorium.policy.features.token_features` (policy node).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sensorium.frames import CameraModel, RgbdFrame
from sensorium.geometry.sensor import SensorBackend, SensorConfiguration
from sensorium.geometry.tokens import TokensConfiguration
from sensorium.models.policy.geo.configuration import GEOMETRY_GLOBAL
from sensorium.policy.features import token_features

__all__ = ["GEOMETRY", "GEOMETRY_GLOBAL", "IMAGE", "STATE", "FrameFeatures"]

IMAGE = "observation.images.camera"
STATE = "observation.state"
GEOMETRY = "observation.geometry"

_CAMERA = "camera"


class FrameFeatures:
    """Makes features of RGB-D frames with the `sensor` backend.

    Args:
        rows: Rows of the token grid.
        columns: Columns of the token grid.
    """

    def __init__(self, rows: int = 32, columns: int = 32) -> None:
        self._backend = SensorBackend(
            SensorConfiguration(tokens=TokensConfiguration(rows, columns))
        )

    def __call__(
        self,
        rgb: NDArray[np.uint8],
        depth_m: NDArray[np.float32],
        intrinsics: NDArray[np.float64],
        base_from_camera: NDArray[np.float64],
        *,
        tip_m: ArrayLike,
        finger_m: float,
    ) -> dict[str, NDArray[np.generic]]:
        """The observation without the instruction.

        Args:
            rgb: (H, W, 3) uint8.
            depth_m: (H, W) float32 registered to the picture [m], NaN where there is none.
            intrinsics: (3, 3) K of both [px].
            base_from_camera: (4, 4) pose of the camera in the robot's base, OpenCV axes.
            tip_m: (3,) tip in the base.
            finger_m: Position of one finger from the middle [m].

        Returns:
            Arrays by feature name: picture (H, W, 3) uint8, state (4,), points (N, 3) in the base,
            features (N, 7) and valid (N,), float32.
        """
        height_px, width_px = depth_m.shape
        camera = CameraModel(width_px, height_px, intrinsics)
        frame = RgbdFrame(0, _CAMERA, _CAMERA, rgb, camera, depth_m, camera)
        newest = self._backend.add(frame).newest
        if newest is None or newest.tokens is None:
            raise ValueError("the frame has no depth; the sensor backend makes no tokens of it")
        points, features, valid = token_features(
            newest.tokens.xyz_m, newest.tokens.features, base_from_camera
        )
        state = np.array((*np.asarray(tip_m, dtype=np.float64), finger_m), dtype=np.float32)
        return {
            IMAGE: rgb,
            STATE: state,
            f"{GEOMETRY}.points": points,
            f"{GEOMETRY}.features": features,
            f"{GEOMETRY}.valid": valid,
        }
