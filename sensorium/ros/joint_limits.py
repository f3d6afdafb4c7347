"""What the commanded joints may do: from the robot's description, or from parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rclpy.node import Node

from sensorium.configuration import ConfigurationError, parameter
from sensorium.policy.limits import JointLimits, LimitsError
from sensorium.policy.urdf import limits_from_urdf
from sensorium.ros.robot_description import DescriptionConfiguration, robot_description


@dataclass(frozen=True, slots=True)
class LimitsConfiguration:
    """Joint limits, one number per entry of ``joints``."""

    source: str = parameter(
        "urdf", "Where position and velocity limits come from.", choices=("urdf", "parameters")
    )
    lower: tuple[float, ...] = parameter((), "Lowest positions [rad or m]; source parameters only.")
    upper: tuple[float, ...] = parameter(
        (), "Highest positions [rad or m]; source parameters only."
    )
    velocity: tuple[float, ...] = parameter(
        (), "Highest speeds [rad/s or m/s]; source parameters only."
    )
    acceleration: tuple[float, ...] = parameter(
        (), "Highest accelerations [rad/s^2 or m/s^2]; always needed, a URDF has none."
    )


def joint_limits(
    node: Node,
    joints: Sequence[str],
    configuration: LimitsConfiguration,
    description: DescriptionConfiguration,
) -> JointLimits:
    """Return the limits of the commanded joints; may wait for the robot's description.

    Raises:
        ConfigurationError: joints or limits are missing or contradict themselves, or no robot
            description comes.
    """
    if not joints:
        raise ConfigurationError("parameter 'joints' is empty; name the joints to be commanded")
    if len(configuration.acceleration) != len(joints):
        raise ConfigurationError(
            f"parameter 'limits.acceleration' has {len(configuration.acceleration)} numbers for "
            f"{len(joints)} joints ({', '.join(joints)}); give one each"
        )
    try:
        if configuration.source == "parameters":
            return JointLimits(
                tuple(joints), *(
                    np.array(values, dtype=np.float64)
                    for values in (configuration.lower, configuration.upper,
                                   configuration.velocity, configuration.acceleration)
                )
            )  # fmt: skip
        acceleration = dict(zip(joints, configuration.acceleration, strict=True))
        return limits_from_urdf(robot_description(node, description), joints, acceleration)
    except LimitsError as error:
        raise ConfigurationError(str(error)) from error
