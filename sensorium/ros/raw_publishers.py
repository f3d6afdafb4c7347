"""One publisher per topic of a bag; messages go out as they were recorded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node

from sensorium.bags import (
    BagError,
    BagMessage,
    BagTopic,
    MessageDefinitions,
    definition_hash,
)
from sensorium.ros.diagnostics import Status
from sensorium.ros.raw_topics import (
    MissingTypeSupportError,
    message_class,
    overrides,
    replay_profile,
)

# tf2 listeners keep this many static transforms.
_TF2_STATIC_DEPTH = 100


class RawPublishers:
    """Publishers of the topics of a bag.

    Args:
        node: the node.
        topics: the topics to publish.
        remaps: "/recorded:=/published" each.
        reliability: see replay_profile.
        own_clock: True when the node publishes /clock itself: a recorded one is left out.

    Attributes:
        skipped: {topic: why it is not published}.
        published: messages published, by recorded topic.
        taken: messages given to :meth:`publish`.

    Raises:
        BagError: a remap is not understood, or no topic is left.
    """

    def __init__(
        self,
        node: Node,
        topics: Sequence[BagTopic],
        remaps: Sequence[str],
        reliability: str,
        *,
        own_clock: bool,
    ) -> None:
        self._node = node
        self.skipped: dict[str, str] = {}
        self.published: Counter[str] = Counter()
        self.taken = 0
        self._failed: Counter[str] = Counter()
        self._publishers: dict[str, Any] = {}
        self._topics: dict[str, BagTopic] = {}
        names = _renamed(remaps, [topic.name for topic in topics])
        definitions = MessageDefinitions()
        for topic in topics:
            if topic.name == "/clock" and own_clock:
                self.skipped[topic.name] = "the player publishes its own clock"
                continue
            try:
                found = message_class(topic.type_name)
                _require_same_definition(topic, definitions)
            except (MissingTypeSupportError, BagError) as error:
                self.skipped[topic.name] = str(error)
                continue
            name = names.get(topic.name, topic.name)
            self._publishers[topic.name] = node.create_publisher(
                found,
                name,
                replay_profile(topic, reliability),
                qos_overriding_options=overrides(node, name),
            )
            self._topics[topic.name] = topic
            self._warn_about_statics(topic)
        for name, reason in self.skipped.items():
            node.get_logger().warning(f"{name} is not replayed: {reason}")
        if not self._publishers:
            self.close()
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.skipped.items())
            raise BagError(f"no topic is left to replay ({reasons or 'the filter takes none'})")

    @property
    def topics(self) -> frozenset[str]:
        """Recorded names of the topics that are published."""
        return frozenset(self._topics)

    @property
    def durable(self) -> frozenset[str]:
        """Those that late joiners must get."""
        return frozenset(name for name, topic in self._topics.items() if topic.is_durable)

    @property
    def expected(self) -> int:
        """Messages that the whole bag holds of these topics."""
        return sum(topic.message_count for topic in self._topics.values())

    def publish(self, message: BagMessage) -> None:
        """Publish one message; a failure is counted and logged, and does not stop the others."""
        self.taken += 1
        try:
            self._publishers[message.topic].publish(message.data)
        except Exception as error:
            if not self._node.context.ok():
                return
            self._failed[message.topic] += 1
            self._node.get_logger().error(
                f"publishing a message of {message.topic} failed: {error}",
                throttle_duration_sec=5.0,
            )
            return
        self.published[message.topic] += 1

    def without_subscriber(self, topics: Sequence[str]) -> list[str]:
        """Return which of `topics` have no subscriber; empty means all that are not latched."""
        names = topics or sorted(self.topics - self.durable)
        return [
            name
            for name in names
            if name in self._publishers and not self._publishers[name].get_subscription_count()
        ]

    def wait_acknowledged(self, timeout_s: float) -> bool:
        """Wait until reliable subscribers have everything; False when that takes too long."""
        deadline = time.monotonic() + timeout_s
        for publisher in self._publishers.values():
            # Polling: the call itself would hold the interpreter while it waits.
            while not publisher.wait_for_all_acked(Duration(seconds=0)):
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.01)
        return True

    def describe(self, status: Status) -> None:
        """Add counts per topic, and warn about what is not replayed."""
        failed = sum(self._failed.values())
        status.value("taken", self.taken)
        status.value("published", sum(self.published.values()))
        status.value("failed", failed)
        for name in sorted(self._topics):
            status.value(f"published.{name}", self.published[name])
        if failed:
            status.error(f"publishing failed for {failed} messages of {', '.join(self._failed)}")
        for name, reason in self.skipped.items():
            status.value(f"skipped.{name}", reason)
        missing = [name for name in self.skipped if name != "/clock"]
        if missing:
            status.warn(f"not replayed: {', '.join(missing)}")

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers.clear()

    def _warn_about_statics(self, topic: BagTopic) -> None:
        if topic.name.endswith("/tf_static") and topic.message_count > _TF2_STATIC_DEPTH:
            self._node.get_logger().warning(
                f"{topic.name} has {topic.message_count} messages; all are kept for late joiners, "
                f"but a tf2 listener that joins late keeps only the last {_TF2_STATIC_DEPTH}"
            )


def _require_same_definition(topic: BagTopic, definitions: MessageDefinitions) -> None:
    """Refuse a type that was recorded with other fields than the installed one has."""
    recorded = topic.type_hash
    if not recorded and topic.definition:
        recorded = definition_hash(topic.type_name, topic.definition)
    if not recorded:
        return
    try:
        installed = definitions.of(topic.type_name).type_hash
    except BagError:
        return  # type support without .msg text: nothing to compare
    if installed != recorded:
        raise BagError(
            f"{topic.type_name} was recorded with another definition than the installed one "
            f"({recorded[:16]} against {installed[:16]}); subscribers would misread it. Install "
            "the version it was recorded with"
        )


def _renamed(remaps: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for remap in remaps:
        recorded, separator, published = remap.partition(":=")
        if not separator or not recorded or not published:
            raise BagError(f"remap '{remap}' is not of the form '/recorded:=/published'")
        if recorded not in known:
            raise BagError(
                f"remap '{remap}': {recorded} is not replayed; replayed are {', '.join(known)}"
            )
        names[recorded] = published
    return names
