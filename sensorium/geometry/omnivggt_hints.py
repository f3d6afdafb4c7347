"""Views of an OmniVGGT window, and which of their cameras and depth are given to the model."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from sensorium.models.omnivggt.auxiliary import (
    KnownCameras,
    KnownDepth,
    known_cameras,
    known_depth,
)


@dataclasses.dataclass(frozen=True, eq=False)
class WindowView:
    """One view as the model takes it (see ``OmniVGGTProcessor``), on any device.

    Attributes:
        camera_name: Camera on the robot; keyframes are chosen per camera.
        stamp_ns: Time of exposure.
        image: (3, H, W) float32 RGB in [0, 1].
        intrinsics: (3, 3) in pixels of ``image``, or None.
        world_from_camera: (4, 4) pose, OpenCV axes, metres, or None.
        depth_m: (H, W) finite z-depth, or None.
        mask: (H, W) valid depth; None with depth: where it is positive.
    """

    camera_name: str
    stamp_ns: int
    image: Tensor
    intrinsics: Tensor | None = None
    world_from_camera: Tensor | None = None
    depth_m: Tensor | None = None
    mask: Tensor | None = None

    @property
    def has_camera(self) -> bool:
        """True when pose and intrinsics are known."""
        return self.intrinsics is not None and self.world_from_camera is not None


def camera_hint(
    views: tuple[WindowView, ...],
    image_size: tuple[int, int],
    device: torch.device,
    *,
    least_baseline_m: float,
) -> tuple[KnownCameras | None, tuple[int, ...], str]:
    """Known cameras of the first views without a gap: the model was trained on such prefixes.

    Args:
        views: Views of the window, oldest first.
        image_size: (H, W) in pixels.
        device: Where the model computes.
        least_baseline_m: Mean distance to the first camera below which none is given.

    Returns:
        The cameras or None, the indices of their views, and why there are none, or "".
    """
    poses, intrinsics = [], []
    for view in views:
        if view.intrinsics is None or view.world_from_camera is None:
            break
        poses.append(view.world_from_camera.double())
        intrinsics.append(view.intrinsics.double())
    if not poses:
        return None, (), "the oldest view of the window has no known camera"
    world_from_camera = torch.stack(poses)
    if len(poses) > 1:
        offset = world_from_camera[1:, :3, 3] - world_from_camera[0, :3, 3]
        distance_m = float(offset.norm(dim=-1).mean())
        if distance_m < least_baseline_m:
            reason = (
                f"the known cameras are {distance_m:.4f} m apart on average, below "
                f"{least_baseline_m:g} m: their noise would be taken for motion"
            )
            return None, (), reason
    listed = tuple(range(len(poses)))
    camera_from_world = torch.linalg.inv(world_from_camera)[None, :, :3]
    known = known_cameras(camera_from_world, torch.stack(intrinsics)[None], listed, image_size)
    return KnownCameras(known.views.to(device), known.encoding.to(device)), listed, ""


def intrinsics_hint(
    views: tuple[WindowView, ...], image_size: tuple[int, int], device: torch.device
) -> KnownCameras | None:
    """The field of view of the first view, without any pose: its camera is the origin anyway.

    Args:
        views: Views of the window, oldest first.
        image_size: (H, W) in pixels.
        device: Where the model computes.

    Returns:
        None where the first view has no intrinsics.
    """
    intrinsics = views[0].intrinsics
    if intrinsics is None:
        return None
    origin = torch.eye(4, dtype=torch.float64)[None, None, :3]
    known = known_cameras(origin, intrinsics.double().cpu()[None, None], (0,), image_size)
    return KnownCameras(known.views.to(device), known.encoding.to(device))


def depth_hint(
    views: tuple[WindowView, ...], device: torch.device
) -> tuple[KnownDepth | None, tuple[int, ...]]:
    """Known depth of all views that have it.

    Args:
        views: Views of the window.
        device: Where the model computes.

    Returns:
        The depth or None, and the indices of its views.
    """
    listed = tuple(i for i, view in enumerate(views) if view.depth_m is not None)
    maps, masks = [], []
    for view in views:
        if view.depth_m is not None:
            depth = view.depth_m.to(device, torch.float32)
            maps.append(depth)
            masks.append(depth > 0 if view.mask is None else view.mask.to(device))
    if not listed:
        return None, ()
    together = known_depth(
        torch.stack(maps)[None, ..., None], torch.stack(masks)[None], range(len(listed))
    )
    return KnownDepth(torch.tensor(listed).to(device), together.depth_and_mask), listed
