"""Small networks for signals, by the names that model files use, and where the shipped ones are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn

from sensorium.models.signals.convolutional_classifier import (
    ConvolutionalClassifier,
    ConvolutionalClassifierConfiguration,
)

WEIGHTS = Path(__file__).parent / "weights"

ARCHITECTURES: dict[str, tuple[type[Any], type[nn.Module]]] = {
    "convolutional_classifier": (ConvolutionalClassifierConfiguration, ConvolutionalClassifier),
}
"""Name in a model file -> configuration class and network class."""


def build_network(architecture: str, configuration: Mapping[str, Any]) -> nn.Module:
    """Makes an untrained network from what a model file says.

    Args:
        architecture: a key of ``ARCHITECTURES``.
        configuration: its fields; lists stand for tuples.

    Raises:
        ValueError: unknown architecture or field, or a value the configuration refuses.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"architecture '{architecture}' is unknown; known: {', '.join(sorted(ARCHITECTURES))}"
        )
    configuration_class, network_class = ARCHITECTURES[architecture]
    known = {field.name for field in fields(configuration_class)}
    if set(configuration) != known:
        missing, unknown = sorted(known - set(configuration)), sorted(set(configuration) - known)
        raise ValueError(
            f"configuration of '{architecture}': missing {missing}, unknown {unknown}; "
            f"give exactly {sorted(known)}"
        )
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in configuration.items()}
    network: nn.Module = network_class(configuration_class(**values))
    return network


__all__ = [
    "ARCHITECTURES", "WEIGHTS", "ConvolutionalClassifier", "ConvolutionalClassifierConfiguration",
    "build_network",
]  # fmt: skip
