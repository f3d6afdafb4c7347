"""The camera of the tabletop: colour and exact depth by casting rays, without GL.

The same code renders training data and live images. MuJoCo's ``mj_multiRay`` finds the hits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.frames import CameraModel, pinhole
from sensorium.tabletop.options import TabletopOptions
from sensorium.tabletop.scene import TABLE_TEXTURE_GEOM
from sensorium.tabletop.simulation import Simulation

__all__ = ["TabletopCamera"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_FARTHEST_M = 6.0
_LIGHT = np.array((-0.25, 0.35, 0.9)) / np.linalg.norm((-0.25, 0.35, 0.9))
_AMBIENT = 0.55
_BACKGROUND = (150, 165, 185)
_SQUARE_M = 0.1
_SQUARE_CONTRAST = 0.12


class TabletopCamera:
    """Renders the state of a simulation.

    Args:
        simulation: What is seen.
        options: Size and opening angle of the image.

    Attributes:
        model: The pinhole camera, rectified.
    """

    def __init__(self, simulation: Simulation, options: TabletopOptions) -> None:
        self._simulation = simulation
        width, height = options.image_width_px, options.image_height_px
        focal_px = height / 2 / np.tan(np.radians(options.field_of_view_deg) / 2)
        self.model: CameraModel = pinhole(width, height, float(focal_px))
        K = self.model.K
        rays = np.ones((height, width, 3))
        rays[..., 0] = (np.arange(width) - K[0, 2]) / K[0, 0]
        rays[..., 1] = ((np.arange(height) - K[1, 2]) / K[1, 1])[:, None]
        self._rays: Float64 = rays.reshape(-1, 3)
        self._colors = np.array(simulation.model.geom_rgba[:, :3], dtype=np.float64) * 255
        self._table = simulation.model.geom(TABLE_TEXTURE_GEOM).id
        self._hits = np.zeros(len(rays) * width, dtype=np.int32)
        self._depth = np.zeros(self._hits.size)
        self._normals = np.zeros(3 * self._hits.size)

    def render(self, base_from_camera: Float64) -> tuple[NDArray[np.uint8], Float32]:
        """What the camera sees.

        Args:
            base_from_camera: (4, 4) pose of the camera.

        Returns:
            (H, W, 3) uint8 RGB and (H, W) float32 depth along the optical axis [m], NaN where
            nothing is within 6 m.
        """
        simulation = self._simulation
        directions: Any = self._rays @ base_from_camera[:3, :3].T
        origin = np.ascontiguousarray(base_from_camera[:3, 3])
        # The camera z of the directions is 1, so distances are depths.
        simulation.mujoco.mj_multiRay(
            simulation.model, simulation.data, origin, directions.reshape(-1), None, 1, -1,
            self._hits, self._depth, self._normals, self._hits.size, 1e10,
        )  # fmt: skip
        found = (self._hits >= 0) & (self._depth <= _FARTHEST_M)
        points = origin + directions * self._depth[:, None]
        shade = _AMBIENT + (1 - _AMBIENT) * np.maximum(self._normals.reshape(-1, 3) @ _LIGHT, 0.0)
        squares = np.floor(points[:, 0] / _SQUARE_M) + np.floor(points[:, 1] / _SQUARE_M)
        odd = (self._hits == self._table) & (squares % 2 == 1)
        shade[odd] *= 1 - _SQUARE_CONTRAST
        color = self._colors[self._hits] * shade[:, None]
        color[~found] = _BACKGROUND
        depth = np.where(found, self._depth, np.nan).astype(np.float32)
        shape = (self.model.height_px, self.model.width_px)
        return np.clip(color, 0, 255).astype(np.uint8).reshape(*shape, 3), depth.reshape(shape)
