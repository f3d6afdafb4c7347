"""Policies: checkpoints in LeRobot's layout in, actions in physical units out.

``load_policy(directory)`` is the way in; it returns a :class:`Policy`.
"""

from sensorium.models.policy.errors import (
    CheckpointError,
    CheckpointFileMissingError,
    ObservationError,
    UnsupportedError,
)
from sensorium.models.policy.features import Feature, FeatureType
from sensorium.models.policy.interface import Policy
from sensorium.models.policy.loading import load_policy

__all__ = [
    "CheckpointError",
    "CheckpointFileMissingError",
    "Feature",
    "FeatureType",
    "ObservationError",
    "Policy",
    "UnsupportedError",
    "load_policy",
]
