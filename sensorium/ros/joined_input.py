"""A cloud and the segmentation of the same picture into a node, joined by their stamp."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, PointCloud2
from sensorium_ros.msg import Segments

from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.header import stamp_from_time
from sensorium.ros.diagnostics import Status
from sensorium.ros.inputs import MonitoredSubscription
from sensorium.ros.stamps import StampGuard, StampVerdict
from sensorium.ros.sync import Synchronizer

_CLOUD = "points"


@dataclass(frozen=True, eq=False)
class JoinedPicture:
    """Messages of one stamp: sensor_msgs/PointCloud2 and Image, sensorium_ros/Segments."""

    points: Any
    panoptic: Any
    confidence: Any
    segments: Any


class JoinedInput:
    """Subscribes to a cloud and the three topics of a segmentation node; stamps must be equal.

    Clouds wait for the segmentation, which is slower; one for which none comes is dropped.

    Args:
        node: the node.
        cloud_topic: organised cloud.
        segmentation: name of the segmentation node, whose topics lie below it.
        store: called with each complete picture; must only store.
        on_restart: called when stamps go back by more than a second.
        refuse: called with a reason and a text for a message that cannot be used.
        qos: returns a new profile.
        depth: messages kept per topic.
    """

    def __init__(
        self,
        node: Node,
        cloud_topic: str,
        segmentation: str,
        store: Callable[[JoinedPicture], None],
        on_restart: Callable[[], None],
        refuse: Callable[[str, str], None],
        qos: Callable[[], QoSProfile],
        depth: int,
    ) -> None:
        self._on_restart = on_restart
        self._refuse = refuse
        self._depth = depth
        self.clock_restarts = 0
        topics: dict[str, tuple[Any, str]] = {
            _CLOUD: (PointCloud2, cloud_topic),
            "panoptic": (Image, f"{segmentation}/panoptic"),
            "confidence": (Image, f"{segmentation}/confidence"),
            "segments": (Segments, f"{segmentation}/segments"),
        }
        self._sync = Synchronizer(
            tuple(topics), lambda found: store(JoinedPicture(**found)), 0, depth
        )
        self._restarted: set[str] = set()
        self._guards = {name: StampGuard() for name in topics}
        self.inputs = {
            name: MonitoredSubscription(
                node, message_type, topic, functools.partial(self._receive, name), qos()
            )
            for name, (message_type, topic) in topics.items()
        }

    def close(self) -> None:
        """Destroy the subscriptions and drop what waits."""
        for source in self.inputs.values():
            source.close()
        self._sync.reset()

    def describe(self, status: Status) -> None:
        """Add counts of what was received, joined and dropped to a status."""
        for name, source in self.inputs.items():
            source.describe(status, f"input.{name}")
            status.value(f"input.{name}.unmatched", self._sync.unmatched(name))
        status.value("input.waiting", self._sync.counts.held)
        status.value("input.out_of_order", self._sync.counts.disordered)
        status.value("clock_restarts", self.clock_restarts)

    def notes(self) -> Sequence[str]:
        """Say why nothing is joined although messages come."""
        cloud_ns, other_ns = self._sync.newest_ns(_CLOUD), self._sync.newest_ns("segments")
        if cloud_ns is None or other_ns is None:
            return ()
        late_s = (cloud_ns - other_ns) / 1e9
        topic = self.inputs[_CLOUD].topic
        text = (
            f"no stamp of {topic} equals one of {self.inputs['segments'].topic}: the newest are "
            f"{cloud_ns / 1e9:.3f} s and {other_ns / 1e9:.3f} s"
        )
        if late_s > 0:
            return (
                f"{text}; segmentation is {late_s:.1f} s behind and {self._depth} clouds wait: "
                "give both nodes the same pictures, make them come more slowly, or raise 'buffer'",
            )
        return (f"{text}; clouds are {-late_s:.1f} s behind: give both nodes the same pictures",)

    def _receive(self, name: str, message: Any) -> None:  # noqa: ANN401 - generated types
        try:
            stamp_ns = stamp_from_time(message.header.stamp)
        except ConversionError as error:
            self._refuse("unusable", f"{self.inputs[name].topic}: {error}")
            return
        if self._guards[name].check(stamp_ns) is StampVerdict.RESTART:
            self._begin_anew(name)
        self._sync.add(name, stamp_ns, message)

    def _begin_anew(self, name: str) -> None:
        """Forget the time before: of all topics with the first that goes back, then one by one."""
        if self._restarted and name not in self._restarted:
            self._restarted.add(name)
            self._sync.forget(name)
        else:
            self._restarted = {name}
            self.clock_restarts += 1
            self._sync.reset()
            self._on_restart()
        if len(self._restarted) == len(self._guards):
            self._restarted = set()
