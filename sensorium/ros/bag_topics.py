"""Topics of a recording: found by the names of a contract, checked, chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from sensorium.bags import BagError, BagReader, MessageDefinitions

_COMMAND_TYPES = {
    "trajectory_msgs/msg/JointTrajectory": JointTrajectory,
    "sensor_msgs/msg/JointState": JointState,
}


def absolute_topic(topic: str, namespace: str = "") -> str:
    """Return the absolute name of a topic of a node in a namespace."""
    if topic.startswith("/"):
        return topic
    prefix = namespace.strip("/")
    return f"/{prefix}/{topic}" if prefix else f"/{topic}"


def check_topics(bag: BagReader, types: dict[str, type[Any]], *, counted: bool = True) -> None:
    """Check that a bag has topics of these message classes.

    Args:
        bag: the open bag.
        types: message class by absolute topic name.
        counted: whether each must have at least one message.

    Raises:
        BagError: the bag is empty, or a topic is missing, empty, or of another type or definition.
    """
    if not bag.message_count:
        raise BagError(f"bag {bag.path} holds no messages; look at it with `ros2 bag info`")
    missing = sorted(set(types) - set(bag.topics))
    if missing:
        raise BagError(
            f"bag {bag.path} lacks {', '.join(missing)}, which the contract or the command line "
            f"names; it has {', '.join(bag.topics)}. Record them too, or give --namespace"
        )
    for name, message_type in types.items():
        topic = bag.topics[name]
        wanted = _type_name(message_type)
        if topic.type_name != wanted:
            raise BagError(f"topic {name} of bag {bag.path} is {topic.type_name}, not {wanted}")
        if counted and not topic.message_count:
            raise BagError(f"topic {name} of bag {bag.path} has no messages")
    definitions = MessageDefinitions()
    for name, message_type in types.items():
        stored = bag.topics[name].type_hash
        known = definitions.of(_type_name(message_type)).type_hash
        if stored and known and stored != known:
            raise BagError(
                f"topic {name} of bag {bag.path} was recorded with another definition of "
                f"{_type_name(message_type)} than is installed here; convert it with the packages "
                "with which it was recorded"
            )


def type_in(bag: BagReader, topic: str, allowed: dict[str, type[Any]]) -> type[Any]:
    """Return the message class of a topic of a bag.

    Args:
        bag: the open bag.
        topic: absolute name.
        allowed: message class by type name.

    Raises:
        BagError: the topic is missing or of another type.
    """
    if topic not in bag.topics:
        check_topics(bag, {topic: String})
    type_name = bag.topics[topic].type_name
    if type_name not in allowed:
        raise BagError(
            f"topic {topic} of bag {bag.path} is {type_name}; allowed are {', '.join(allowed)}"
        )
    return allowed[type_name]


def command_topics(bag: BagReader, given: Sequence[str]) -> dict[str, type[Any]]:
    """Return the message class of each topic with commands, in order of importance.

    Args:
        bag: the open bag.
        given: absolute names; none takes the bag's only JointTrajectory topic.

    Raises:
        BagError: a topic is missing or of another type, or there is none or more than one.
    """
    if given:
        return {topic: type_in(bag, topic, _COMMAND_TYPES) for topic in given}
    found = [
        name
        for name, topic in bag.topics.items()
        if topic.type_name == "trajectory_msgs/msg/JointTrajectory" and topic.message_count
    ]
    if len(found) != 1:
        raise BagError(
            f"bag {bag.path} has {len(found)} topics of JointTrajectory "
            f"({', '.join(found) or 'none'}); name those with the commands with --commands "
            "(JointTrajectory, or JointState of a leader arm or of an arm led by hand)"
        )
    return {found[0]: JointTrajectory}


def recorded_description(bag: BagReader, namespace: str, urdf: Path | None) -> str:
    """Return the robot's description: of a file, or of topic robot_description of the bag.

    Raises:
        BagError: the bag lacks it.
        OSError: the file cannot be read.
    """
    if urdf is not None:
        return urdf.read_text(encoding="utf-8")
    topic = absolute_topic("robot_description", namespace)
    if topic not in bag.topics:
        raise BagError(
            f"bag {bag.path} lacks {topic}, and the contract needs the robot's kinematics; record "
            "it too, or give --urdf"
        )
    check_topics(bag, {topic: String})
    message = next(iter(bag.messages([topic])))
    text: str = deserialize_message(message.data, String).data
    return text


def _type_name(message_type: type[Any]) -> str:
    package, _, rest = message_type.__module__.partition(".")
    return f"{package}/{rest.split('.')[0]}/{message_type.__name__}"
