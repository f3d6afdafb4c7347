"""From measurements to the features of a contract: state vectors, token banks, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sensorium.policy.contract import TIP_POSITION, Picture, StateVector
from sensorium.policy.kinematics import Kinematics

__all__ = [
    "FeatureRefused", "JointReading", "picture_feature", "pooled_feature", "state_feature",
    "token_features",
]  # fmt: skip


class FeatureRefused(ValueError):  # noqa: N818 - an answer, not a fault
    """A measurement that does not make the feature; the text says what it lacks."""


@dataclass(frozen=True, eq=False)
class JointReading:
    """A joint state.

    Attributes:
        names: Joint names.
        position: One value per name, or empty.
        velocity: One value per name, or empty.
        effort: One value per name, or empty.
    """

    names: Sequence[str]
    position: Sequence[float]
    velocity: Sequence[float] = ()
    effort: Sequence[float] = ()

    def values(self, quantity: str, joints: Sequence[str]) -> NDArray[np.float64]:
        """Values of some joints, (n,) float64, in the given order.

        Raises:
            FeatureRefused: A joint or its value is missing.
        """
        given: Sequence[float] = getattr(self, quantity)
        missing = [joint for joint in joints if joint not in self.names]
        if missing or len(given) != len(self.names):
            raise FeatureRefused(
                f"the joint state lacks {', '.join(missing) or quantity} (it has "
                f"{len(given)} {quantity} values of {', '.join(self.names) or 'no joints'}); "
                "correct the names in the contract or start the robot's state publisher"
            )
        by_name = dict(zip(self.names, given, strict=True))
        return np.array([by_name[joint] for joint in joints], dtype=np.float64)


def state_feature(
    state: StateVector, reading: JointReading, kinematics: Kinematics | None
) -> NDArray[np.float32]:
    """The state vector of a joint state, (state.size,) float32.

    Raises:
        FeatureRefused: A joint or value is missing.
    """
    parts: list[NDArray[np.float64]] = []
    for entry in state.select:
        if entry == TIP_POSITION:
            assert kinematics is not None  # noqa: S101 - the contract asked for it
            chain = reading.values("position", kinematics.joint_names)
            parts.append(kinematics.forward(chain)[:3, 3])
        else:
            quantity, _, joint = entry.partition(".")
            parts.append(reading.values(quantity, (joint,)))
    return np.concatenate(parts).astype(np.float32)


def token_features(
    xyz_m: NDArray[Any],
    features: NDArray[Any],
    base_from_camera: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The token bank of one camera.

    Args:
        xyz_m: (..., 3) token positions in the camera's optical frame [m]; NaN without depth.
        features: (..., C) token features; NaN where unknown.
        base_from_camera: (4, 4) pose of the camera in the robot's base.

    Returns:
        Points (N, 3) in the base frame [m], features (N, C), valid (N,) 1 or 0; all float32 and
        finite. A token without a position has zeros and valid 0; an unknown feature of a token
        with a position is 0.
    """
    points = np.asarray(xyz_m, dtype=np.float64).reshape(-1, 3)
    values = np.asarray(features, dtype=np.float32).reshape(len(points), -1)
    valid = np.asarray(np.isfinite(points).all(axis=1), dtype=np.bool_)
    in_base = points @ base_from_camera[:3, :3].T + base_from_camera[:3, 3]
    known = np.isfinite(values) & valid[:, None]
    return (
        np.where(valid[:, None], in_base, 0.0).astype(np.float32),
        np.where(known, values, 0.0).astype(np.float32),
        valid.astype(np.float32),
    )


def pooled_feature(features: NDArray[Any], pooling: str) -> NDArray[np.float32]:
    """All tokens of one frame as one vector.

    Args:
        features: (..., C) token features.
        pooling: "mean" or "max" over the tokens.

    Returns:
        (C,) float32.

    Raises:
        FeatureRefused: A feature is not finite.
    """
    values = np.asarray(features, dtype=np.float64).reshape(-1, np.shape(features)[-1])
    if not np.isfinite(values).all():
        raise FeatureRefused(
            f"{int((~np.isfinite(values)).any(axis=1).sum())} of {len(values)} tokens have "
            "features that are not finite; one vector for all of them would not be either"
        )
    pooled = values.max(axis=0) if pooling == "max" else values.mean(axis=0)
    return np.asarray(pooled, dtype=np.float32)


def picture_feature(picture: Picture, color: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture in the size of the contract, (H, W, 3) uint8 RGB."""
    if not picture.size_px or color.shape[:2] == picture.size_px:
        return color
    height_px, width_px = picture.size_px
    resized = cv2.resize(color, (width_px, height_px), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.uint8)
