"""A subscription to one topic that hands over undecoded messages and adapts to the publishers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

from sensorium.bags import OfferedQos
from sensorium.ros.raw_topics import (
    asked_as_offer,
    message_class,
    overrides,
    recording_profile,
)


class RawSubscription:
    """Receives the serialised messages of one topic.

    Args:
        node: the node.
        topic: topic name.
        type_name: message type, e.g. "sensor_msgs/msg/Image".
        offers: what the publishers offer; the strongest QoS compatible with all is asked for.
        receive: called with each message (CDR).

    Attributes:
        lost: messages that DDS reports as lost before they came here.

    Raises:
        MissingTypeSupportError: the type has no type support here.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        type_name: str,
        offers: Sequence[OfferedQos],
        receive: Callable[[bytes], None],
    ) -> None:
        self._node = node
        self._topic = topic
        self._class = message_class(type_name)
        self._receive = receive
        self._lost_before = self._lost = 0
        self._profile = recording_profile(offers)
        self._subscription = self._subscribe()

    @property
    def lost(self) -> int:
        """Messages lost by DDS."""
        return self._lost_before + self._lost

    def adapt(self, offers: Sequence[OfferedQos]) -> None:
        """Subscribe anew when a publisher has come that offers less than is asked for."""
        profile = recording_profile([*offers, asked_as_offer(self._profile)])
        if (profile.reliability, profile.durability) == (
            self._profile.reliability,
            self._profile.durability,
        ):
            return
        self._node.get_logger().warning(
            f"{self._topic}: a publisher offers less than was asked for; subscribing anew as "
            f"{profile.reliability.name.lower()}, {profile.durability.name.lower()}"
        )
        self._profile = profile
        self._lost_before, self._lost = self.lost, 0
        self.close()
        self._subscription = self._subscribe()

    def close(self) -> None:
        """Destroy the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self) -> Any:  # noqa: ANN401 - rclpy is untyped here
        return self._node.create_subscription(
            self._class,
            self._topic,
            self._receive,
            self._profile,
            raw=True,
            event_callbacks=SubscriptionEventCallbacks(message_lost=self._note_lost),
            qos_overriding_options=overrides(self._node, self._topic),
        )

    def _note_lost(self, event: Any) -> None:  # noqa: ANN401 - type differs by distribution
        self._lost = event.total_count
