"""Feature descriptions of a policy: what goes in and what comes out, with type and shape."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sensorium.models.policy.errors import UnsupportedError
from sensorium.models.policy.fields import Fields

__all__ = ["ACTION", "Feature", "FeatureType", "read_features"]

ACTION = "action"
"""Name of the action feature in LeRobot's configuration files."""


class FeatureType(str, Enum):
    """LeRobot's feature types, spelled as in its JSON files."""

    STATE = "STATE"
    VISUAL = "VISUAL"
    ENV = "ENV"
    ACTION = "ACTION"
    REWARD = "REWARD"
    LANGUAGE = "LANGUAGE"


@dataclass(frozen=True)
class Feature:
    """One named input or output of a policy.

    Attributes:
        name: Dotted feature name, such as ``observation.images.front``.
        type: What kind of quantity it is; normalisation is chosen by this.
        shape: Shape of one sample without batch: (D,) for vectors, (3, H, W) for images.
    """

    name: str
    type: FeatureType
    shape: tuple[int, ...]


def read_features(fields: Fields) -> dict[str, Feature]:
    """Reads an object that maps feature names to ``{"type": ..., "shape": [...]}``.

    Args:
        fields: The object.

    Returns:
        Features by name, in the file's order (the order of cameras is part of the model).

    Raises:
        UnsupportedError: A feature has a type that is not known here.
        CheckpointError: A field is missing or malformed.
    """
    features: dict[str, Feature] = {}
    for name in fields:
        entry = fields.nested(name)
        type_name = entry.text("type")
        try:
            feature_type = FeatureType(type_name)
        except ValueError:
            known = ", ".join(t.value for t in FeatureType)
            raise UnsupportedError(
                f"{entry.where}: feature type '{type_name}' is unknown; known types: {known}."
            ) from None
        features[name] = Feature(name, feature_type, entry.shape("shape"))
    return features
