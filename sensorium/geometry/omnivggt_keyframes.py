"""Which views stay in a window beside the newest: those that see the scene from elsewhere."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sensorium.geometry.omnivggt_hints import WindowView
from sensorium.models.omnivggt.pose_encoding import decode_cameras


def motion_between(
    views: tuple[WindowView, ...],
    pose_encoding: Tensor,
    newest_depth: Tensor,
    image_size: tuple[int, int],
) -> tuple[float, float] | None:
    """How far the newest view of a window is from the last one of its camera before it.

    Given poses decide where both views have one, and with them sensor depth decides on the
    parallax; otherwise it is the model's own estimate, which needs no metric scale.

    Args:
        views: Views of the window, the newest last.
        pose_encoding: (S, 9) of all of them.
        newest_depth: (H, W) depth of the newest by the model.
        image_size: (H, W) in pixels.

    Returns:
        Turn in radians and distance as a fraction of the median depth; None where the camera has
        no view before.
    """
    newest = views[-1]
    earlier = [i for i, view in enumerate(views[:-1]) if view.camera_name == newest.camera_name]
    if not earlier:
        return None
    camera_from_world, _ = decode_cameras(pose_encoding.double().cpu(), image_size)
    rotation, translation = camera_from_world[..., :3], camera_from_world[..., 3]
    centre = -(rotation.transpose(-1, -2) @ translation[..., None])[..., 0]
    angle = _angle(rotation[-1] @ rotation[earlier[-1]].T)
    distance = float((centre[-1] - centre[earlier[-1]]).norm())
    parallax = distance / max(float(newest_depth.float().median()), 1e-9)
    before = views[earlier[-1]]
    if newest.world_from_camera is not None and before.world_from_camera is not None:
        given = torch.linalg.inv(before.world_from_camera) @ newest.world_from_camera
        angle = _angle(given[:3, :3])
        if newest.depth_m is not None:
            mask = newest.depth_m > 0 if newest.mask is None else newest.mask
            parallax = float(given[:3, 3].norm()) / float(newest.depth_m[mask].median())
    return angle, parallax


def _angle(rotation: Tensor) -> float:
    return math.acos(max(-1.0, min(1.0, (float(rotation.trace()) - 1) / 2)))
