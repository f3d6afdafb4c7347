"""Exact and approximate synchronisation of topics that a driver publishes separately.

ROS-free in substance: stamps are integer nanoseconds and messages are opaque.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SyncCounts:
    """What became of synchronised messages.

    Attributes:
        received: messages added, over all topics.
        matched: messages that left in a complete set.
        unmatched: messages dropped because no partner came.
        disordered: messages refused because their stamp is not newer than the one before.
        held: messages still waiting.
    """

    received: int
    matched: int
    unmatched: int
    disordered: int
    held: int


class Synchronizer:
    """Joins one message of each topic into sets.

    Exact (slop 0): equal stamps. Approximate: for the oldest waiting message of the slowest topic,
    the nearest of every other topic, when all lie within `slop_ns`. A set leaves as soon as no
    later message could match better; what can no longer match is dropped and counted.

    Args:
        topics: names of the topics, at least two; the first one is the pivot whose stamp a set has.
        callback: called with {topic: message} of a complete set.
        slop_ns: largest difference between the pivot's stamp and another [ns]; 0 is exact.
        depth: messages kept per topic.
    """

    def __init__(
        self,
        topics: Sequence[str],
        callback: Callable[[dict[str, Any]], None],
        slop_ns: int,
        depth: int = 10,
    ) -> None:
        if len(topics) < 2 or len(set(topics)) != len(topics):
            raise ValueError(
                f"synchronising needs two or more different topics, got {list(topics)}"
            )
        if slop_ns < 0 or depth < 1:
            raise ValueError(f"slop_ns {slop_ns} must not be negative and depth {depth} at least 1")
        self._pivot = topics[0]
        self._others = tuple(topics[1:])
        self._callback = callback
        self._slop_ns = slop_ns
        self._depth = depth
        self._queues: dict[str, deque[tuple[int, Any]]] = {topic: deque() for topic in topics}
        self._newest: dict[str, int] = {}
        self._received = self._matched = self._disordered = 0
        self._unmatched: Counter[str] = Counter()
        self.best_gap_ns: int | None = None

    def add(self, topic: str, stamp_ns: int, message: Any) -> None:  # noqa: ANN401 - opaque
        """Add a message; complete sets are handed to the callback before this returns."""
        self._received += 1
        if stamp_ns <= self._newest.get(topic, -1):
            self._disordered += 1
            return
        self._newest[topic] = stamp_ns
        queue = self._queues[topic]
        queue.append((stamp_ns, message))
        if len(queue) > self._depth:
            queue.popleft()
            self._unmatched[topic] += 1
        self._match()

    def reset(self) -> None:
        """Drop what waits and forget the newest stamps (after a jump of the clock)."""
        for topic in self._queues:
            self.forget(topic)

    def forget(self, topic: str) -> None:
        """Drop what waits of one topic and forget its newest stamp (it alone jumped back)."""
        self._unmatched[topic] += len(self._queues[topic])
        self._queues[topic].clear()
        self._newest.pop(topic, None)

    @property
    def counts(self) -> SyncCounts:
        """The counts so far."""
        held = sum(len(queue) for queue in self._queues.values())
        unmatched = self._unmatched.total()
        return SyncCounts(self._received, self._matched, unmatched, self._disordered, held)

    def unmatched(self, topic: str) -> int:
        """Messages of one topic that were dropped because no partner came."""
        return self._unmatched[topic]

    def newest_ns(self, topic: str) -> int | None:
        """The newest stamp of one topic [ns]; None before its first message."""
        return self._newest.get(topic)

    def _match(self) -> None:
        pivots = self._queues[self._pivot]
        while pivots:
            stamp_ns, message = pivots[0]
            chosen: dict[str, int] = {}
            for topic in self._others:
                newest_ns = self._newest.get(topic, -1)
                gaps = [abs(candidate - stamp_ns) for candidate, _ in self._queues[topic]]
                index = min(range(len(gaps)), key=gaps.__getitem__, default=None)
                if index is None or gaps[index] > self._slop_ns:
                    if newest_ns < stamp_ns + self._slop_ns:
                        return  # a partner may still come
                    self._note_gap(gaps)
                    break
                if gaps[index] > 0 and newest_ns < stamp_ns:
                    return  # a later message may be nearer
                chosen[topic] = index
            else:
                self._emit(stamp_ns, message, chosen)
                continue
            pivots.popleft()
            self._unmatched[self._pivot] += 1

    def _emit(self, stamp_ns: int, message: Any, chosen: dict[str, int]) -> None:  # noqa: ANN401
        self._queues[self._pivot].popleft()
        result = {self._pivot: message}
        worst = 0
        for topic, index in chosen.items():
            queue = self._queues[topic]
            for _ in range(index):
                queue.popleft()
                self._unmatched[topic] += 1
            other_ns, result[topic] = queue.popleft()
            worst = max(worst, abs(other_ns - stamp_ns))
        self._matched += len(result)
        self.best_gap_ns = worst if self.best_gap_ns is None else min(self.best_gap_ns, worst)
        self._callback(result)

    def _note_gap(self, gaps: list[int]) -> None:
        if gaps:
            gap = min(gaps)
            self.best_gap_ns = gap if self.best_gap_ns is None else min(self.best_gap_ns, gap)
