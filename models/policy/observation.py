"""From an observation as robots give it to float tensors, with every check on the way."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from sensorium.models.policy.errors import ObservationError
from sensorium.models.policy.features import Feature, FeatureType

__all__ = ["TASK", "feature_tensors", "task_text"]

TASK = "task"
"""Observation entry that holds the instruction."""


def feature_tensors(
    observation: Mapping[str, object], features: Mapping[str, Feature]
) -> dict[str, Tensor]:
    """Checks an observation against the features of a policy and converts it.

    Nothing is filled in, resized or cast from another kind of number: what does not fit is refused.

    Args:
        observation: Arrays by feature name. VISUAL features are (H, W, 3) uint8, all others are
            floating with the feature's shape, in the units of the training data. Entries that
            the policy does not use are left alone.
        features: The features the policy uses.

    Returns:
        float32 tensors on the CPU by feature name, without batch; images (3, H, W) in 0..1.

    Raises:
        ObservationError: A feature is missing, no array, of another shape or dtype, or holds a
            value that is not finite.
    """
    missing = [name for name in features if name not in observation]
    if missing:
        given = ", ".join(sorted(observation)) or "nothing"
        raise ObservationError(
            f"Observation lacks {', '.join(missing)} (given: {given}). Missing inputs are never "
            "filled with zeros: connect the sensor or correct the mapping of topics to features."
        )
    tensors = {}
    for name, feature in features.items():
        value = observation[name]
        if not isinstance(value, np.ndarray):
            raise ObservationError(
                f"Observation '{name}' is a {type(value).__name__}, but must be a numpy array."
            )
        convert = _image_tensor if feature.type is FeatureType.VISUAL else _vector_tensor
        tensors[name] = convert(value, feature)
    return tensors


def task_text(observation: Mapping[str, object]) -> str | None:
    """The instruction of an observation, or None where there is none.

    Raises:
        ObservationError: The entry is no string.
    """
    task = observation.get(TASK)
    if task is not None and not isinstance(task, str):
        raise ObservationError(
            f"Observation '{TASK}' is a {type(task).__name__}, but must be a string."
        )
    return task


def _image_tensor(value: np.ndarray, feature: Feature) -> Tensor:
    channels, height, width = feature.shape
    expected = (height, width, channels)
    if value.shape != expected or value.dtype != np.uint8:
        raise ObservationError(
            f"Observation '{feature.name}' is {value.dtype} of shape {value.shape}, but the policy "
            f"was trained on uint8 images of shape {expected} (height, width, RGB). "
            "Resize or convert the image before it is given to the policy."
        )
    image = torch.from_numpy(np.array(value, order="C"))
    return image.permute(2, 0, 1).float() / 255.0


def _vector_tensor(value: np.ndarray, feature: Feature) -> Tensor:
    if value.shape != feature.shape or not np.issubdtype(value.dtype, np.floating):
        raise ObservationError(
            f"Observation '{feature.name}' is {value.dtype} of shape {value.shape}, but the policy "
            f"was trained on floating values of shape {feature.shape}. Check the joint order and "
            "the mapping of topics to features."
        )
    with np.errstate(over="ignore"):
        vector = np.array(value, dtype=np.float32)
    if not np.isfinite(vector).all():
        indices = np.flatnonzero(~np.isfinite(vector))[:8].tolist()
        raise ObservationError(
            f"Observation '{feature.name}' is not finite at index {indices}. "
            "Do not command the robot from it: wait for a valid reading."
        )
    return torch.from_numpy(vector)
