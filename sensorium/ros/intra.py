"""Hand-over of arrays between nodes of one process, without serialising.

rclpy has no intra-process communication: two nodes of one process still serialise every message. A
node that publishes frames offers them here as well, under the fully resolved topic name; a
subscriber in the same process takes them from here and keeps no DDS subscription meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

Receiver = Callable[[Any], None]
Listener = Callable[[bool], None]


class IntraProcessBus:
    """Topics of one process: who offers, who receives."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._offers: dict[str, int] = {}
        self._receivers: dict[str, list[tuple[Receiver, Listener]]] = {}

    def offer(self, topic: str) -> None:
        """Announce that frames of `topic` will be handed over in this process."""
        with self._lock:
            self._offers[topic] = self._offers.get(topic, 0) + 1
            if self._offers[topic] == 1:
                self._announce(topic, True)

    def withdraw(self, topic: str) -> None:
        """Take one offer back."""
        with self._lock:
            self._offers[topic] -= 1
            if self._offers[topic] == 0:
                del self._offers[topic]
                self._announce(topic, False)

    def receive(self, topic: str, receiver: Receiver, on_offer: Listener) -> Callable[[], None]:
        """Register a receiver; returns the function that removes it.

        Args:
            topic: fully resolved topic name.
            receiver: called in the publisher's thread with each frame; must only store.
            on_offer: called with True when an offer exists or appears, with False when the last one
                goes away.
        """
        entry = (receiver, on_offer)
        with self._lock:
            self._receivers.setdefault(topic, []).append(entry)
            on_offer(topic in self._offers)

        def remove() -> None:
            with self._lock:
                self._receivers[topic].remove(entry)

        return remove

    def publish(self, topic: str, frame: object) -> int:
        """Hand a frame to every receiver in this process; returns how many took it.

        Receivers share the object: nobody may write to its arrays afterwards.
        """
        with self._lock:
            receivers = list(self._receivers.get(topic, ()))
        for receiver, _ in receivers:
            receiver(frame)
        return len(receivers)

    def has_receiver(self, topic: str) -> bool:
        """True when somebody in this process receives `topic`."""
        with self._lock:
            return bool(self._receivers.get(topic))

    def _announce(self, topic: str, is_offered: bool) -> None:
        for _, on_offer in list(self._receivers.get(topic, ())):
            on_offer(is_offered)


BUS = IntraProcessBus()
