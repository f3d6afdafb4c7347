"""What must not enter the map: points out of range, outside a box, or on the robot itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sensorium.configuration import parameter
from sensorium.frames import CameraModel
from sensorium.geometry.capsules import Capsule
from sensorium.poses import transform_points

_UNBOUNDED_M = 1e6
_NEAR_M = 0.01


@dataclass(frozen=True, slots=True)
class CropConfiguration:
    """A box in the map frame; only points inside enter the map."""

    enabled: bool = parameter(False, "Keep only points inside the box.", read_only=False)
    min_m: tuple[float, ...] = parameter(
        (-5.0, -5.0, -1.0), "Lower corner x, y, z of the box in map_frame [m].", read_only=False
    )
    max_m: tuple[float, ...] = parameter(
        (5.0, 5.0, 3.0), "Upper corner x, y, z of the box in map_frame [m].", read_only=False
    )


@dataclass(frozen=True, slots=True)
class FilterConfiguration:
    """Range and box of the points that enter the map."""

    min_range_m: float = parameter(
        0.1, "Nearer depth does not enter the map [m].", minimum=0.0, maximum=_UNBOUNDED_M,
        read_only=False,
    )  # fmt: skip
    max_range_m: float = parameter(
        5.0, "Farther depth does not enter the map [m].", minimum=0.0, maximum=_UNBOUNDED_M,
        read_only=False,
    )  # fmt: skip
    crop: CropConfiguration = field(default_factory=CropConfiguration)


class PointFilter:
    """Range limits along the optical axis and a crop box in the map frame."""

    def __init__(self, configuration: FilterConfiguration) -> None:
        """Check and keep the limits.

        Raises:
            ValueError: a box corner is not three numbers, or a lower limit is not below its upper.
        """
        crop = configuration.crop
        if configuration.min_range_m >= configuration.max_range_m:
            raise ValueError(
                f"min_range_m = {configuration.min_range_m:g} is not below max_range_m = "
                f"{configuration.max_range_m:g}"
            )
        for name, corner in (("min_m", crop.min_m), ("max_m", crop.max_m)):
            if len(corner) != 3:
                raise ValueError(f"crop.{name} = {list(corner)} must be three numbers x, y, z [m]")
        if any(low >= high for low, high in zip(crop.min_m, crop.max_m, strict=True)):
            raise ValueError(
                f"crop.min_m = {list(crop.min_m)} is not below crop.max_m = {list(crop.max_m)} "
                "in every coordinate"
            )
        self._configuration = configuration

    def kept(
        self, points_m: NDArray[np.float32], world_from_camera: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Return the mask (H, W) of the points to keep; invalid (NaN) points are not kept.

        Args:
            points_m: (H, W, 3) float32 in the optical frame [m].
            world_from_camera: (4, 4) pose of the optical frame in the map frame.
        """
        limits, z = self._configuration, points_m[..., 2]
        mask: NDArray[np.bool_] = (z >= limits.min_range_m) & (z <= limits.max_range_m)
        crop = limits.crop
        if not crop.enabled:
            return mask
        x, y = points_m[..., 0], points_m[..., 1]
        for axis in range(3):
            a, b, c, offset = (np.float32(value) for value in world_from_camera[axis])
            world = a * x + b * y + c * z
            mask &= (world >= np.float32(crop.min_m[axis]) - offset) & (
                world <= np.float32(crop.max_m[axis]) - offset
            )
        return mask


@dataclass(frozen=True, slots=True, eq=False)
class SelfFilterResult:
    """Which pixels show the robot.

    Attributes:
        on_robot: (H, W) mask of points inside a padded capsule.
        missing_links: links with capsules but without a pose; their points are not masked.
    """

    on_robot: NDArray[np.bool_]
    missing_links: tuple[str, ...]


class SelfFilter:
    """Finds points on the robot by capsules around its links."""

    def __init__(self, capsules: tuple[Capsule, ...], padding_m: float) -> None:
        """Keep the capsules, each grown by `padding_m` for errors of calibration and timing.

        Raises:
            ValueError: the padding is negative.
        """
        if padding_m < 0:
            raise ValueError(f"self-filter padding is {padding_m:g} m; it must not be negative")
        self._capsules = capsules
        self._padding_m = padding_m
        self.links = tuple(dict.fromkeys(capsule.link for capsule in capsules))

    def masked(
        self,
        points_m: NDArray[np.float32],
        camera: CameraModel,
        camera_from_link: Mapping[str, NDArray[np.float64]],
    ) -> SelfFilterResult:
        """Return the points on the robot.

        Args:
            points_m: (H, W, 3) float32 in the optical frame [m]; NaN where invalid.
            camera: camera of the points: only pixels near a capsule are looked at.
            camera_from_link: (4, 4) pose of each link in the optical frame at the view's stamp.
        """
        on_robot = np.zeros(points_m.shape[:2], np.bool_)
        depth_m = np.ascontiguousarray(points_m[..., 2])
        missing = tuple(link for link in self.links if link not in camera_from_link)
        for capsule in self._capsules:
            pose = camera_from_link.get(capsule.link)
            if pose is None:
                continue
            start, end = transform_points(pose, np.stack((capsule.start_m, capsule.end_m)))
            radius = capsule.radius_m + self._padding_m
            region = _image_region(start, end, radius, camera)
            if region is None:
                continue
            # Most points beside a capsule in the image are behind it: depth alone rules them out.
            nearest, farthest = min(start[2], end[2]) - radius, max(start[2], end[2]) + radius
            depth = depth_m[region]
            row, column = np.nonzero((depth >= nearest) & (depth <= farthest))
            row, column = row + region[0].start, column + region[1].start
            inside = _within(points_m[row, column], start, end, radius)
            on_robot[row[inside], column[inside]] = True
        return SelfFilterResult(on_robot, missing)


def _within(
    points_m: NDArray[np.float32],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    radius_m: float,
) -> NDArray[np.bool_]:
    """Return which points (N, 3) lie within a radius of a segment."""
    axis = (end - start).astype(np.float32)
    offset = points_m - start.astype(np.float32)
    length_squared = float(axis @ axis)
    if length_squared > 0:
        along = (offset @ axis / np.float32(length_squared)).clip(0, 1)
        offset -= along[:, None] * axis
    inside: NDArray[np.bool_] = np.einsum("nc,nc->n", offset, offset) <= radius_m**2
    return inside


def _image_region(
    start: NDArray[np.float64], end: NDArray[np.float64], radius_m: float, camera: CameraModel
) -> tuple[slice, slice] | None:
    """Return rows and columns that contain the picture of a capsule; None when it is not in view.

    The box around the capsule is projected corner by corner: it is convex, so its picture lies
    within the hull of the corners' pictures wherever all of it is in front of the camera.
    """
    low, high = np.minimum(start, end) - radius_m, np.maximum(start, end) + radius_m
    if high[2] <= _NEAR_M:
        return None
    everything = (slice(0, camera.height_px), slice(0, camera.width_px))
    if low[2] <= _NEAR_M:
        return everything
    corners = np.array([(x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1])
                        for z in (low[2], high[2])])  # fmt: skip
    pixels = corners @ camera.K.T
    uv = pixels[:, :2] / pixels[:, 2:]
    first, last = np.floor(uv.min(axis=0)), np.ceil(uv.max(axis=0))
    left, right = max(0, math.floor(first[0])), min(camera.width_px, math.ceil(last[0]) + 1)
    top, bottom = max(0, math.floor(first[1])), min(camera.height_px, math.ceil(last[1]) + 1)
    if left >= right or top >= bottom:
        return None
    return slice(top, bottom), slice(left, right)
