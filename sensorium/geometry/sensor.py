"""The backend without a model: depth and intrinsics of the sensor become points."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.configuration import parameter
from sensorium.frames import CameraModel, RgbdFrame, pinhole
from sensorium.geometry.backend import GeometryResult, WindowResult, missing_inputs
from sensorium.geometry.rays import CameraRays
from sensorium.geometry.tensors import to_tensor
from sensorium.geometry.tokens import (
    GEOMETRIC_CHANNELS,
    PatchGrid,
    TokenLayout,
    TokensConfiguration,
    geometric_tokens,
)
from sensorium.geometry.window import ViewWindow

# Slopes are measured over this share of the image width on each side of a pixel (4 of 640 px):
# over single pixels the noise of a sensor would pass for slope.
_SLOPE_REACH = 1 / 160
# Confidence of the incidence where a pixel's surroundings are partly invalid.
_UNKNOWN_INCIDENCE = 0.5


@dataclass(frozen=True, slots=True)
class SensorConfiguration:
    """How the `sensor` backend turns depth into points and confidence."""

    window_views: int = parameter(
        1, "Views whose points are kept for the window result.", minimum=1, maximum=64
    )
    noise_per_m: float = parameter(
        0.0014, "Depth noise at 1 m [m]; it grows with the square of the range.", minimum=0.0,
        maximum=0.1,
    )  # fmt: skip
    half_confidence_noise_m: float = parameter(
        0.01, "Depth noise at which confidence is one half [m].", minimum=0.0001, maximum=1.0
    )
    edge_fraction: float = parameter(
        0.1, "A change of depth by more than this fraction over 8 of 640 pixels is an edge.",
        minimum=0.01, maximum=1.0,
    )  # fmt: skip
    tokens: TokensConfiguration = field(default_factory=TokensConfiguration)


class SensorBackend:
    """Backend `sensor`: points from depth and intrinsics; poses are used as given.

    The confidence of a valid pixel at depth z is the product of three factors:

    - range: 1 / (1 + (s / s_half)^2) with the noise s = noise_per_m * z^2 of triangulating depth
      cameras (Khoshelham and Elberink, Sensors 2012, measured 1.4 mm at 1 m for the Kinect) and
      s_half = half_confidence_noise_m.
    - incidence: the cosine between the surface normal and the ray to the camera, from central
      differences over 4 of 640 pixels to each side; 0.5 where one of these four pixels is invalid
      or outside the image.
    - edge: 0 where such a difference exceeds edge_fraction * z (pixels there are often mixtures of
      two surfaces), otherwise 1.
    """

    name = "sensor"
    needs_depth = True
    notice = ""

    def __init__(
        self, configuration: SensorConfiguration, device: str | torch.device = "cpu"
    ) -> None:
        """Prepare the backend on a torch device."""
        self.configuration = configuration
        self.device = torch.device(device)
        self._window: ViewWindow[GeometryResult] = ViewWindow(configuration.window_views)
        self._rays: CameraRays | None = None
        self._grid: PatchGrid | None = None

    @property
    def token_layout(self) -> TokenLayout:
        """Layout of the tokens: named geometric channels."""
        tokens = self.configuration.tokens
        return TokenLayout(
            self.name, "", tokens.rows, tokens.columns, len(GEOMETRIC_CHANNELS), GEOMETRIC_CHANNELS
        )

    def configure(self) -> None:
        """Claim the device.

        Raises:
            RuntimeError: torch cannot use the device.
        """
        torch.zeros(1, device=self.device)

    def warm_up(self, width_px: int, height_px: int) -> None:
        """Run once on a made-up wall of this image size."""
        camera = pinhole(width_px, height_px, float(width_px))
        depth = np.ones((height_px, width_px), np.float32)
        view = RgbdFrame(0, "warm_up", "warm_up", None, None, depth, camera)
        self._geometry(view, depth, camera)

    def add(self, view: RgbdFrame) -> WindowResult:
        """Return the points of a view and of the window.

        Raises:
            ValueError: the token grid does not fit the image.
        """
        missing = missing_inputs(view)
        if view.depth_m is None or view.depth_camera is None:
            missing += ("no points: backend 'sensor' needs depth with its intrinsics",)
            return WindowResult(None, tuple(self._window), missing)
        if view.world_from_camera is None:
            missing += ("the view cannot be fused into the map without a pose",)
        result = self._geometry(view, view.depth_m, view.depth_camera)
        self._window.add(result)
        return WindowResult(result, tuple(self._window), missing)

    def reset(self) -> None:
        """Forget the window."""
        self._window.clear()

    def release(self) -> None:
        """Free the window and the tables."""
        self.reset()
        self._rays = self._grid = None

    def _geometry(
        self, view: RgbdFrame, depth_m: NDArray[np.float32], camera: CameraModel
    ) -> GeometryResult:
        if self._rays is None or not self._rays.camera.same_geometry(camera):
            self._rays = CameraRays(camera, self.device)
        tokens = self.configuration.tokens
        if self._grid is None or self._grid.shape != depth_m.shape:
            self._grid = PatchGrid(
                tokens.rows, tokens.columns, camera.height_px, camera.width_px, self.device
            )
        raw = to_tensor(depth_m, self.device)
        depth = torch.where((raw > 0) & (raw < torch.inf), raw, torch.nan)
        points = self._rays.directions * depth[..., None]
        confidence = sensor_confidence(depth, self._rays, self.configuration)
        color = None if view.color is None else to_tensor(view.color, self.device)
        return GeometryResult(
            view=view,
            camera=camera,
            points_m=points.cpu().numpy(),
            depth_m=depth.cpu().numpy(),
            confidence=confidence.cpu().numpy(),
            color=view.color,
            tokens=geometric_tokens(self._grid, points, confidence, color),
        )


def sensor_confidence(depth: Tensor, rays: CameraRays, settings: SensorConfiguration) -> Tensor:
    """Return (H, W) float32 confidence, see :class:`SensorBackend`.

    Args:
        depth: (H, W) float32 [m]; NaN where invalid.
        rays: of the camera that measured it.
        settings: the sensor's noise.
    """
    reach = max(1, round(depth.shape[1] * _SLOPE_REACH))
    padded = torch.nn.functional.pad(depth, (reach,) * 4, value=torch.nan)
    rise_u = padded[reach:-reach, 2 * reach :] - padded[reach:-reach, : -2 * reach]
    rise_v = padded[2 * reach :, reach:-reach] - padded[: -2 * reach, reach:-reach]
    limit = depth * settings.edge_fraction
    is_edge = (rise_u.abs() > limit) | (rise_v.abs() > limit)
    # Normal of the surface z(u, v): (-a, -b, z + x a + y b), a = fx dz/du, b = fy dz/dv, where
    # (x, y, 1) is the ray; its product with the ray is z.
    K = rays.camera.K
    a = rise_u.mul_(K[0, 0] / (2 * reach))
    b = rise_v.mul_(K[1, 1] / (2 * reach))
    c = torch.addcmul(depth, rays.x, a).addcmul_(rays.y, b)
    square = a.square_().addcmul_(b, b).addcmul_(c, c)
    cosine = square.rsqrt_().mul_(depth).mul_(rays.inverse_length)
    cosine = cosine.nan_to_num_(_UNKNOWN_INCIDENCE)
    noise = settings.noise_per_m / settings.half_confidence_noise_m
    by_range = depth.square().mul_(noise).square_().add_(1).reciprocal_()
    confidence = by_range.mul_(cosine).nan_to_num_(0.0)
    return confidence.masked_fill_(is_edge, 0.0)
