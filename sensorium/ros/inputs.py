"""Subscriptions that can say how they are: received, lost, last stamp, why nothing comes.

The waiting report is made here: after some seconds without output a node names each input it lacks,
with publisher count, offered QoS and last stamp (the silence that users complain about most).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

from sensorium.configuration import ConfigurationError
from sensorium.ros.diagnostics import RateMonitor, Status
from sensorium.ros.qos import overriding_options


class MonitoredSubscription:
    """A subscription that counts and explains.

    Args:
        node: the node.
        message_type: the message class.
        topic: topic name as given by the user (relative names are resolved by the node).
        callback: called with the message.
        qos: the profile asked for; users may override it by the parameters
            ``qos_overrides.<topic>.subscription.*``.
    """

    def __init__(
        self,
        node: Node,
        message_type: type[Any],
        topic: str,
        callback: Callable[[Any], None],
        qos: QoSProfile,
    ) -> None:
        self._node = node
        self._callback = callback
        self.rate = RateMonitor()
        self._gaps = SequenceGaps()
        self._reported_lost = 0
        self.last_stamp_ns: int | None = None
        self.last_received_s: float | None = None
        self._incompatible_policy = ""
        # rclpy writes the user's overrides into this very object.
        self._qos = qos
        self.subscription = node.create_subscription(
            message_type,
            topic,
            self._receive,
            qos,
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=self._note_incompatible,
                message_lost=self._note_lost,
            ),
            qos_overriding_options=overriding_options(),
        )
        self.topic = self.subscription.topic_name

    @property
    def received(self) -> int:
        """Messages received."""
        return self.rate.count

    @property
    def lost(self) -> int:
        """Messages that were published and did not come; those after the newest are not known."""
        return max(self._gaps.count, self._reported_lost)

    @property
    def incompatible_qos(self) -> str:
        """Which publishers cannot be heard and why; "" when there is none, or none any more."""
        if not self._incompatible_policy:
            return ""
        names = [
            f"{info.node_namespace.rstrip('/')}/{info.node_name}"
            for info in self._node.get_publishers_info_by_topic(self.topic)
            if qos_check_compatible(info.qos_profile, self._qos)[0] == QoSCompatibility.ERROR
        ]
        if not names:
            return ""
        return (
            f"{len(names)} publisher(s) on {self.topic} offer incompatible QoS "
            f"({self._incompatible_policy}): {', '.join(names)}; "
            "set this node's qos parameter to what they offer"
        )

    def close(self) -> None:
        """Destroy the subscription."""
        self._node.destroy_subscription(self.subscription)

    def describe(self, status: Status, key: str) -> None:
        """Add counts, rate and age of the input to a status."""
        status.value(f"{key}.received", self.received)
        status.value(f"{key}.lost", self.lost)
        status.value(f"{key}.rate_hz", self.rate.rate_hz)
        incompatible = self.incompatible_qos
        if incompatible:
            status.error(incompatible)

    def explain(self) -> str:
        """Say in one sentence what is known about this input."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        if not publishers:
            return f"{self.topic}: no publisher (wrong topic name, or the driver is not running)"
        offered = ", ".join(
            f"{info.node_namespace.rstrip('/')}/{info.node_name} "
            f"({info.qos_profile.reliability.name.lower()}, "
            f"{info.qos_profile.durability.name.lower()})"
            for info in publishers
        )
        text = f"{self.topic}: {len(publishers)} publisher(s) {offered}"
        incompatible = self.incompatible_qos
        if incompatible:
            text = f"{text}; {incompatible}"
        if self.last_received_s is None:
            return f"{text}; nothing received yet"
        silent_s = time.monotonic() - self.last_received_s
        stamp = "none" if self.last_stamp_ns is None else f"{self.last_stamp_ns / 1e9:.3f} s"
        return f"{text}; {self.received} received, last {silent_s:.1f} s ago, last stamp {stamp}"

    def _receive(self, message: Any, info: Mapping[str, Any]) -> None:  # noqa: ANN401 - any message
        self.rate.tick()
        self._gaps.note(info)
        self.last_received_s = time.monotonic()
        header = getattr(message, "header", None)
        if header is not None:
            self.last_stamp_ns = header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
        self._callback(message)

    def _note_incompatible(self, event: Any) -> None:  # noqa: ANN401 - type differs by distribution
        policy = getattr(event.last_policy_kind, "name", str(event.last_policy_kind))
        self._incompatible_policy = policy
        text = self.incompatible_qos or f"incompatible QoS ({policy}) offered on {self.topic}"
        self._node.get_logger().error(text)

    def _note_lost(self, event: Any) -> None:  # noqa: ANN401
        self._reported_lost = event.total_count


class SequenceGaps:
    """Counts lost messages by the gaps in the numbers that each publisher gives its messages.

    The event of DDS does not tell of messages that newer ones pushed out of a full queue.

    Attributes:
        count: messages in the gaps; 0 where ROS tells no numbers or publishers (before Kilted).
    """

    def __init__(self) -> None:
        self._newest: dict[bytes, int] = {}
        self.count = 0

    def note(self, info: Mapping[str, Any]) -> None:
        """Note a received message by its rclpy message info."""
        number, publisher = info.get("publication_sequence_number"), info.get("publisher_gid")
        if number is None or publisher is None:
            return
        newest = self._newest.get(publisher["data"])
        if newest is not None:
            self.count += max(number - newest - 1, 0)
        self._newest[publisher["data"]] = max(number, newest or 0)


def resolved_topic(node: Node, parameter: str, topic: str) -> str:
    """Return the full name of a topic that a user gave in a parameter.

    Raises:
        ConfigurationError: it is no name of a topic.
    """
    try:
        resolved: str = node.resolve_topic_name(topic)
    except Exception as error:  # rclpy's own types, which differ by distribution
        raise ConfigurationError(
            f"parameter '{parameter}' is '{topic}', which is no topic name: "
            f"{str(error).partition(', at ')[0]}"
        ) from error
    return resolved


class ExplainableInput(Protocol):
    """An input that can say in one sentence how it is."""

    def explain(self) -> str:
        """Say what is known about this input."""


class WaitingReport:
    """Says, after `after_s` seconds without output, which inputs a node lacks.

    Args:
        node: the node, for its log.
        inputs: returns the inputs that are open now.
        after_s: silence before the first report and between two reports [s].
        notes: returns further reasons in words (missing transforms, best sync gap).
    """

    def __init__(
        self,
        node: Node,
        inputs: Callable[[], Sequence[ExplainableInput]],
        after_s: float,
        notes: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._node = node
        self._inputs = inputs
        self._notes = notes
        self._after_s = after_s
        self._last_output_s = time.monotonic()
        self._last_log_s = self._last_output_s

    def output(self) -> None:
        """Note that the node produced output."""
        self._last_output_s = time.monotonic()

    def describe(self, status: Status) -> None:
        """Warn in the status, and in the log at most every `after_s`, while there is no output."""
        now = time.monotonic()
        silent_s = now - self._last_output_s
        status.value("seconds_since_output", silent_s)
        if silent_s < self._after_s:
            return
        reasons = [source.explain() for source in self._inputs()] + list(self._notes())
        text = f"no output for {silent_s:.0f} s, waiting for: " + " | ".join(reasons)
        status.warn(text)
        if now - self._last_log_s >= self._after_s:
            self._last_log_s = now
            self._node.get_logger().warning(text)
