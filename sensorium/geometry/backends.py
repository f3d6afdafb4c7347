"""The geometry backends by name."""

from __future__ import annotations

from sensorium.geometry.backend import GeometryBackend
from sensorium.geometry.omnivggt import OmniVGGTBackend
from sensorium.geometry.omnivggt_configuration import OmniVGGTConfiguration
from sensorium.geometry.sensor import SensorBackend, SensorConfiguration

BACKENDS = ("sensor", "omnivggt")


def make_backend(
    name: str, sensor: SensorConfiguration, omnivggt: OmniVGGTConfiguration, device: str
) -> GeometryBackend:
    """Return a backend that is not configured yet.

    Args:
        name: one of ``BACKENDS``.
        sensor: of the backend `sensor`; also the noise of the depth sensor for the others.
        omnivggt: of the backend `omnivggt`.
        device: torch device.

    Raises:
        ValueError: an unknown name, or a parameter that breaks a rule.
    """
    if name == "sensor":
        return SensorBackend(sensor, device)
    if name == "omnivggt":
        return OmniVGGTBackend(omnivggt, sensor, device)
    raise ValueError(f"backend '{name}' is not one of {', '.join(BACKENDS)}")
