"""From what the model says about the newest view to points on the pixels of its camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.frames import CameraModel, RgbdFrame
from sensorium.geometry.completion import complete_depth
from sensorium.geometry.model_confidence import (
    agreement_of_heads,
    confidence_from_model,
    confidence_of_filled,
)
from sensorium.geometry.omnivggt_views import estimated_camera
from sensorium.geometry.omnivggt_window import WindowPrediction
from sensorium.geometry.rays import CameraRays
from sensorium.geometry.sensor import SensorConfiguration, sensor_confidence
from sensorium.models.omnivggt.processor import PreparedView
from sensorium.poses import Float64, inverse

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class RefinedView:
    """Points of one view on its camera's pixels.

    Attributes:
        camera: intrinsics of the whole image.
        camera_is_estimated: True when they come from the model.
        points: (H, W, 3) float32 tensor in the optical frame; NaN where invalid.
        depth: (H, W) float32, z of the points.
        confidence: (H, W) float32 tensor, 0..1.
        filled_fraction: share of the pixels whose depth was not measured.
    """

    camera: CameraModel
    camera_is_estimated: bool
    points: Tensor
    depth: Float32
    confidence: Tensor
    filled_fraction: float


class Refinement:
    """Joins sensor depth and the model's.

    Args:
        sensor: noise of the depth sensor.
        device: torch device.
    """

    def __init__(self, sensor: SensorConfiguration, device: torch.device) -> None:
        self._sensor = sensor
        self._device = device
        self._rays: CameraRays | None = None

    def release(self) -> None:
        """Free the tables."""
        self._rays = None

    def refined(
        self,
        view: RgbdFrame,
        prepared: PreparedView,
        prediction: WindowPrediction,
        window_from_camera: Float64,
        metres_per_unit: float | None,
    ) -> RefinedView:
        """Return the newest view of a window.

        Args:
            view: the view.
            prepared: the same at the size of the model's input.
            prediction: of the window that ends with it.
            window_from_camera: (4, 4) pose of the view by the model.
            metres_per_unit: scale of the window; None leaves lengths in the model's unit, and
                sensor depth is then left out, because the two cannot be joined.
        """
        given = view.color_camera or view.depth_camera
        size = (prepared.image.shape[-2], prepared.image.shape[-1])
        camera = given or estimated_camera(prediction.pose_encoding[-1], size, prepared)
        depth = prediction.depth[-1].float()
        trust = confidence_from_model(prediction.depth_confidence[-1].float())
        if prediction.points is not None:
            camera_from_window = inverse(window_from_camera)
            row = torch.as_tensor(camera_from_window[2], dtype=torch.float32, device=depth.device)
            trust *= agreement_of_heads(depth, prediction.points[-1] @ row[:3] + row[3])
        unit = 1.0 if metres_per_unit is None else metres_per_unit
        predicted = prepared.restore_depth(depth * unit).cpu().numpy()
        confidence = prepared.restore(trust).nan_to_num(0.0)
        filled = np.isfinite(predicted)
        result = predicted
        if view.depth_m is not None and metres_per_unit is not None:
            result, filled = _joined(view.depth_m, predicted, confidence, view.color)
        rays = self._rays_of(camera)
        measured = np.where(filled, np.float32(np.nan), result)
        if np.isfinite(measured).any():
            by_sensor = sensor_confidence(
                torch.from_numpy(measured).to(self._device), rays, self._sensor
            )
            is_filled = torch.from_numpy(filled).to(self._device)
            by_model = confidence_of_filled(
                torch.from_numpy(result).to(self._device), confidence,
                self._sensor.half_confidence_noise_m,
            )  # fmt: skip
            confidence = torch.where(is_filled, by_model, by_sensor)
        tensor = torch.from_numpy(result).to(self._device)
        return RefinedView(
            camera,
            given is None,
            rays.directions * tensor[..., None],
            result,
            torch.where(tensor.isfinite(), confidence, 0.0),
            float(filled.mean()),
        )

    def _rays_of(self, camera: CameraModel) -> CameraRays:
        if self._rays is None or not self._rays.camera.same_geometry(camera):
            self._rays = CameraRays(camera, self._device)
        return self._rays


def _joined(
    measured_m: Float32,
    predicted_m: Float32,
    confidence: Tensor,
    color: NDArray[np.uint8] | None,
) -> tuple[Float32, NDArray[np.bool_]]:
    """Sensor depth with its holes filled; outside the model's part, as measured."""
    result, filled = complete_depth(measured_m, predicted_m, confidence.cpu().numpy(), color)
    # With hardly a measured pixel nothing can be fitted: the window's scale has to do.
    rest = np.isnan(result) & np.isfinite(predicted_m)
    result[rest] = predicted_m[rest]
    return result, filled | rest
