"""Streaming OmniVGGT: a window of views in which only the newest image is encoded anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from sensorium.geometry.omnivggt_hints import (
    WindowView,
    camera_hint,
    depth_hint,
    intrinsics_hint,
)
from sensorium.geometry.omnivggt_keyframes import motion_between
from sensorium.geometry.omnivggt_memory import (
    GeometryMemoryError,
    check_budget,
    memory_errors,
)
from sensorium.geometry.window import ViewWindow
from sensorium.models.omnivggt import OmniVGGT
from sensorium.models.omnivggt.aggregator import LayerTokens

__all__ = [
    "GeometryMemoryError",
    "OmniVGGTWindow",
    "WindowConfiguration",
    "WindowPrediction",
    "WindowView",
]


@dataclasses.dataclass(frozen=True)
class WindowConfiguration:
    """What the window holds and computes.

    Attributes:
        capacity: Views in the window, the newest included.
        keyframe_rotation_rad: The view before the newest stays when it turned by at least this
            against the last keyframe of its camera ...
        keyframe_parallax: ... or moved by at least this fraction of its median depth, see
            ``omnivggt_keyframes.py``. 0 keeps every view.
        camera_hint: Feed known cameras to the model. Off by default: the model treats them as a
            hint, and wrong or noisy ones make the result worse.
        least_baseline_m: Known cameras are left out while their mean distance to the first one is
            below this, because the model would blow the pose noise up to unit length.
        intrinsics_hint: Feed the first view's field of view where no known cameras are fed.
        depth_hint: Feed known depth to the model.
        all_views: Predict depth of all views, not only of the newest.
        depth_reference: Where the newest view has no known depth, predict depth of the newest one
            that has it too: the two together give metres.
        with_points: Run the point head.
        budget_bytes: Memory that weights and activations may take; 0 for no limit.
    """

    capacity: int = 4
    keyframe_rotation_rad: float = 0.17
    keyframe_parallax: float = 0.05
    camera_hint: bool = False
    least_baseline_m: float = 0.05
    intrinsics_hint: bool = False
    depth_hint: bool = True
    all_views: bool = False
    depth_reference: bool = False
    with_points: bool = False
    budget_bytes: int = 0

    @property
    def dense_views(self) -> int:
        """The most views whose depth is predicted at once."""
        if self.all_views:
            return self.capacity
        return min(self.capacity, 2 if self.depth_reference else 1)


@dataclasses.dataclass(frozen=True, eq=False)
class WindowPrediction:
    """What the model says about the window; lengths are in a unit of the model's own.

    Attributes:
        views: Views of the window, oldest first, the newest last. The first one's camera is the
            origin of the predictions.
        pose_encoding: (S, 9), see ``sensorium.models.omnivggt.pose_encoding``.
        predicted_views: Indices into ``views`` of the V views whose depth was predicted.
        depth: (V, H, W) z-depth.
        depth_confidence: (V, H, W), above 1.
        points: (V, H, W, 3) in the first view's camera frame, or None.
        points_confidence: (V, H, W), above 1, or None.
        tokens: (rows, columns, 2 C) of the newest view's patches in the last aggregator layer.
        camera_views: Views whose camera, with its pose, was fed to the model.
        depth_views: Views whose depth was fed to the model.
        left_out: Why known cameras were not fed, or "".
    """

    views: tuple[WindowView, ...]
    pose_encoding: Tensor
    predicted_views: tuple[int, ...]
    depth: Tensor
    depth_confidence: Tensor
    points: Tensor | None
    points_confidence: Tensor | None
    tokens: Tensor
    camera_views: tuple[int, ...]
    depth_views: tuple[int, ...]
    left_out: str


@dataclasses.dataclass(frozen=True, eq=False)
class _Encoded:
    view: WindowView
    tokens: Tensor  # (1, 1, patches, C)

    @property
    def camera_name(self) -> str:
        return self.view.camera_name


class OmniVGGTWindow:
    """Keyframes and the newest view, with image tokens kept per view.

    Image tokens depend on one image only, so a view is encoded once while it stays; everything
    that mixes views is computed anew for each window. Results equal a call of the model on the
    same views. One image size per window; one thread at a time.
    """

    def __init__(
        self,
        model: OmniVGGT,
        image_size: tuple[int, int],
        configuration: WindowConfiguration | None = None,
    ) -> None:
        """Checks the memory budget; nothing is computed yet.

        Args:
            model: In eval mode, on its device.
            image_size: (H, W) of all images in pixels.
            configuration: Defaults to ``WindowConfiguration()``.

        Raises:
            ValueError: The size is not whole patches, the capacity is below 1, or the window would
                not fit into the budget; the text says what would.
        """
        self.configuration = configuration or WindowConfiguration()
        capacity, patch = self.configuration.capacity, model.config.patch_size
        if capacity < 1:
            raise ValueError(f"window capacity is {capacity}; it must be at least 1")
        if any(side <= 0 or side % patch for side in image_size):
            raise ValueError(
                f"image size {image_size} (H, W) must be multiples of {patch} px; choose the "
                "nearest"
            )
        check_budget(
            model,
            image_size,
            views=capacity,
            dense_views=self.configuration.dense_views,
            with_points=self.configuration.with_points,
            budget_bytes=self.configuration.budget_bytes,
        )
        self._model = model
        self._image_size = image_size
        self._keyframes: ViewWindow[_Encoded] = ViewWindow(max(1, capacity - 1))
        self._newest: _Encoded | None = None
        self._last: WindowPrediction | None = None

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self._model.parameters()).device

    def warm_up(self) -> None:
        """Runs full windows of black images once, and forgets them.

        Raises:
            GeometryMemoryError: The device is too small.
        """
        self.reset()
        black = torch.zeros(3, *self._image_size)
        views = [
            WindowView("warm-up", index, black) for index in range(self.configuration.capacity)
        ]
        with self._guarded():
            self._predict([_Encoded(view, self._encode(view)) for view in views])
        self.reset()

    def reset(self) -> None:
        """Forgets all views."""
        self._keyframes.clear()
        self._newest = self._last = None

    def add(self, view: WindowView, *, camera_hint: bool | None = None) -> WindowPrediction:
        """Adds a view, drops what has to leave, and predicts for the window.

        Args:
            view: The newest view.
            camera_hint: Feed known cameras; None: as configured.

        Raises:
            ValueError: The view's arrays do not have the window's size.
            GeometryMemoryError: The device ran out of memory; the window is empty now.
        """
        self._check(view)
        with self._guarded():
            encoded = _Encoded(view, self._encode(view))
            if self._newest is not None and self.configuration.capacity > 1 and self._is_keyframe():
                self._keyframes.add(self._newest)
            self._newest = encoded
            self._last = self._predict([*self._keyframes, encoded], camera_hint)
            return self._last

    def again(self, *, camera_hint: bool) -> WindowPrediction:
        """Predicts for the same views once more, with or without known cameras.

        Raises:
            RuntimeError: The window is empty.
            GeometryMemoryError: The device ran out of memory; the window is empty now.
        """
        if self._newest is None:
            raise RuntimeError("the window is empty: add a view first")
        with self._guarded():
            self._last = self._predict([*self._keyframes, self._newest], camera_hint)
            return self._last

    def _encode(self, view: WindowView) -> Tensor:
        dtype = self._model.depth_head.norm.weight.dtype
        image = view.image.to(self.device, dtype, non_blocking=True)
        return self._model.encode_images(image[None, None])

    def _predict(self, window: list[_Encoded], use_cameras: bool | None = None) -> WindowPrediction:
        views = tuple(encoded.view for encoded in window)
        model, size = self._model, self._image_size
        cameras, depth = None, None
        camera_views: tuple[int, ...] = ()
        depth_views: tuple[int, ...] = ()
        left_out = ""
        if self.configuration.camera_hint if use_cameras is None else use_cameras:
            cameras, camera_views, left_out = camera_hint(
                views, size, self.device, least_baseline_m=self.configuration.least_baseline_m
            )
        if cameras is None and self.configuration.intrinsics_hint:
            cameras = intrinsics_hint(views, size, self.device)
        if self.configuration.depth_hint:
            depth, depth_views = depth_hint(views, self.device)
        layers = model.aggregate(
            torch.cat([encoded.tokens for encoded in window], dim=1), size, cameras, depth
        )
        newest = len(views) - 1
        predicted = self._predicted_views(views)
        result = model.predict(
            layers, size, output_views=predicted, with_points=self.configuration.with_points
        )
        with_points = self.configuration.with_points
        return WindowPrediction(
            views,
            result["pose_enc"][0],
            predicted,
            result["depth"][0, ..., 0],
            result["depth_conf"][0],
            result["world_points"][0] if with_points else None,
            result["world_points_conf"][0] if with_points else None,
            self._patch_tokens(layers, newest),
            camera_views,
            depth_views,
            left_out,
        )

    def _predicted_views(self, views: tuple[WindowView, ...]) -> tuple[int, ...]:
        newest = len(views) - 1
        if self.configuration.all_views:
            return tuple(range(len(views)))
        if self.configuration.depth_reference and views[newest].depth_m is None:
            sensed = [index for index, view in enumerate(views) if view.depth_m is not None]
            return (*sensed[-1:], newest)
        return (newest,)

    def _patch_tokens(self, layers: dict[int, LayerTokens], view: int) -> Tensor:
        config = self._model.config
        last = layers[config.depth - 1]
        index = torch.tensor([view]).to(last.frame.device)
        tokens = last.join(index, slice(config.patch_start, None))
        grid = (side // config.patch_size for side in self._image_size)
        return torch.unflatten(tokens[0, 0], 0, tuple(grid))

    def _is_keyframe(self) -> bool:
        """True when the view added last is to stay beside the one that comes now."""
        last = self._last
        if last is None:
            return True
        motion = motion_between(last.views, last.pose_encoding, last.depth[-1], self._image_size)
        configuration = self.configuration
        return motion is None or (
            motion[0] >= configuration.keyframe_rotation_rad
            or motion[1] >= configuration.keyframe_parallax
        )

    def _check(self, view: WindowView) -> None:
        height, width = self._image_size
        if tuple(view.image.shape) != (3, height, width) or not view.image.is_floating_point():
            raise ValueError(
                f"image of camera '{view.camera_name}' is {view.image.dtype} "
                f"{tuple(view.image.shape)}; this window takes floating point (3, {height}, "
                f"{width}): prepare all views with one OmniVGGTProcessor, or use another window"
            )
        for name, values in (("depth_m", view.depth_m), ("mask", view.mask)):
            if values is not None and tuple(values.shape) != (height, width):
                raise ValueError(
                    f"{name} of camera '{view.camera_name}' is {tuple(values.shape)}; it must be "
                    f"({height}, {width}), one value per pixel of the image"
                )
        if view.depth_m is not None and not bool(view.depth_m.isfinite().all()):
            raise ValueError(
                f"depth_m of camera '{view.camera_name}' holds NaN or infinity, which would spread "
                "to every output of every view: set such pixels to 0 (OmniVGGTProcessor does)"
            )

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Inference without gradients; running out of memory empties the window."""
        height, width = self._image_size
        doing = f"on {self.device} with {self.configuration.capacity} views of {height}x{width}"
        try:
            with (
                memory_errors(f"{doing} (HxW)", "lower capacity or image size"),
                torch.inference_mode(),
            ):
                yield
        except GeometryMemoryError:
            self.reset()
            raise
