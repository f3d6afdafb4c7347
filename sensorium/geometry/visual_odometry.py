"""The path of cameras by images alone: predictions of overlapping windows, joined.

Each window has an origin and, without a metric source, a unit of its own. The views that it shares
with the window before tie both together: every shared view gives one estimate of the newest pose,
their mean is taken, and their scatter is part of the covariance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.configuration import parameter
from sensorium.geometry.backend import UNSCALED, EstimatedPose
from sensorium.geometry.scale import scale_from_baselines
from sensorium.poses import Float64, inverse

# Optical axes (x right, y down) to body axes (x forward, z up) of a camera that looks straight on.
_BODY_FROM_OPTICAL = np.array(((0.0, 0, 1, 0), (-1, 0, 0, 0), (0, -1, 0, 0), (0, 0, 0, 1)))
# Relative error of a step whose scale is only carried over from the window before.
_CARRIED_SCALE_ERROR = 0.5


@dataclass(frozen=True, slots=True)
class OdometryConfiguration:
    """The pose of cameras that have none given, estimated from images."""

    enabled: bool = parameter(
        False, "Estimate the pose of views without one and publish it as ~/odometry."
    )
    frame: str = parameter(
        "visual_odom", "Frame of these poses: where the first camera was, x forward, z up for a "
        "level camera; with the suffix _unscaled while nothing gives metres.",
    )  # fmt: skip
    publish_tf: bool = parameter(
        False, "Also publish the pose on /tf; only for cameras that no other transform holds."
    )
    translation_error: float = parameter(
        0.05, "Assumed error of a step, as a fraction of its length (for the covariance).",
        minimum=0.0, maximum=10.0,
    )  # fmt: skip
    rotation_error_rad: float = parameter(
        0.01, "Assumed error of the turn of a step (for the covariance) [rad].", minimum=0.0,
        maximum=3.2,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    pose: Float64
    covariance: Float64


class VisualOdometry:
    """Joins the poses of successive windows to one path. All cameras of a window share its frame.

    Args:
        configuration: see :class:`OdometryConfiguration`.
    """

    def __init__(self, configuration: OdometryConfiguration) -> None:
        self._configuration = configuration
        self.restarts = -1
        self.reset()

    def reset(self) -> None:
        """Begin a new path at the next view."""
        self._placed: dict[tuple[str, int], _Placed] = {}
        self._is_metric = False
        self._metres_per_unit = 1.0

    def update(
        self,
        views: Sequence[tuple[str, int]],
        window_from_camera: NDArray[np.float64],
        metres_per_unit: float | None,
    ) -> EstimatedPose:
        """Add the newest view of a window.

        A path begins where no view of the window has been placed yet, and begins anew when metres
        become known: a frame with the suffix ``_unscaled`` keeps the unit of its first window. A
        metric path goes on without a metric source: the distances between views already placed
        give its unit.

        Args:
            views: camera name and stamp [ns] of the views in the window, the newest last.
            window_from_camera: (S, 4, 4) float64 poses by the model, in its unit.
            metres_per_unit: scale of this window, or None.

        Returns:
            Pose of the newest view. The covariance grows along the path: to that of the best known
            shared view are added the scatter of the estimates and the errors assumed for a step.
        """
        placed = {key: self._placed[key] for key in views[:-1] if key in self._placed}
        if metres_per_unit is not None and not self._is_metric:
            placed = {}
        if placed:
            newest = self._continued(views, window_from_camera, metres_per_unit, placed)
        else:
            self.restarts += 1
            self._is_metric = metres_per_unit is not None
            self._metres_per_unit = metres_per_unit or 1.0
            newest = _Placed(_BODY_FROM_OPTICAL.copy(), np.zeros((6, 6)))
        # Views that left the window never come back.
        self._placed = {**placed, views[-1]: newest}
        frame = self._configuration.frame + ("" if self._is_metric else UNSCALED)
        return EstimatedPose(frame, newest.pose, newest.covariance)

    def _continued(
        self,
        views: Sequence[tuple[str, int]],
        window_from_camera: NDArray[np.float64],
        metres_per_unit: float | None,
        placed: dict[tuple[str, int], _Placed],
    ) -> _Placed:
        indices = [index for index, key in enumerate(views) if key in placed]
        anchors = [placed[views[index]] for index in indices]
        unit, unit_error = metres_per_unit, 0.0
        if unit is None:
            carried = scale_from_baselines(
                np.stack([anchor.pose for anchor in anchors]), window_from_camera[indices],
                least_baseline_m=1e-6,
            )  # fmt: skip
            unit = self._metres_per_unit if carried is None else carried.metres_per_unit
            unit_error = _CARRIED_SCALE_ERROR if carried is None else carried.spread
        self._metres_per_unit = unit
        steps = [inverse(window_from_camera[i]) @ window_from_camera[-1] for i in indices]
        for step in steps:
            step[:3, 3] *= unit
        estimates = np.stack(
            [anchor.pose @ step for anchor, step in zip(anchors, steps, strict=True)]
        )
        pose, scatter = mean_pose(estimates)
        length_m = float(np.mean([np.linalg.norm(step[:3, 3]) for step in steps]))
        configuration = self._configuration
        relative = np.hypot(configuration.translation_error, unit_error)
        errors = np.repeat((relative * length_m, configuration.rotation_error_rad), 3)
        best = min(anchors, key=lambda anchor: float(np.trace(anchor.covariance)))
        return _Placed(pose, best.covariance + scatter + np.diag(errors**2))


def mean_pose(poses: NDArray[np.float64]) -> tuple[Float64, Float64]:
    """Return the mean of poses and the covariance of their scatter about it.

    The rotation is the chordal mean (the rotation next to the mean matrix).

    Args:
        poses: (N, 4, 4).

    Returns:
        (4, 4) pose and (6, 6) covariance of x, y, z and small rotations about the axes of the
        reference frame; zero for a single pose.
    """
    u, _, vt = np.linalg.svd(poses[:, :3, :3].mean(axis=0))
    rotation = u @ np.diag((1.0, 1.0, np.linalg.det(u @ vt))) @ vt
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, poses[:, :3, 3].mean(axis=0)
    if len(poses) < 2:
        return pose, np.zeros((6, 6))
    turns = poses[:, :3, :3] @ rotation.T
    small = 0.5 * np.stack(
        (
            turns[:, 2, 1] - turns[:, 1, 2],
            turns[:, 0, 2] - turns[:, 2, 0],
            turns[:, 1, 0] - turns[:, 0, 1],
        ),
        axis=1,
    )
    offsets = np.concatenate((poses[:, :3, 3] - pose[:3, 3], small), axis=1)
    covariance: Float64 = offsets.T @ offsets / (len(poses) - 1)
    return pose, covariance
