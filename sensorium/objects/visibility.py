"""What a picture says against surfaces that were seen before: empty space, another thing."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sensorium.objects.labelled_view import LabelledView
from sensorium.poses import Float64, inverse, transform_points

# Outlines move by some pixels with the errors of pose and depth: so near to what is said to be gone
# nothing may be as close, and so near to a pixel of another thing there may be no other label.
_AROUND_PX = 2
_INSIDE_PX = 3
_SAMPLES = 2000
_WORST_FIT_PX = 1.0
# Three times the noise of triangulating depth cameras, which grows with the square of the range
# (Khoshelham and Elberink, Sensors 2012) [1/m].
_NOISE_PER_M = 0.005


@dataclass(frozen=True, slots=True, eq=False)
class Contradiction:
    """What a picture says about points (N,).

    Attributes:
        seen_through: what the camera sees there lies clearly behind.
        labels: index + 1 of the segment that is seen at the point or behind it; 0 where the point
            is hidden, outside the picture, unlabelled, or near the outline of a segment.
    """

    seen_through: NDArray[np.bool_]
    labels: NDArray[np.uint16]


class Visibility:
    """Looks at points of the world through one picture.

    Args:
        view: the picture.
        world_from_camera: (4, 4) pose of its optical frame.
        kept: (H, W) pixels whose label and point can be believed.
    """

    def __init__(
        self, view: LabelledView, world_from_camera: Float64, kept: NDArray[np.bool_]
    ) -> None:
        self._camera_from_world = inverse(world_from_camera)
        self._projection = fitted_projection(view.points_m)
        depth_m = view.points_m[..., 2]
        valid = np.isfinite(depth_m) & (depth_m > 0)
        self._depth_m = np.where(valid, depth_m, np.float32(np.nan))
        # Pixels without depth may hide anything: they count as near.
        window = np.ones((2 * _AROUND_PX + 1, 2 * _AROUND_PX + 1), np.uint8)
        self._nearest_m = cv2.erode(np.where(valid, depth_m, np.float32(0)), window)
        window = np.ones((2 * _INSIDE_PX + 1, 2 * _INSIDE_PX + 1), np.uint8)
        inside = cv2.dilate(view.segment, window) == cv2.erode(view.segment, window)
        self._label = np.where(kept & inside, view.segment, 0).astype(np.uint16)

    def of(self, points_m: Float64, margin_m: float) -> Contradiction | None:
        """Say what the picture shows at points (N, 3) in the world [m].

        Args:
            points_m: the points.
            margin_m: differences of depth within this, and within the noise, are none [m].

        Returns:
            None when the picture is not that of a pinhole camera or shows none of the points.
        """
        if self._projection is None:
            return None
        camera = transform_points(self._camera_from_world, points_m)
        z = camera[:, 2]
        height, width = self._depth_m.shape
        (fx, cx), (fy, cy) = self._projection
        ahead = z > 0.01
        depth = np.where(ahead, z, 1.0)
        u = np.rint(fx * camera[:, 0] / depth + cx)
        v = np.rint(fy * camera[:, 1] / depth + cy)
        inside = ahead & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        if not inside.any():
            return None
        row, column = v[inside].astype(np.int64), u[inside].astype(np.int64)
        depth = z[inside]
        seen_through = np.zeros(len(points_m), np.bool_)
        margin = margin_m + _NOISE_PER_M * depth**2
        seen_through[inside] = self._nearest_m[row, column] > depth + margin
        labels = np.zeros(len(points_m), np.uint16)
        not_hidden = self._depth_m[row, column] >= depth - margin
        labels[inside] = np.where(not_hidden, self._label[row, column], 0)
        return Contradiction(seen_through, labels)


def fitted_projection(
    points_m: NDArray[np.float32],
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Return ((fx, cx), (fy, cy)) [px] of the pinhole camera that made an organised cloud.

    Args:
        points_m: (H, W, 3) in the optical frame [m]; NaN is no point.

    Returns:
        None when too few points are valid or no pinhole camera fits to a pixel.
    """
    depth_m = points_m[..., 2]
    row, column = np.nonzero(np.isfinite(depth_m) & (depth_m > 0))
    step = -(-len(row) // _SAMPLES) or 1
    row, column = row[::step], column[::step]
    if len(row) < 8:
        return None
    points = points_m[row, column].astype(np.float64)
    fits = []
    for axis, pixel in ((0, column), (1, row)):
        system = np.stack((points[:, axis] / points[:, 2], np.ones(len(points))), axis=1)
        solution, _, rank, _ = np.linalg.lstsq(system, pixel.astype(np.float64), rcond=None)
        if rank < 2 or np.abs(system @ solution - pixel).max() > _WORST_FIT_PX:
            return None
        fits.append((float(solution[0]), float(solution[1])))
    return fits[0], fits[1]
