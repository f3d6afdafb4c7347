"""The robot's URDF: from a file, or from the latched topic of its robot_state_publisher."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from rclpy.node import Node
from std_msgs.msg import String

from sensorium.configuration import ConfigurationError, parameter
from sensorium.ros.qos import LATCHED_QOS, qos_profile

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class DescriptionConfiguration:
    """Where the robot's description comes from."""

    file: str = parameter("", "Path of a URDF file; empty takes the topic.")
    topic: str = parameter(
        "robot_description", "Latched std_msgs/String with the URDF (robot_state_publisher)."
    )
    timeout_s: float = parameter(
        5.0, "How long activation waits for the topic [s].", minimum=0.0, maximum=60.0
    )


def robot_description(node: Node, configuration: DescriptionConfiguration) -> str:
    """Return the URDF as text; waits for it, also inside of a callback.

    Raises:
        ConfigurationError: the file cannot be read, or nothing comes on the topic.
    """
    if configuration.file:
        try:
            return Path(configuration.file).expanduser().read_text()
        except OSError as error:
            raise ConfigurationError(f"parameter 'description.file': {error}") from error
    subscription = node.create_subscription(
        String, configuration.topic, lambda _: None, qos_profile(LATCHED_QOS)
    )
    deadline = time.monotonic() + configuration.timeout_s
    try:
        while True:
            # The executor is busy with the transition that waits here, so nobody else takes it.
            with subscription.handle:
                taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
            if taken is not None:
                text: str = taken[0].data
                return text
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"no robot description came on '{subscription.topic_name}' within "
                    f"{configuration.timeout_s:g} s; start the robot_state_publisher, or set "
                    "'description.file'"
                )
            time.sleep(_POLL_S)
    finally:
        node.destroy_subscription(subscription)
