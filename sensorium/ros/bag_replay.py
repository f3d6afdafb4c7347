"""The thread that replays a bag: rounds, waiting for subscribers, lateness."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from sensorium.bags import BagError, BagMessage, BagReader, PlaybackTimeline
from sensorium.ros.diagnostics import Durations, Status
from sensorium.ros.raw_publishers import RawPublishers

_LATE_S = 0.05
_SETTLE_S = 0.2
# A loop over a bag of one message must not fill the network.
_SHORTEST_ROUND_NS = 100_000_000

# States, as announced.
WAITING, PLAYING, PAUSED, FINISHED, FAILED = (
    "waiting for subscribers", "playing", "paused", "finished", "failed",
)  # fmt: skip


class BagReplay:
    """Publishes the messages of a bag when they are due.

    Args:
        bag: the open bag.
        publishers: where its messages go.
        timeline: the bag time; it stands at the start of the range when this is made.
        range_ns: first and last stamp to replay [ns].
        loops: says at the end of a round whether another one follows.
        announce: called in the thread with each new state.
        at_start: called in the thread when the bag time begins a round.
        log: the node's logger.

    Attributes:
        state: the state announced last.
        problem: why the replay failed; empty otherwise.
        rounds: complete rounds.
    """

    def __init__(
        self,
        bag: BagReader,
        publishers: RawPublishers,
        timeline: PlaybackTimeline,
        range_ns: tuple[int, int],
        *,
        loops: Callable[[], bool],
        announce: Callable[[str], None],
        at_start: Callable[[], None],
        log: Any,  # noqa: ANN401 - rclpy is untyped here
    ) -> None:
        self.state = ""
        self.problem = ""
        self.rounds = 0
        self._bag = bag
        self._publishers = publishers
        self._timeline = timeline
        self._start_ns, self._end_ns = range_ns
        self._round_end_ns = max(self._end_ns, self._start_ns + _SHORTEST_ROUND_NS)
        self._loops = loops
        self._announce = announce
        self._at_start = at_start
        self._log = log
        self._lateness, self._worst_lateness_s = Durations(), 0.0
        self._cancelled = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, wait_s: float, wait_for: Sequence[str]) -> None:
        """Begin, after waiting up to `wait_s` for subscribers of the topics `wait_for`."""
        self._thread = threading.Thread(
            target=self._run, args=(wait_s, wait_for), name="replay", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the replay."""
        self._cancelled.set()
        self._timeline.cancel()
        if self._thread is not None:
            self._thread.join()

    def enter(self, state: str) -> None:
        """Note and announce a state."""
        self.state = state
        self._announce(state)

    def describe(self, status: Status) -> None:
        """Add state, rounds and lateness to a status."""
        status.value("state", self.state)
        status.value("rounds", self.rounds)
        self._lateness.describe(status, "lateness")
        status.value("lateness_max_ms", self._worst_lateness_s * 1e3)
        if self._worst_lateness_s > _LATE_S:
            status.warn(f"messages were up to {self._worst_lateness_s * 1e3:.0f} ms late")
        if self.problem:
            status.error(self.problem)

    def _run(self, wait_s: float, wait_for: Sequence[str]) -> None:
        try:
            if wait_s > 0:
                self._wait_for_subscribers(wait_s, wait_for)
            while not self._cancelled.is_set():
                self.enter(PAUSED if self._timeline.paused else PLAYING)
                self._play_round()
                self.rounds += not self._cancelled.is_set()
                if not self._loops():
                    break
            if not self._cancelled.is_set():
                self._log.info(
                    f"replayed {sum(self._publishers.published.values())} messages in "
                    f"{self.rounds} round(s), at most {self._worst_lateness_s * 1e3:.1f} ms late"
                )
                self.enter(FINISHED)
        except BagError as error:
            self._fail(str(error))
        except Exception as error:
            self._fail(f"replay failed: {error!r}")
            self._log.error(traceback.format_exc())

    def _play_round(self) -> None:
        publishers, bag = self._publishers, self._bag
        taken_before = publishers.taken
        if self._start_ns > bag.start_ns:
            # Whoever begins in the middle needs what was latched before.
            for message in bag.messages(publishers.durable, stop_ns=self._start_ns):
                publishers.publish(message)
        self._timeline.start(self._start_ns, self._round_end_ns)
        self._at_start()
        for message in bag.messages(publishers.topics, self._start_ns, self._end_ns + 1):
            if not self._timeline.wait_until(message.stamp_ns):
                return
            self._publish_due(message)
        whole = (self._start_ns, self._end_ns) == (bag.start_ns, bag.end_ns)
        taken = publishers.taken - taken_before
        if whole and taken != publishers.expected:
            raise BagError(
                f"the index of {bag.path} promises {publishers.expected} messages, but it held "
                f"{taken}; repair it with `ros2 bag reindex`"
            )
        self._timeline.wait_until(self._round_end_ns)

    def _publish_due(self, message: BagMessage) -> None:
        lateness_s = self._timeline.lateness_s(message.stamp_ns)
        self._lateness.add(lateness_s)
        self._worst_lateness_s = max(self._worst_lateness_s, lateness_s)
        self._publishers.publish(message)

    def _wait_for_subscribers(self, wait_s: float, wait_for: Sequence[str]) -> None:
        self.enter(WAITING)
        deadline = time.monotonic() + wait_s
        while missing := self._publishers.without_subscriber(wait_for):
            if time.monotonic() > deadline:
                self._log.warning(
                    f"no subscriber after {wait_s:g} s on {', '.join(missing)}: replaying anyway"
                )
                break
            if self._cancelled.wait(0.02):
                return
        # A best-effort subscriber is matched a little later on its own side.
        self._cancelled.wait(_SETTLE_S)

    def _fail(self, text: str) -> None:
        self.problem = text
        self._log.error(text)
        self.enter(FAILED)
