"""What every geometry backend offers: views in, points of the newest view and of the window out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sensorium.frames import CameraModel, RgbdFrame
from sensorium.geometry.tokens import TokenLayout, Tokens

# Appended to the names of frames in which lengths are in an arbitrary unit.
UNSCALED = "_unscaled"


@dataclass(frozen=True, slots=True, eq=False)
class EstimatedPose:
    """A camera pose that a model estimated; poses that came with the view are not repeated here.

    Attributes:
        reference_frame: frame in which the pose is given.
        reference_from_camera: (4, 4) float64 pose of the optical frame.
        covariance: (6, 6) float64 in the order and axes of geometry_msgs/PoseWithCovariance:
            x, y, z [m], rotations about the reference frame's x, y, z [rad].
    """

    reference_frame: str
    reference_from_camera: NDArray[np.float64]
    covariance: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class GeometryResult:
    """The geometry of one view, organised as an image in the view's optical frame.

    Attributes:
        view: the view it belongs to: stamp, camera name, optical frame and the pose that was
            given, if one was.
        camera: intrinsics of the arrays below: those of the view, scaled where the backend works at
            another size, or estimated where the view has none.
        points_m: (H, W, 3) float32 in the optical frame [m]; NaN where invalid.
        depth_m: (H, W) float32, z of `points_m` [m]; NaN where invalid.
        confidence: (H, W) float32, 0 (do not use) to 1 (as good as this backend gets); 0 where
            invalid. Each backend documents its formula.
        color: (H, W, 3) uint8 RGB on the same pixels, or None.
        tokens: features on a patch grid, or None where the backend was asked for none.
        camera_is_estimated: True when the intrinsics are a model's estimate.
        is_metric: False when the backend could not recover metres from this window: lengths are
            then in an arbitrary unit, and nothing may be fused or measured.
        estimated_pose: pose by a model with covariance, or None.

    Raises:
        ValueError: the arrays differ in size or type.
    """

    view: RgbdFrame
    camera: CameraModel
    points_m: NDArray[np.float32]
    depth_m: NDArray[np.float32]
    confidence: NDArray[np.float32]
    color: NDArray[np.uint8] | None = None
    tokens: Tokens | None = None
    camera_is_estimated: bool = False
    is_metric: bool = True
    estimated_pose: EstimatedPose | None = None

    def __post_init__(self) -> None:
        size = (self.camera.height_px, self.camera.width_px)
        wanted = [
            ("points_m", self.points_m, (*size, 3), np.float32),
            ("depth_m", self.depth_m, size, np.float32),
            ("confidence", self.confidence, size, np.float32),
        ]
        for name, array, shape, dtype in wanted:
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(
                    f"{name} is {array.dtype} {array.shape}; it must be "
                    f"{np.dtype(dtype).name} {shape}, the size of the camera"
                )
        if self.color is not None and self.color.shape != (*size, 3):
            raise ValueError(f"color is {self.color.shape}; it must be {(*size, 3)}")

    @property
    def frame_id(self) -> str:
        """Frame of the points: the optical frame, with a suffix where lengths are no metres.

        No transform leads to the frame with the suffix, so nobody takes its points for metric ones.
        """
        frame = self.view.optical_frame
        return frame if self.is_metric else frame + UNSCALED

    @property
    def stamp_ns(self) -> int:
        """Stamp of the view [ns]."""
        return self.view.stamp_ns

    @property
    def camera_name(self) -> str:
        """Camera of the view."""
        return self.view.camera_name


@dataclass(frozen=True, slots=True, eq=False)
class WindowResult:
    """What a backend computed after one view was added.

    Attributes:
        newest: geometry of the view that was added; None when it lacks what the backend needs.
        views: geometry of the views in the window that have one, oldest first, `newest` included.
        missing: what the newest view lacks and what therefore was not computed, one plain sentence
            each; empty when nothing is lacking. What is missing is never guessed.
        warnings: what makes this result less than it could be, one plain sentence each.
        values: numbers and words about the result, for diagnostics.
    """

    newest: GeometryResult | None
    views: tuple[GeometryResult, ...]
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    values: Mapping[str, str | float | int] = field(default_factory=dict)


class GeometryBackend(Protocol):
    """A way to turn a window of views into geometry.

    A view is an :class:`RgbdFrame`: it names its camera, and any of colour, depth, intrinsics and
    pose may be missing in each view. Wrist and scene cameras may share a window. Views come from
    :class:`sensorium.geometry.views.ViewValidator`, which has refused the unusable ones.

    Life: construct (cheap), `configure` (loads), `warm_up`, then `add` per view; `reset` when time
    jumps; `release` frees everything, after which `configure` may be called again.
    """

    @property
    def name(self) -> str:
        """Name in parameters and TokensInfo, e.g. "sensor"."""

    @property
    def needs_depth(self) -> bool:
        """True when a view without any valid depth is useless to this backend."""

    @property
    def notice(self) -> str:
        """What the user must see before the backend is used (a licence); known after `configure`.

        "" when there is nothing to say.
        """

    @property
    def token_layout(self) -> TokenLayout:
        """What the tokens are made of, for TokensInfo; known after `configure`."""

    def configure(self) -> None:
        """Load what the backend needs and claim its device.

        Raises:
            ValueError or OSError: with the thing that is missing or refused and the remedy.
            RuntimeError: the device fails or is out of memory.
        """

    def warm_up(self, width_px: int, height_px: int) -> None:
        """Run once on made-up views of this size, so that the first real one is not late."""

    def add(self, view: RgbdFrame) -> WindowResult:
        """Add a view to the window and return the geometry.

        Raises:
            ViewRefused: the backend cannot use such a view; the text names rule and remedy.
            GeometryMemoryError: out of memory; nothing is left in the window.
        """

    def reset(self) -> None:
        """Forget the window."""

    def release(self) -> None:
        """Free memory and device."""


def missing_inputs(view: RgbdFrame) -> tuple[str, ...]:
    """Return what a view lacks, one plain sentence each."""
    name = f"camera '{view.camera_name}'"
    sentences = []
    if view.color is None:
        sentences.append(f"{name} gives no colour image")
    elif view.color_camera is None:
        sentences.append(
            f"{name} gives no intrinsics of its colour image (no CameraInfo, or K[0] = 0)"
        )
    if view.depth_m is None:
        sentences.append(f"{name} gives no depth image")
    elif view.depth_camera is None:
        sentences.append(
            f"{name} gives no intrinsics of its depth image (no CameraInfo, or K[0] = 0)"
        )
    if view.world_from_camera is None:
        sentences.append(f"{name} gives no pose of '{view.optical_frame}' in a fixed frame")
    return tuple(sentences)
