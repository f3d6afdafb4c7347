"""Listens to a simulated gripper's forces, what a network says of them, and what is true."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensorium_ros.msg import SignalBlock, SignalEstimate, WorldState

from sensorium.demo.signal_strip import SignalStrip
from sensorium.ros.convert.header import NS_PER_S, stamp_from_time
from sensorium.ros.qos import qos_profile

_DEPTH = 200
# Longer than any episode; the oldest is forgotten first.
_BLOCKS, _ESTIMATES = 2000, 2000
_FINGERS = ("finger_joint1.force", "finger_joint2.force")
_DRAWN_SAMPLES = 5


class SignalLog:
    """Keeps what came, bounded, and gives it episode by episode.

    Args:
        node: somebody spins it.
        world: name of the world's node.
        estimates: topic of the network.
    """

    def __init__(self, node: Node, world: str, estimates: str) -> None:
        self._lock = threading.Lock()
        self._forces: deque[SignalBlock] = deque(maxlen=_BLOCKS)
        self._truths: deque[SignalBlock] = deque(maxlen=_BLOCKS)
        self._estimates: deque[SignalEstimate] = deque(maxlen=_ESTIMATES)
        self._episode, self._began_ns = 0, 0
        reliable = qos_profile("reliable", _DEPTH)
        for kind, topic, keep in (
            (SignalBlock, f"{world}/force", self._forces.append),
            (SignalBlock, f"{world}/contact_truth", self._truths.append),
            (SignalEstimate, estimates, self._estimates.append),
            (WorldState, f"{world}/state", self._begin),
        ):
            node.create_subscription(kind, topic, self._locked(keep), reliable)

    def episode(self) -> SignalStrip | None:
        """What came since the newest episode began; None without forces."""
        with self._lock:
            began_ns = self._began_ns
            forces, truths = list(self._forces), list(self._truths)
            estimates = [one for one in self._estimates if one.valid]
        stamps, values = _samples(forces, began_ns)
        if not stamps.size:
            return None
        names = list(forces[-1].channel_names)
        fingers = values[:, [names.index(name) for name in _FINGERS]].sum(axis=1)
        drawn = len(fingers) // _DRAWN_SAMPLES * _DRAWN_SAMPLES
        strip = SignalStrip(
            force_s=((stamps[:drawn:_DRAWN_SAMPLES] - began_ns) / NS_PER_S).tolist(),
            force_n=fingers[:drawn].reshape(-1, _DRAWN_SAMPLES).max(axis=1).tolist(),
        )
        truth_stamps, truth = _samples(truths, began_ns)
        truth_of = dict(zip(truth_stamps.tolist(), truth.argmax(axis=1).tolist(), strict=True))
        for estimate in estimates:
            stamp_ns = stamp_from_time(estimate.header.stamp)
            if stamp_ns > began_ns:
                strip.classes = list(estimate.class_names)
                strip.estimate_s.append((stamp_ns - began_ns) / NS_PER_S)
                strip.scores.append([float(score) for score in estimate.scores])
                strip.truth.append(truth_of.get(stamp_ns, -1))
        return strip

    def _begin(self, state: WorldState) -> None:
        if state.episode != self._episode:
            self._episode, self._began_ns = state.episode, stamp_from_time(state.header.stamp)

    def _locked(self, keep: Callable[[Any], None]) -> Callable[[Any], None]:
        def take(message: Any) -> None:  # noqa: ANN401 - generated types
            with self._lock:
                keep(message)

        return take


def _samples(
    blocks: list[SignalBlock], after_ns: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Stamps (n,) and values (n, channels) of blocks, later than a stamp."""
    stamps, values = [np.zeros(0, np.int64)], []
    for block in blocks:
        rows = np.asarray(block.samples, np.float32).reshape(-1, len(block.channel_names))
        period_ns = round(NS_PER_S / block.rate_hz)
        first_ns = stamp_from_time(block.header.stamp)
        stamps.append(first_ns + period_ns * np.arange(len(rows), dtype=np.int64))
        values.append(rows)
    together = np.concatenate(stamps)
    rows = np.concatenate(values) if values else np.zeros((0, 1), np.float32)
    later = together > after_ns
    return together[later], rows[later]
