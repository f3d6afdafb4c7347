"""A transform buffer over /tf and /tf_static that looks up at the message's own stamp."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right, insort
from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from sensorium.poses import Float64, PoseError, interpolate, inverse, pose_from_quaternion

_TF_QOS = QoSProfile(depth=100)
_TF_STATIC_QOS = QoSProfile(
    depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE
)


class TransformError(LookupError):
    """No transform between two frames at a time; the text says which link is missing or too old.

    Attributes:
        may_arrive: True when only newer transforms of a known link are lacking, so that waiting
            helps.
    """

    def __init__(self, text: str, *, may_arrive: bool = False) -> None:
        super().__init__(text)
        self.may_arrive = may_arrive


class _Edge:
    """The transforms of one child frame to its parent, by stamp."""

    __slots__ = ("is_static", "parent", "poses", "stamps")

    def __init__(self, parent: str, is_static: bool) -> None:
        self.parent = parent
        self.is_static = is_static
        self.stamps: list[int] = []
        self.poses: dict[int, Float64] = {}

    def add(self, stamp_ns: int, pose: Float64, cache_ns: int) -> None:
        if self.is_static:
            self.stamps, self.poses = [stamp_ns], {stamp_ns: pose}
            return
        if self.stamps and stamp_ns < self.stamps[-1] - cache_ns:
            # The clock went back (a bag looped): what was known belongs to another time.
            self.stamps, self.poses = [], {}
        if stamp_ns not in self.poses:
            insort(self.stamps, stamp_ns)
        self.poses[stamp_ns] = pose
        while self.stamps[0] < self.stamps[-1] - cache_ns:
            del self.poses[self.stamps.pop(0)]

    def at(self, child: str, stamp_ns: int) -> Float64:
        if self.is_static:
            return self.poses[self.stamps[0]]
        after = bisect_right(self.stamps, stamp_ns)
        if after > 0 and self.stamps[after - 1] == stamp_ns:
            return self.poses[stamp_ns]
        if after == 0 or after == len(self.stamps):
            first, last = self.stamps[0] / 1e9, self.stamps[-1] / 1e9
            raise TransformError(
                f"transform {self.parent} <- {child} is known from {first:.3f} s to {last:.3f} s, "
                f"asked for {stamp_ns / 1e9:.3f} s",
                may_arrive=after > 0,
            )
        before_ns, after_ns = self.stamps[after - 1], self.stamps[after]
        fraction = (stamp_ns - before_ns) / (after_ns - before_ns)
        return interpolate(self.poses[before_ns], self.poses[after_ns], fraction)


class TransformBuffer:
    """Keeps `cache_s` seconds of transforms. Thread-safe; without ROS until :meth:`listen`."""

    def __init__(self, cache_s: float = 10.0) -> None:
        self._cache_ns = int(cache_s * 1e9)
        self._edges: dict[str, _Edge] = {}
        self._condition = threading.Condition()
        self.rejected = 0

    def set(
        self, parent: str, child: str, stamp_ns: int, parent_from_child: Float64, is_static: bool
    ) -> None:
        """Store one transform; a frame that changes its parent loses its history."""
        with self._condition:
            edge = self._edges.get(child)
            if edge is None or edge.parent != parent or edge.is_static != is_static:
                edge = self._edges[child] = _Edge(parent, is_static)
            edge.add(stamp_ns, parent_from_child, self._cache_ns)
            self._condition.notify_all()

    def lookup(self, target: str, source: str, stamp_ns: int, timeout_s: float = 0.0) -> Float64:
        """Return ``target_from_source`` (4, 4) at `stamp_ns`, interpolated, never extrapolated.

        Waits up to `timeout_s` for newer transforms of links that are known; call it from a worker,
        not from the executor's thread, when the timeout is not 0.

        Raises:
            TransformError: the frames are not connected or the stamp lies outside what is known.
        """
        deadline = time.monotonic() + timeout_s
        with self._condition:
            while True:
                try:
                    return self._lookup(target, source, stamp_ns)
                except TransformError as error:
                    remaining = deadline - time.monotonic()
                    if remaining <= 0 or not error.may_arrive:
                        raise
                    self._condition.wait(remaining)

    def clear(self) -> None:
        """Forget the moving transforms; static ones are published once and stay."""
        with self._condition:
            self._edges = {name: edge for name, edge in self._edges.items() if edge.is_static}

    def _lookup(self, target: str, source: str, stamp_ns: int) -> Float64:
        target_chain, source_chain = self._chain(target), self._chain(source)
        known = set(target_chain)
        common = next((frame for frame in source_chain if frame in known), None)
        if common is None:
            raise TransformError(
                f"no connection between {target} and {source}: "
                f"{target} leads to {target_chain[-1]}, {source} to {source_chain[-1]}"
            )
        common_from_source = self._product(source_chain, common, stamp_ns)
        if target == common:
            return common_from_source
        return inverse(self._product(target_chain, common, stamp_ns)) @ common_from_source

    def _chain(self, frame: str) -> list[str]:
        chain = [frame]
        while chain[-1] in self._edges:
            parent = self._edges[chain[-1]].parent
            if parent in chain:
                raise TransformError(f"transforms form a loop: {' -> '.join([*chain, parent])}")
            chain.append(parent)
        return chain

    def _product(self, chain: Sequence[str], ancestor: str, stamp_ns: int) -> Float64:
        pose = np.eye(4)
        for frame in chain:
            if frame == ancestor:
                break
            pose = self._edges[frame].at(frame, stamp_ns) @ pose
        return pose


class TransformListener:
    """Fills a buffer from /tf and /tf_static (remappable to a namespace, as in Nav2).

    Raises:
        ImportError: tf2_msgs is not installed.
    """

    def __init__(self, node: Node, buffer: TransformBuffer) -> None:
        from tf2_msgs.msg import TFMessage

        self._node = node
        self._buffer = buffer
        self._subscriptions = [
            node.create_subscription(
                TFMessage, topic, lambda m, static=static: self._receive(m.transforms, static), qos
            )
            for topic, static, qos in (
                ("/tf", False, _TF_QOS),
                ("/tf_static", True, _TF_STATIC_QOS),
            )
        ]

    def close(self) -> None:
        """Destroy the subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _receive(self, transforms: Sequence[TransformStamped], is_static: bool) -> None:
        for refusal in store_transforms(self._buffer, transforms, is_static):
            self._node.get_logger().warning(refusal, throttle_duration_sec=5.0)


def store_transforms(
    buffer: TransformBuffer, transforms: Sequence[TransformStamped], is_static: bool
) -> list[str]:
    """Store what /tf or /tf_static brought; returns why some of it was rejected (and counted)."""
    refusals = []
    for transform in transforms:
        t, q = transform.transform.translation, transform.transform.rotation
        stamp = transform.header.stamp
        try:
            pose = pose_from_quaternion((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))
        except PoseError as error:
            buffer.rejected += 1
            refusals.append(
                f"rejected transform {transform.header.frame_id} <- "
                f"{transform.child_frame_id}: {error}"
            )
            continue
        stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        buffer.set(transform.header.frame_id, transform.child_frame_id, stamp_ns, pose, is_static)
    return refusals
