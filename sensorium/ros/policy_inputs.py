"""What a policy observes: the topics of its contract, converted and kept until asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any

from rclpy.node import Node
from sensorium_ros.msg import TokensInfo

from sensorium.policy.contract import Contract
from sensorium.policy.kinematics import Kinematics
from sensorium.policy.observations import Observation
from sensorium.policy.rejections import Rejection
from sensorium.ros.color_input import open_color_input
from sensorium.ros.diagnostics import Rejections, Status
from sensorium.ros.inputs import MonitoredSubscription
from sensorium.ros.policy_observer import REFUSALS, ObservedTopic, PolicyObserver
from sensorium.ros.qos import LATCHED_QOS, qos_profile
from sensorium.ros.tf import TransformListener
from sensorium.ros.worker import NewestOnlyWorker


class PolicyInputs:
    """Subscribes to what a policy needs; converts in a thread of its own.

    Args:
        node: the node.
        contract: which topic makes which feature.
        needed: the features that the policy reads; others of the contract are not subscribed.
        kinematics: the chain to the tip, where the contract needs it.
        rejections: takes messages that make no feature.
        now_ns: reads the ROS clock.
        changed: called from the converting thread after each new value.
        qos: name of the subscriptions' QoS.
    """

    def __init__(
        self,
        node: Node,
        contract: Contract,
        needed: Collection[str],
        kinematics: Kinematics | None,
        *,
        rejections: Rejections,
        now_ns: Callable[[], int],
        changed: Callable[[], None],
        qos: str,
    ) -> None:
        self._node = node
        self._rejections = rejections
        self._now_ns = now_ns
        self._changed = changed
        self._qos = qos
        self._observer = PolicyObserver(contract, needed, kinematics, now_ns)
        self._listener: TransformListener | None = None
        self.sources: list[Any] = []
        self._converting: NewestOnlyWorker[tuple[ObservedTopic, Any, int]] = NewestOnlyWorker(
            "policy_inputs", self._convert, self._report
        )
        self._subscribe()
        self._converting.start()

    @property
    def clock_restarts(self) -> int:
        """How often the clock went back and everything was forgotten."""
        return self._observer.clock_restarts

    def observe(self) -> Observation | list[Rejection]:
        """Return the observation of this moment, or every reason why there is none."""
        return self._observer.observe()

    def close(self) -> None:
        """Unsubscribe and end the thread."""
        for source in self.sources:
            source.close()
        self.sources = []
        if self._listener is not None:
            self._listener.close()
        self._converting.stop()

    def describe(self, status: Status) -> None:
        """Add counts of every input to a status."""
        for source in self.sources:
            source.describe(status, source.topic)
        status.value("inputs_superseded", self._converting.counts.superseded)
        status.value("clock_restarts", self.clock_restarts)

    def _subscribe(self) -> None:
        observer = self._observer
        if observer.layout_topics:
            self._listener = TransformListener(self._node, observer.transforms)
        for bank_topic, layout_topic in observer.layout_topics.items():
            self.sources.append(
                MonitoredSubscription(
                    self._node, TokensInfo, layout_topic,
                    functools.partial(observer.note_layout, bank_topic),
                    qos_profile(LATCHED_QOS),
                )
            )  # fmt: skip
        for source in observer.topics:
            store = self._storing(source)
            if source.picture_type:
                opened: Any = open_color_input(
                    self._node, source.picture_type, source.topic, store, qos_profile(self._qos)
                )
            else:
                opened = MonitoredSubscription(
                    self._node, source.message_type, source.topic, store,
                    qos_profile(self._qos, source.depth),
                )  # fmt: skip
            self.sources.append(opened)

    def _storing(self, source: ObservedTopic) -> Callable[[Any], None]:
        def store(message: Any) -> None:  # noqa: ANN401 - any of the inputs
            self._converting.submit((source, message, self._now_ns()), source.names[0])

        return store

    def _convert(self, item: tuple[ObservedTopic, Any, int]) -> None:
        source, message, received_ns = item
        try:
            self._observer.take(source, message, received_ns)
        except REFUSALS as refusal:
            self._rejections.add("input_refused", f"{source.names[0]}: {refusal}")
            return
        self._changed()

    def _report(self, item: tuple[ObservedTopic, Any, int], error: Exception) -> None:
        self._rejections.add("input_failed", f"{item[0].names[0]}: {error!r}")
