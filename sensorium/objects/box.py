"""The oriented box of a set of points, z up."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sensorium.poses import Float64

# So many points at each end of each axis do not stretch the box: this share, at most this number (a
# table has thousands of points on its top and a few where its legs end).
_TRIM = 0.005
_MOST_TRIMMED = 4
# The yaw before is kept while its rectangle is at most this much larger than the smallest.
_YAW_HYSTERESIS = 1.03


@dataclass(frozen=True, slots=True, eq=False)
class UprightBox:
    """A box whose third axis is the z axis of the world.

    Attributes:
        center_m: (3,) middle of the box in the world [m].
        yaw_rad: angle from the x axis of the world to the first axis of the box [rad].
        size_m: (3,) full extents along the axes of the box [m].
    """

    center_m: Float64
    yaw_rad: float
    size_m: Float64

    @property
    def world_from_box(self) -> Float64:
        """(4, 4) pose, origin in the middle of the box."""
        pose = np.eye(4)
        pose[:2, :2] = _rotation(self.yaw_rad)
        pose[:3, 3] = self.center_m
        return pose


def fitted_box(points_m: NDArray[np.floating], before: UprightBox | None = None) -> UprightBox:
    """Return the box of points: smallest rectangle seen from above, range of the heights.

    Args:
        points_m: (N, 3) in the world [m], at least one.
        before: the box of the same thing a moment ago: of the four names that one rectangle has,
            the one with the nearest yaw is taken, and the yaw itself is kept while it fits as well.
    """
    middle = points_m.mean(axis=0)
    offset = (points_m - middle).astype(np.float32)
    (_, _), _, degrees = cv2.minAreaRect(np.ascontiguousarray(offset[:, :2]))
    yaw = float(np.radians(degrees))
    box = _box_at(yaw, middle, offset)
    if before is None:
        # The first axis is the longer one.
        turn = np.pi / 2 if box.size_m[1] > box.size_m[0] else 0.0
        yaw = (yaw + turn + np.pi / 2) % np.pi - np.pi / 2
        return _box_at(yaw, middle, offset)
    kept = _box_at(before.yaw_rad, middle, offset)
    if kept.size_m[0] * kept.size_m[1] <= _YAW_HYSTERESIS * box.size_m[0] * box.size_m[1]:
        return kept
    turns = np.round((before.yaw_rad - yaw) / (np.pi / 2))
    return _box_at(float(yaw + turns * np.pi / 2), middle, offset)


def _box_at(yaw: float, middle: Float64, offset: NDArray[np.float32]) -> UprightBox:
    along = offset.copy()
    along[:, :2] = offset[:, :2] @ _rotation(yaw).astype(np.float32)
    trimmed = min(round(_TRIM * len(along)), _MOST_TRIMMED)
    ends = np.partition(along, (trimmed, len(along) - 1 - trimmed), axis=0)
    low, high = ends[[trimmed, len(along) - 1 - trimmed]].astype(np.float64)
    center = (low + high) / 2
    center[:2] = _rotation(yaw) @ center[:2]
    return UprightBox(middle + center, yaw, high - low)


def _rotation(yaw: float) -> Float64:
    """Return (2, 2) world_from_box seen from above."""
    cosine, sine = np.cos(yaw), np.sin(yaw)
    return np.array(((cosine, -sine), (sine, cosine)))
