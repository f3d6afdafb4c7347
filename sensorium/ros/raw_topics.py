"""Topics whose messages pass through undecoded: types by name, QoS of bags and of publishers."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from rclpy.exceptions import NoTypeSupportImportedException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.type_support import check_for_type_support

from sensorium.bags import INFINITE_NS, BagTopic, OfferedQos
from sensorium.ros.qos import overriding_options

_TYPE_PARTS = 3
_USUAL_DEPTH = 10
_KEEP_ALL_DEPTH = 1000
_RECORDING_DEPTH = 100
# Latched messages all arrive at once when a recorder joins.
_LATCHED_RECORDING_DEPTH = 1000

_RELIABILITY = {
    ReliabilityPolicy.RELIABLE: "reliable",
    ReliabilityPolicy.BEST_EFFORT: "best_effort",
}
_DURABILITY = {
    DurabilityPolicy.TRANSIENT_LOCAL: "transient_local",
    DurabilityPolicy.VOLATILE: "volatile",
}
_HISTORY = {HistoryPolicy.KEEP_LAST: "keep_last", HistoryPolicy.KEEP_ALL: "keep_all"}


class MissingTypeSupportError(ValueError):
    """A message type has no type support here; the text names the package to install."""


def message_class(type_name: str) -> Any:  # noqa: ANN401 - any message class
    """Return the message class of a type such as "sensor_msgs/msg/Image".

    Raises:
        MissingTypeSupportError: the package is not installed, lacks the type, or was generated for
            another Python.
    """
    parts = type_name.split("/")
    if len(parts) != _TYPE_PARTS:
        raise MissingTypeSupportError(f"'{type_name}' is not a message type (package/msg/Name)")
    package, kind, name = parts
    try:
        found = getattr(importlib.import_module(f"{package}.{kind}"), name)
        check_for_type_support(found)
    except (ImportError, AttributeError, NoTypeSupportImportedException) as error:
        raise MissingTypeSupportError(
            f"no type support for {type_name}: install the ROS package '{package}' ({error})"
        ) from None
    return found


def replay_profile(topic: BagTopic, reliability: str = "recorded") -> QoSProfile:
    """Return the QoS with which a recorded topic is published again.

    Where several publishers were recorded the strongest offer is taken: it serves every subscriber
    that any of them served. Every message of /tf_static is kept for late joiners.

    Args:
        topic: the topic.
        reliability: "recorded", or "reliable" or "best_effort" for all topics.
    """
    offered = topic.offered_qos
    if reliability == "recorded":
        weak = bool(offered) and all(qos.reliability == "best_effort" for qos in offered)
    else:
        weak = reliability == "best_effort"
    depth = max((qos.depth for qos in offered if qos.history != "keep_all"), default=0)
    if any(qos.history == "keep_all" for qos in offered):
        # Keep-all would let one stuck subscriber stop the whole replay.
        depth = max(depth, _KEEP_ALL_DEPTH)
    if topic.name.endswith("/tf_static"):
        depth = max(depth, topic.message_count)
    elif depth == 0 or not topic.is_durable:
        depth = max(depth, _USUAL_DEPTH)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.BEST_EFFORT if weak else ReliabilityPolicy.RELIABLE,
        durability=(
            DurabilityPolicy.TRANSIENT_LOCAL if topic.is_durable else DurabilityPolicy.VOLATILE
        ),
    )


def recording_profile(offers: Sequence[OfferedQos]) -> QoSProfile:
    """Return the strongest QoS that is compatible with every publisher of a topic."""
    reliable = all(qos.reliability == "reliable" for qos in offers)
    durable = all(qos.durability == "transient_local" for qos in offers)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=_LATCHED_RECORDING_DEPTH if durable else _RECORDING_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=(DurabilityPolicy.TRANSIENT_LOCAL if durable else DurabilityPolicy.VOLATILE),
    )


def asked_as_offer(profile: QoSProfile) -> OfferedQos:
    """Return the offer that a subscription with this profile just accepts."""
    return OfferedQos(_RELIABILITY[profile.reliability], _DURABILITY[profile.durability])


def offers_of(node: Node, topic: str) -> list[OfferedQos]:
    """Return what the publishers of a topic offer now."""
    offers = []
    for publisher in node.get_publishers_info_by_topic(topic):
        profile = publisher.qos_profile
        offers.append(
            OfferedQos(
                _RELIABILITY.get(profile.reliability, "unknown"),
                _DURABILITY.get(profile.durability, "unknown"),
                _HISTORY.get(profile.history, "unknown"),
                profile.depth,
                _nanoseconds(profile.deadline.nanoseconds),
                _nanoseconds(profile.lifespan.nanoseconds),
                "automatic",
                _nanoseconds(profile.liveliness_lease_duration.nanoseconds),
            )
        )
    return offers


def overrides(node: Node, topic: str) -> QoSOverridingOptions | None:
    """Return the overriding options of a topic that the user overrides, None for others.

    QoS parameters cannot be declared anew, so they are declared only where the user gave some:
    every other topic is free to be opened with another profile later.
    """
    given = getattr(node, "_parameter_overrides", {})
    prefix = f"qos_overrides.{node.resolve_topic_name(topic)}."
    return overriding_options() if any(name.startswith(prefix) for name in given) else None


def _nanoseconds(value: int) -> int:
    """Return a QoS duration; DDS tells "unspecified" as 0, which would mean "at once" in a bag."""
    return value if 0 < value < INFINITE_NS else INFINITE_NS
