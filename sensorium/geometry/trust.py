"""Whether given poses may be shown to a model: only where they and the model see the same motion.

Published experience with OmniVGGT is that poses which are wrong, noisy or of another convention
make the result worse, and that even exact ones are followed loosely. So poses are a hint: they are
shown only after the model, which had not seen them, found the same motion by itself, and no longer
than both agree. The robot's own pose stays the pose of the output in any case.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from sensorium.configuration import parameter
from sensorium.poses import Float64, inverse


@dataclass(frozen=True, slots=True)
class PoseHintConfiguration:
    """When given poses are shown to the model."""

    enabled: bool = parameter(
        True, "Show given poses to the model while they and the model agree; the output keeps the "
        "given pose either way.",
    )  # fmt: skip
    min_baseline_m: float = parameter(
        0.05, "Cameras closer than this on average are not compared or shown: set it to about five "
        "times the noise of the poses [m].", minimum=0.0, maximum=100.0,
    )  # fmt: skip
    max_rotation_rad: float = parameter(
        0.1, "Largest median difference of the turn between two views [rad].", minimum=0.0,
        maximum=3.2,
    )  # fmt: skip
    max_direction_rad: float = parameter(
        0.35, "Largest median difference of the direction of motion between two views [rad].",
        minimum=0.0, maximum=3.2,
    )  # fmt: skip
    windows_to_trust: int = parameter(
        2, "Windows in a row that have to agree before poses are shown.", minimum=1, maximum=100
    )


@dataclass(frozen=True, slots=True)
class PoseAgreement:
    """How far given and predicted poses of one window differ.

    Attributes:
        rotation_rad: median angle between the relative rotations of all pairs of views.
        direction_rad: median angle between the directions of their baselines, over pairs that are
            far enough apart.
        pairs: number of such pairs.
    """

    rotation_rad: float
    direction_rad: float
    pairs: int


def pose_agreement(
    world_from_camera: NDArray[np.float64],
    window_from_camera: NDArray[np.float64],
    *,
    least_baseline_m: float,
) -> PoseAgreement | None:
    """Compare given and predicted poses pair by pair; neither scale nor world frame matter.

    Args:
        world_from_camera: (N, 4, 4) given poses [m].
        window_from_camera: (N, 4, 4) poses by the model in any unit and frame.
        least_baseline_m: pairs that are closer are left out [m].

    Returns:
        None when no pair is far enough apart.
    """
    turns, directions = [], []
    for first, second in combinations(range(len(world_from_camera)), 2):
        given = inverse(world_from_camera[first]) @ world_from_camera[second]
        predicted = inverse(window_from_camera[first]) @ window_from_camera[second]
        baseline_m = float(np.linalg.norm(given[:3, 3]))
        length = float(np.linalg.norm(predicted[:3, 3]))
        if baseline_m < least_baseline_m or length == 0:
            continue
        turns.append(rotation_angle(given[:3, :3].T @ predicted[:3, :3]))
        cosine = float(given[:3, 3] @ predicted[:3, 3]) / (baseline_m * length)
        directions.append(math.acos(max(-1.0, min(1.0, cosine))))
    if not turns:
        return None
    return PoseAgreement(float(np.median(turns)), float(np.median(directions)), len(turns))


def rotation_angle(rotation: Float64) -> float:
    """Return the angle of a rotation matrix (3, 3) [rad], 0 to pi."""
    twice_sine = np.linalg.norm(
        (
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        )
    )
    return math.atan2(float(twice_sine), float(np.trace(rotation)) - 1.0)


class PoseTrust:
    """Decides window by window whether poses are shown to the model.

    Args:
        configuration: the limits.
    """

    def __init__(self, configuration: PoseHintConfiguration) -> None:
        self._configuration = configuration
        self._agreeing = 0
        self._problem = ""
        self._compared = False

    @property
    def agrees(self) -> bool:
        """True when the poses of the window compared last agree, or nothing was ever compared."""
        return not self._problem

    @property
    def state(self) -> str:
        """What is known about the agreement, in words."""
        configuration = self._configuration
        if not configuration.enabled:
            return "off"
        if self._problem:
            return f"dropped: given and predicted poses disagree: {self._problem}"
        if not self._compared:
            return (
                "not shown: no two views with given poses are "
                f"{configuration.min_baseline_m:g} m apart"
            )
        if self.allows:
            return "agree"
        return f"not shown yet: {self._agreeing} of {configuration.windows_to_trust} windows agree"

    @property
    def allows(self) -> bool:
        """True when the poses of the next window may be shown."""
        configuration = self._configuration
        return configuration.enabled and self._agreeing >= configuration.windows_to_trust

    def update(self, agreement: PoseAgreement | None) -> bool:
        """Note how one window agreed; False when its poses must not have been shown.

        Args:
            agreement: of the window, or None when nothing could be compared; trust stays then.
        """
        self._compared = agreement is not None
        if agreement is None:
            return True
        configuration = self._configuration
        causes = []
        if agreement.rotation_rad > configuration.max_rotation_rad:
            causes.append(
                f"turns differ by {math.degrees(agreement.rotation_rad):.1f} deg (allowed "
                f"{math.degrees(configuration.max_rotation_rad):.1f})"
            )
        if agreement.direction_rad > configuration.max_direction_rad:
            causes.append(
                f"directions of motion differ by {math.degrees(agreement.direction_rad):.1f} deg "
                f"(allowed {math.degrees(configuration.max_direction_rad):.1f})"
            )
        self._agreeing = 0 if causes else self._agreeing + 1
        self._problem = " and ".join(causes)
        return not causes

    def reset(self) -> None:
        """Forget what agreed."""
        self._agreeing = 0
        self._problem = ""
        self._compared = False
