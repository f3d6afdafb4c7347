"""Views on their way into the model and its camera on the way back to theirs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sensorium.frames import CameraModel, RgbdFrame
from sensorium.geometry.omnivggt_hints import WindowView
from sensorium.geometry.tensors import to_tensor
from sensorium.geometry.views import ViewRefused
from sensorium.models.omnivggt.pose_encoding import decode_cameras
from sensorium.models.omnivggt.processor import OmniVGGTProcessor, PreparedView
from sensorium.poses import Float64

# Fewer pixels than two patches in a direction show no shape.
_SMALLEST_PX = 28
# The model knows neither skew nor, in training, pixels that are far from square.
_LARGEST_SKEW = 1e-3
_LARGEST_FOCAL_RATIO = 1.5

REASONS = ("too_small", "skewed", "focal_ratio", "principal_point")


def prepared_view(
    view: RgbdFrame, processor: OmniVGGTProcessor, device: torch.device
) -> PreparedView:
    """Return a view at the size of the model's input.

    Invalid depth (NaN, infinite, zero, negative) becomes a mask here: a single NaN would spoil
    every output of every view.

    Rules beside those of ``ViewValidator``:
        too_small: images have at least 28 px in each direction.
        skewed: K has no skew.
        focal_ratio: fx and fy differ by a factor of 1.5 at most.
        principal_point: it lies in the middle half of the image, since the model assumes it in the
            middle and the image is cropped around it.

    Raises:
        ViewRefused: a rule is broken; the text names the rule and the remedy.
    """
    assert view.color is not None  # noqa: S101 - the caller asked
    name = f"view of camera '{view.camera_name}'"
    height, width = view.color.shape[:2]
    if min(height, width) < _SMALLEST_PX:
        raise ViewRefused(
            "too_small",
            f"{name} has {width} x {height} px; at least {_SMALLEST_PX} are needed in each "
            "direction: publish a larger image",
        )
    camera = view.color_camera or view.depth_camera
    if camera is not None:
        _check_intrinsics(camera.K, name)
    intrinsics = None if camera is None else torch.from_numpy(camera.K.copy())
    depth = None if view.depth_m is None else to_tensor(view.depth_m, device)
    try:
        return processor(to_tensor(view.color, device), intrinsics, depth)
    except ValueError as error:
        raise ViewRefused("principal_point", f"{name}: {error}") from error


def _check_intrinsics(K: Float64, name: str) -> None:
    if abs(K[0, 1]) > _LARGEST_SKEW * K[0, 0]:
        raise ViewRefused(
            "skewed",
            f"{name}: K has a skew of {K[0, 1]:g} px, the model knows none: rectify the image",
        )
    ratio = max(K[0, 0] / K[1, 1], K[1, 1] / K[0, 0])
    if ratio > _LARGEST_FOCAL_RATIO:
        raise ViewRefused(
            "focal_ratio",
            f"{name}: focal lengths {K[0, 0]:g} and {K[1, 1]:g} px differ by a factor of "
            f"{ratio:.2f}, allowed is {_LARGEST_FOCAL_RATIO:g}: check the calibration, or give the "
            "image with square pixels",
        )


def window_view(view: RgbdFrame, prepared: PreparedView) -> WindowView:
    """Return the view as the window takes it."""
    pose = view.world_from_camera
    has_depth = prepared.mask is not None and bool(prepared.mask.any())
    return WindowView(
        view.camera_name,
        view.stamp_ns,
        prepared.image,
        prepared.intrinsics,
        None if pose is None else torch.from_numpy(pose.copy()),
        prepared.depth_m if has_depth else None,
        prepared.mask if has_depth else None,
    )


def window_poses(pose_encoding: Tensor, image_size: tuple[int, int]) -> Float64:
    """Return (S, 4, 4) window_from_camera of the model's pose encodings, in the model's unit."""
    camera_from_window, _ = decode_cameras(pose_encoding.double().cpu(), image_size)
    matrices = np.tile(np.eye(4), (len(camera_from_window), 1, 1))
    matrices[:, :3] = camera_from_window.numpy()
    return np.asarray(np.linalg.inv(matrices), np.float64)


def estimated_camera(
    pose_encoding: Tensor, image_size: tuple[int, int], prepared: PreparedView
) -> CameraModel:
    """Return the camera of a whole camera image from the field of view that the model sees.

    The principal point is in the middle of the part that was shown.

    Args:
        pose_encoding: (9,) of the view.
        image_size: (H, W) of the model's input.
        prepared: the view.
    """
    _, shown = decode_cameras(pose_encoding.double().cpu(), image_size)
    left, top, width, height = prepared.source_box
    K = np.eye(3)
    K[0, 0] = float(shown[0, 0]) * width / image_size[1]
    K[1, 1] = float(shown[1, 1]) * height / image_size[0]
    K[0, 2], K[1, 2] = left + (width - 1) / 2, top + (height - 1) / 2
    rows, columns = prepared.source_size
    return CameraModel(columns, rows, K)
