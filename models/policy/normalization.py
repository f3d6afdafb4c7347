"""Normalisation of features by dataset statistics, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from sensorium.models.policy.errors import CheckpointError, UnsupportedError
from sensorium.models.policy.features import Feature, FeatureType
from sensorium.models.policy.fields import Fields

__all__ = ["AffineMap", "NormalizationMode", "affine_map", "read_normalization_modes"]


class NormalizationMode(str, Enum):
    """LeRobot's normalisation modes, spelled as in its JSON files."""

    IDENTITY = "IDENTITY"
    MEAN_STD = "MEAN_STD"
    MIN_MAX = "MIN_MAX"
    QUANTILES = "QUANTILES"
    QUANTILE10 = "QUANTILE10"


_RANGE_STATISTICS = {
    NormalizationMode.MIN_MAX: ("min", "max"),
    NormalizationMode.QUANTILES: ("q01", "q99"),
    NormalizationMode.QUANTILE10: ("q10", "q90"),
}


@dataclass(frozen=True)
class AffineMap:
    """Normalisation of one feature, in the operation order of LeRobot 0.4.4 (float32).

    ``normalize``: gain * (x - offset) / divisor - shift;
    ``unnormalize``: (y + shift) / gain * multiplier + offset. Divisor and multiplier differ only
    for mean/std, where the small ``eps`` guards the division alone.

    Attributes:
        offset: Mean or lower bound, broadcastable to the feature.
        divisor: What normalising divides by.
        multiplier: What unnormalising multiplies by.
        gain: 1 for mean/std, 2 for ranges (mapped to [-1, 1]).
        shift: 0 for mean/std, 1 for ranges.
    """

    offset: Tensor
    divisor: Tensor
    multiplier: Tensor
    gain: float
    shift: float

    def normalize(self, value: Tensor) -> Tensor:
        """Physical units to normalised units; (..., *feature shape)."""
        return self.gain * (value - self.offset) / self.divisor - self.shift

    def unnormalize(self, value: Tensor) -> Tensor:
        """Normalised units to physical units; (..., *feature shape)."""
        return (value + self.shift) / self.gain * self.multiplier + self.offset

    def to(self, device: torch.device) -> AffineMap:
        """The same map with its statistics on another device."""
        return AffineMap(
            self.offset.to(device),
            self.divisor.to(device),
            self.multiplier.to(device),
            self.gain,
            self.shift,
        )


def affine_map(
    feature: Feature,
    mode: NormalizationMode,
    statistics: Mapping[str, Tensor],
    eps: float,
    source: str,
) -> AffineMap | None:
    """The normalisation of one feature, or None where the mode leaves it as it is.

    Args:
        feature: The feature.
        mode: How it is normalised.
        statistics: Tensors by ``<feature name>.<statistic>``.
        eps: Added to a standard deviation; replaces a range of zero.
        source: What error texts call the statistics' origin.

    Returns:
        The map, or None for IDENTITY.

    Raises:
        CheckpointError: A statistic is missing or has a shape that does not fit.
    """
    if mode is NormalizationMode.IDENTITY:
        return None
    if mode is NormalizationMode.MEAN_STD:
        mean = _statistic(feature, "mean", statistics, source, mode)
        std = _statistic(feature, "std", statistics, source, mode)
        return AffineMap(offset=mean, divisor=std + eps, multiplier=std, gain=1.0, shift=0.0)
    lower_name, upper_name = _RANGE_STATISTICS[mode]
    lower = _statistic(feature, lower_name, statistics, source, mode)
    upper = _statistic(feature, upper_name, statistics, source, mode)
    extent = upper - lower
    extent = torch.where(extent == 0, torch.full_like(extent, eps), extent)
    return AffineMap(offset=lower, divisor=extent, multiplier=extent, gain=2.0, shift=1.0)


def read_normalization_modes(fields: Fields) -> dict[FeatureType, NormalizationMode]:
    """Reads an object that maps feature types to normalisation modes.

    Types it does not name stay as they are (LeRobot's rule).

    Raises:
        UnsupportedError: A type or a mode is not known here.
        CheckpointError: A value is no string.
    """
    modes: dict[FeatureType, NormalizationMode] = {}
    for key in fields:
        name = fields.text(key)
        try:
            modes[FeatureType(key)] = NormalizationMode(name)
        except ValueError:
            known = ", ".join(m.value for m in NormalizationMode)
            raise UnsupportedError(
                f"{fields.where}: '{key}: {name}' is unknown; known modes: {known}."
            ) from None
    return modes


def _statistic(
    feature: Feature,
    name: str,
    statistics: Mapping[str, Tensor],
    source: str,
    mode: NormalizationMode,
) -> Tensor:
    key = f"{feature.name}.{name}"
    if key not in statistics:
        raise CheckpointError(
            f"{source} has no statistic '{key}', which {mode.value} normalisation of feature "
            f"'{feature.name}' needs. Without it the policy would work in wrong units: save the "
            "processors again with the dataset's statistics."
        )
    value = statistics[key]
    if feature.type is FeatureType.VISUAL and value.ndim == 1:
        value = value.reshape(-1, 1, 1)
    try:
        value.expand(feature.shape)
    except RuntimeError as error:
        raise CheckpointError(
            f"{source}: statistic '{key}' has shape {tuple(value.shape)}, which does not fit "
            f"feature shape {feature.shape}. Statistics and config.json must come from the same "
            "training run."
        ) from error
    return value
