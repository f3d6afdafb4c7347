"""RGB-D frames into a node: by DDS, or in memory when the camera lives in the same process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensorium_ros.msg import RgbdFrame as RgbdFrameMessage

from sensorium.frames import RgbdFrame
from sensorium.ros.convert.rgbd_frame import frame_from_message
from sensorium.ros.diagnostics import RateMonitor, Status
from sensorium.ros.inputs import MonitoredSubscription
from sensorium.ros.intra import BUS

# A message when it came by DDS; rclpy has no types that mypy can see.
ReceivedFrame: TypeAlias = "RgbdFrame | RgbdFrameMessage"


class RgbdInput:
    """One topic of RGB-D frames.

    Args:
        node: the node.
        topic: topic name, relative or absolute.
        store: called with each received frame; must only store.
        qos: profile of the subscription.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        store: Callable[[str, ReceivedFrame], None],
        qos: QoSProfile,
    ) -> None:
        self._node = node
        self._store = store
        self._qos = qos
        self._requested = topic
        self.topic: str = node.resolve_topic_name(topic)
        self._subscription: MonitoredSubscription | None = None
        self._in_memory = RateMonitor()
        self._lost_before = self._received_before = 0
        self._leave_bus = BUS.receive(self.topic, self._take, self._on_offer)

    @property
    def received(self) -> int:
        """Frames received, by DDS and in memory."""
        current = self._subscription.received if self._subscription else 0
        return self._in_memory.count + self._received_before + current

    @property
    def lost(self) -> int:
        """Frames that the transport reports as lost."""
        return self._lost_before + (self._subscription.lost if self._subscription else 0)

    def close(self) -> None:
        """Stop receiving."""
        self._leave_bus()
        self._close_subscription()

    def describe(self, status: Status, key: str) -> None:
        """Add counts and rate of the input to a status."""
        source = self._subscription.rate if self._subscription else self._in_memory
        status.value(f"{key}.topic", self.topic)
        status.value(f"{key}.transport", "dds" if self._subscription else "in memory")
        status.value(f"{key}.received", self.received)
        status.value(f"{key}.lost", self.lost)
        status.value(f"{key}.rate_hz", source.rate_hz)
        incompatible = self._subscription.incompatible_qos if self._subscription else ""
        if incompatible:
            status.error(incompatible)

    def explain(self) -> str:
        """Say in one sentence what is known about this input."""
        if self._subscription is not None:
            return self._subscription.explain()
        return f"{self.topic}: offered in this process, {self._in_memory.count} received"

    def _take(self, frame: object) -> None:
        assert isinstance(frame, RgbdFrame)  # noqa: S101 - the bus carries what our outputs offer
        self._in_memory.tick()
        self._store(self.topic, frame)

    def _on_offer(self, is_offered: bool) -> None:
        if is_offered:
            self._close_subscription()
        elif self._subscription is None:
            self._subscription = MonitoredSubscription(
                self._node,
                RgbdFrameMessage,
                self._requested,
                lambda message: self._store(self.topic, message),
                self._qos,
            )

    def _close_subscription(self) -> None:
        if self._subscription is not None:
            self._received_before += self._subscription.received
            self._lost_before += self._subscription.lost
            self._subscription.close()
            self._subscription = None


def as_frame(received: ReceivedFrame) -> RgbdFrame:
    """Return the frame of a message, or the frame itself.

    Raises:
        ConversionError: the message cannot be converted; the text names the part.
    """
    return received if isinstance(received, RgbdFrame) else frame_from_message(received)
