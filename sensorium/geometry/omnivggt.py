"""The backend `omnivggt`: depth where the sensor misses it, a camera's path, learned tokens."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from sensorium.device import multiplies_bfloat16
from sensorium.frames import RgbdFrame
from sensorium.geometry.backend import (
    EstimatedPose,
    GeometryResult,
    WindowResult,
    missing_inputs,
)
from sensorium.geometry.input_changes import InputChanges
from sensorium.geometry.model_tokens import model_tokens, token_grid
from sensorium.geometry.omnivggt_configuration import OmniVGGTConfiguration
from sensorium.geometry.omnivggt_hints import WindowView
from sensorium.geometry.omnivggt_memory import memory_errors, peak_bytes
from sensorium.geometry.omnivggt_refinement import RefinedView, Refinement
from sensorium.geometry.omnivggt_views import prepared_view, window_poses, window_view
from sensorium.geometry.omnivggt_window import (
    OmniVGGTWindow,
    WindowConfiguration,
    WindowPrediction,
)
from sensorium.geometry.scale import (
    ScaleEstimate,
    WindowScale,
    scale_from_baselines,
    scale_from_depth,
)
from sensorium.geometry.sensor import SensorBackend, SensorConfiguration
from sensorium.geometry.token_reduction import TokenReduction, load_reduction
from sensorium.geometry.tokens import TokenLayout, Tokens, TokensConfiguration
from sensorium.geometry.trust import PoseAgreement, PoseTrust, pose_agreement
from sensorium.geometry.visual_odometry import VisualOdometry
from sensorium.models.omnivggt import OmniVGGTProcessor
from sensorium.poses import Float64
from sensorium.weights import load_omnivggt

NOT_METRIC = (
    "nothing gives metres (no sensor depth in the window, no given poses that agree and are far "
    "enough apart): lengths are in a unit of the model's own, in frames with the suffix _unscaled, "
    "and nothing is fused"
)
NO_ODOMETRY = (
    "no odometry: when given and predicted poses were last compared, the model saw another motion "
    "(hints.poses), so its path is not to be trusted: use other weights, or check TF"
)
_MEBIBYTE = 1 << 20
_LARGE_MODEL_PARAMETERS = 100_000_000


class OmniVGGTBackend:
    """Backend `omnivggt`: any of depth, intrinsics and poses beside the images, or none.

    Metres come from sensor depth in the window, else from the distances between given poses
    (``scale.py``); without either the result is not metric and says so. Given poses are shown to
    the model only while it agrees with them (``trust.py``), and stay the poses of the output. What
    the sensor measured stays, what it missed is filled (``completion.py``). A view without
    colour is treated as by the backend `sensor`.

    Confidence: where the sensor measured, that of the backend `sensor`; filled holes on the same
    scale, views without depth by the model's own: see ``model_confidence.py``.

    Args:
        configuration: of this backend.
        sensor: noise of the depth sensor, and what becomes of views without colour.
        device: torch device.
    """

    name = "omnivggt"
    needs_depth = False

    def __init__(
        self,
        configuration: OmniVGGTConfiguration,
        sensor: SensorConfiguration,
        device: str | torch.device = "cpu",
    ) -> None:
        self.configuration = configuration
        self.device = torch.device(device)
        self.notice = ""
        self.token_layout = TokenLayout(self.name, "", 0, 0, 0)
        self._sensor = SensorBackend(
            dataclasses.replace(sensor, tokens=TokensConfiguration(1, 1)), device
        )
        self._processor = OmniVGGTProcessor()
        self._refinement = Refinement(sensor, self.device)
        self._trust = PoseTrust(configuration.pose_hint)
        self._odometry = VisualOdometry(configuration.odometry)
        self._inputs = InputChanges()
        self._reduction: TokenReduction | None = None
        self._window: OmniVGGTWindow | None = None
        self._results: dict[tuple[str, int], GeometryResult] = {}

    def configure(self) -> None:
        """Load the weights, check the memory budget, read the reduction.

        Raises:
            ValueError: weights, sizes, budget or reduction are refused; the text gives the remedy.
            GeometryMemoryError: out of memory.
        """
        configuration = self.configuration
        if configuration.odometry.enabled and configuration.window_views < 2:
            raise ValueError(
                "omnivggt.odometry.enabled needs omnivggt.window_views of 2 or more: motion is "
                "seen between views"
            )
        doing = f"on {self.device} while loading weights '{configuration.weights}'"
        with memory_errors(doing, "use a smaller model, or another device"):
            loaded = load_omnivggt(configuration.weights)
            model = loaded.model.to(self.device)
            if self._shortens(sum(p.numel() for p in model.parameters())):
                model.use_mixed_precision(torch.bfloat16)
        size = configuration.input_size(model.config.img_size, model.config.patch_size)
        self._processor = OmniVGGTProcessor(width_px=size[1], height_px=size[0])
        native = (size[0] // model.config.patch_size, size[1] // model.config.patch_size)
        tokens = configuration.tokens
        grid = token_grid(tokens.rows, tokens.columns, native)
        channels = model.config.token_dim
        names: tuple[str, ...] = ()
        if tokens.reduction:
            path = Path(tokens.reduction).expanduser()
            self._reduction = load_reduction(path, loaded.sha256, channels)
            channels, names = self._reduction.channels, self._reduction.channel_names
        self._window = OmniVGGTWindow(model, size, self._window_configuration)
        self.notice = loaded.notice
        self.token_layout = TokenLayout(
            self.name, loaded.sha256, *grid, channels, names,
            configuration.window_views, configuration.hints,
        )  # fmt: skip

    def _shortens(self, parameters: int) -> bool:
        """Whether encoder and aggregator of a model of this size compute in bfloat16."""
        precision = self.configuration.precision
        if precision != "auto":
            return precision == "bfloat16"
        # Small models gain next to nothing on a CPU.
        is_large = self.device.type != "cpu" or parameters >= _LARGE_MODEL_PARAMETERS
        return is_large and multiplies_bfloat16(self.device)

    @property
    def _window_configuration(self) -> WindowConfiguration:
        configuration = self.configuration
        return WindowConfiguration(
            capacity=configuration.window_views,
            keyframe_rotation_rad=configuration.keyframes.rotation_rad,
            keyframe_parallax=configuration.keyframes.parallax,
            least_baseline_m=configuration.pose_hint.min_baseline_m,
            intrinsics_hint=configuration.intrinsics_hint,
            depth_hint=configuration.depth_hint,
            depth_reference=True,
            with_points=configuration.point_head,
            budget_bytes=configuration.memory_budget_mib * _MEBIBYTE,
        )

    def warm_up(self, width_px: int, height_px: int) -> None:
        """Run full windows of black images, of the model's own input size, and the sensor once.

        Raises:
            GeometryMemoryError: the device is too small.
        """
        assert self._window is not None  # noqa: S101 - configured
        self._sensor.warm_up(width_px, height_px)
        self._window.warm_up()

    def add(self, view: RgbdFrame) -> WindowResult:
        """Return the geometry of a view in its window.

        Raises:
            ViewRefused: the model cannot use the view; the text gives rule and remedy.
            GeometryMemoryError: out of memory; the window is empty now.
        """
        if view.color is None:
            self._inputs.update(view)
            return self._by_sensor_alone(view, "the model needs colour")
        prepared = prepared_view(view, self._processor, self.device)
        self._inputs.update(view)
        prediction = self._prediction(window_view(view, prepared))
        poses = window_poses(prediction.pose_encoding, self._image_size)
        scale = self._scale(prediction)
        metres = None if scale.used is None else scale.used.metres_per_unit
        keys = [(kept.camera_name, kept.stamp_ns) for kept in prediction.views]
        pose = self._estimated_pose(view, keys, poses, metres)
        if metres is None and view.depth_m is not None and view.depth_camera is not None:
            return self._by_sensor_alone(view, "too few valid pixels to give the model metres")
        refined = self._refinement.refined(view, prepared, prediction, poses[-1], metres)
        result = GeometryResult(
            view=view,
            camera=refined.camera,
            points_m=refined.points.cpu().numpy(),
            depth_m=refined.depth,
            confidence=refined.confidence.cpu().numpy(),
            color=view.color,
            tokens=self._tokens(prediction, refined, prepared.source_box),
            camera_is_estimated=refined.camera_is_estimated,
            is_metric=metres is not None,
            estimated_pose=pose,
        )
        self._results = {key: self._results[key] for key in keys if key in self._results}
        self._results[keys[-1]] = result
        return WindowResult(
            result,
            tuple(self._results[key] for key in keys if key in self._results),
            missing_inputs(view),
            self._warnings(view, scale),
            self._values(prediction, scale, refined.filled_fraction),
        )

    def reset(self) -> None:
        """Forget the window, the path and what the cameras gave."""
        if self._window is not None:
            self._window.reset()
        self._sensor.reset()
        self._trust.reset()
        self._odometry.reset()
        self._inputs.reset()
        self._results.clear()

    def release(self) -> None:
        """Free model, window and tables."""
        self.reset()
        self._window = self._reduction = None
        self._refinement.release()
        self._sensor.release()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @property
    def _image_size(self) -> tuple[int, int]:
        return self._processor.height_px, self._processor.width_px

    def _by_sensor_alone(self, view: RgbdFrame, reason: str) -> WindowResult:
        result = self._sensor.add(view)
        warnings = (
            *self._inputs.lost,
            f"camera '{view.camera_name}' by its sensor alone: {reason}",
        )
        if result.newest is None:
            return dataclasses.replace(result, warnings=warnings)
        newest = dataclasses.replace(result.newest, tokens=None)
        return WindowResult(newest, (newest,), result.missing, warnings)

    def _prediction(self, view: WindowView) -> WindowPrediction:
        """What the model says, having seen the given poses only if both agree."""
        assert self._window is not None  # noqa: S101 - configured
        prediction = self._window.add(view, camera_hint=self._trust.allows)
        may_be_shown = self._trust.update(self._agreement(prediction))
        if prediction.camera_views and not may_be_shown:
            prediction = self._window.again(camera_hint=False)
        return prediction

    def _agreement(self, prediction: WindowPrediction) -> PoseAgreement | None:
        given, predicted = self._given_poses(prediction)
        return pose_agreement(
            given, predicted, least_baseline_m=self.configuration.pose_hint.min_baseline_m
        )

    def _given_poses(self, prediction: WindowPrediction) -> tuple[Float64, Float64]:
        """(N, 4, 4) given poses of the views that have one, and what the model says of them."""
        poses = window_poses(prediction.pose_encoding, self._image_size)
        posed = [i for i, view in enumerate(prediction.views) if view.world_from_camera is not None]
        given = [
            view.world_from_camera.numpy()
            for view in prediction.views
            if view.world_from_camera is not None
        ]
        return np.array(given).reshape(-1, 4, 4), poses[posed]

    def _scale(self, prediction: WindowPrediction) -> WindowScale:
        by_depth: ScaleEstimate | None = None
        measured = []
        for row, index in enumerate(prediction.predicted_views):
            view = prediction.views[index]
            if view.depth_m is not None and view.mask is not None:
                depth = torch.where(view.mask, view.depth_m, torch.nan)
                measured.append((depth, prediction.depth[row], prediction.depth_confidence[row]))
        if measured:
            by_depth = scale_from_depth(
                *(torch.stack(maps).float().cpu().numpy() for maps in zip(*measured, strict=True))
            )
        given, predicted = self._given_poses(prediction)
        by_poses = scale_from_baselines(
            given, predicted, least_baseline_m=self.configuration.pose_hint.min_baseline_m
        )
        return WindowScale(by_depth, by_poses, self._trust.agrees)

    def _tokens(
        self, prediction: WindowPrediction, refined: RefinedView, box: tuple[int, int, int, int]
    ) -> Tokens:
        left, top, width, height = box
        shown = (slice(top, top + height), slice(left, left + width))
        grid = (self.token_layout.rows, self.token_layout.columns)
        return model_tokens(
            prediction.tokens, grid, refined.points[shown], refined.confidence[shown],
            self._reduction,
        )  # fmt: skip

    def _estimated_pose(
        self,
        view: RgbdFrame,
        keys: list[tuple[str, int]],
        poses: Float64,
        metres_per_unit: float | None,
    ) -> EstimatedPose | None:
        if not self.configuration.odometry.enabled:
            return None
        pose = self._odometry.update(keys, poses, metres_per_unit)
        is_wanted = view.world_from_camera is None and self._trust.agrees
        return pose if is_wanted else None

    def _warnings(self, view: RgbdFrame, scale: WindowScale) -> tuple[str, ...]:
        warnings = list(self._inputs.lost)
        if scale.used is None:
            warnings.append(NOT_METRIC)
        lacks_pose = view.world_from_camera is None and self.configuration.odometry.enabled
        if lacks_pose and not self._trust.agrees:
            warnings.append(NO_ODOMETRY)
        if scale.disagreement:
            warnings.append(scale.disagreement)
        return tuple(warnings)

    def _values(
        self, prediction: WindowPrediction, scale: WindowScale, filled_fraction: float
    ) -> dict[str, str | float | int]:
        values: dict[str, str | float | int] = {
            "window.views": len(prediction.views),
            "window.cameras": len({view.camera_name for view in prediction.views}),
            "scale.source": scale.source,
            "hints.depth_views": len(prediction.depth_views),
            "hints.poses": self._hint_of_poses(prediction),
            "filled_fraction": filled_fraction,
            "memory.peak_mib": peak_bytes(self.device) / _MEBIBYTE,
        }
        for name, estimate in (("depth", scale.by_depth), ("poses", scale.by_poses)):
            if estimate is not None:
                values[f"scale.by_{name}"] = estimate.metres_per_unit
                values[f"scale.by_{name}.spread"] = estimate.spread
                values[f"scale.by_{name}.count"] = estimate.count
        if self.configuration.odometry.enabled:
            values["odometry.restarts"] = self._odometry.restarts
        return values

    def _hint_of_poses(self, prediction: WindowPrediction) -> str:
        if prediction.camera_views:
            return f"shown for {len(prediction.camera_views)} views"
        return prediction.left_out or self._trust.state
