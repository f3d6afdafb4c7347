"""Rays of a camera: from depth to points and back to angles."""

from __future__ import annotations

import numpy as np
import torch

from sensorium.frames import CameraModel


class CameraRays:
    """Directions through the pixel centres of one camera, at unit depth.

    Attributes:
        camera: the camera.
        directions: (H, W, 3) float32, z is 1.
        x: (H, W) float32, x of the directions.
        y: (H, W) float32, y of the directions.
        inverse_length: (H, W) float32, cosine between the ray and the optical axis.
    """

    def __init__(self, camera: CameraModel, device: torch.device) -> None:
        self.camera = camera
        K = camera.K
        v, u = np.mgrid[: camera.height_px, : camera.width_px].astype(np.float64)
        y = (v - K[1, 2]) / K[1, 1]
        x = (u - K[0, 2] - K[0, 1] * y) / K[0, 0]
        directions = np.stack((x, y, np.ones_like(x)), axis=-1)
        self.directions = torch.as_tensor(directions, dtype=torch.float32, device=device)
        self.x, self.y = self.directions[..., 0].clone(), self.directions[..., 1].clone()
        self.inverse_length = self.directions.norm(dim=-1).reciprocal()
