"""Diagnostics: rate, age, latency, counts and reasons on /diagnostics."""

from __future__ import annotations

import threading
import time
import traceback
import weakref
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node

OK = DiagnosticStatus.OK
WARN = DiagnosticStatus.WARN
ERROR = DiagnosticStatus.ERROR

_WINDOW = 256
# A bag played a hundred times too fast steps by a second; a looped one goes back by its length.
_JUMP_FORWARD_S, _JUMP_BACK_S = 10.0, 1.0
_JUMP_SAID_FOR_S = 30.0


@dataclass(slots=True)
class Status:
    """One diagnostic status under construction: the worst level wins, texts are joined."""

    level: bytes = OK
    messages: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)

    def warn(self, text: str) -> None:
        """Add a warning."""
        self.level = max(self.level, WARN)
        self.messages.append(text)

    def error(self, text: str) -> None:
        """Add an error."""
        self.level = max(self.level, ERROR)
        self.messages.append(text)

    def value(self, key: str, value: object) -> None:
        """Add a key and value; floats are shown with four digits."""
        self.values[key] = f"{value:.4g}" if isinstance(value, float) else str(value)


class Diagnostics:
    """Publishes a node's status on /diagnostics at a steady pace, also while simulated time stands.

    Args:
        node: the node.
        hardware_id: what the status is about, e.g. the camera's name.
        fill: called with the status to be filled, in the executor's thread.
        period_s: time between two messages [s].
    """

    def __init__(
        self,
        node: Node,
        hardware_id: str,
        fill: Callable[[Status], None],
        period_s: float = 1.0,
    ) -> None:
        self._node = node
        self._hardware_id = hardware_id
        self._fill = fill
        self.clock_jumps = ClockJumps(node)
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._timer = node.create_timer(
            period_s, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def publish(self) -> None:
        """Publish the status now."""
        status = Status()
        try:
            self._fill(status)
        except Exception as error:
            # A report that cannot be made must not end what it reports on.
            status.error(f"this status is incomplete: {error!r}")
            self._node.get_logger().error(traceback.format_exc(), throttle_duration_sec=10.0)
        self.clock_jumps.describe(status)
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.status.append(
            DiagnosticStatus(
                level=status.level,
                name=self._node.get_fully_qualified_name(),
                message="; ".join(status.messages) or "OK",
                hardware_id=self._hardware_id,
                values=[KeyValue(key=key, value=text) for key, text in status.values.items()],
            )
        )
        self._publisher.publish(message)

    def close(self) -> None:
        """Stop publishing."""
        self.clock_jumps.close()
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._publisher)


class ClockJumps:
    """Notices when a node's clock jumps: back by 1 s or more, or forward by 10 s or more.

    What a node does about it is its own affair (stamps that went back, a run that is stopped); that
    it happened is said by all alike. The first message on /clock is no jump.

    Args:
        node: the node whose clock is watched.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._count = 0
        self._newest, self._newest_s = "", 0.0
        self._listener: Callable[[str], None] | None = None
        threshold = JumpThreshold(
            min_forward=Duration(seconds=_JUMP_FORWARD_S),
            min_backward=Duration(seconds=-_JUMP_BACK_S),
            on_clock_change=False,
        )
        # The clock keeps what it calls; it must not keep the node, which goes when it is collected.
        note = weakref.WeakMethod(self._note)

        def call(jump: TimeJump) -> None:
            if (alive := note()) is not None:
                alive(jump)

        self._handle = node.get_clock().create_jump_callback(threshold, post_callback=call)

    def close(self) -> None:
        """Stop watching."""
        self._handle.unregister()

    def listen(self, listener: Callable[[str], None]) -> None:
        """Have ``listener`` called with a text at once when the clock jumps."""
        self._listener = listener

    def describe(self, status: Status) -> None:
        """Add ``clock_jumps`` once there was one, and warn for half a minute after the newest."""
        with self._lock:
            if self._count:
                status.value("clock_jumps", self._count)
            if self._newest and time.monotonic() - self._newest_s < _JUMP_SAID_FOR_S:
                status.warn(self._newest)

    def _note(self, jump: TimeJump) -> None:
        now_ns, delta_ns = self._node.get_clock().now().nanoseconds, jump.delta.nanoseconds
        if now_ns - delta_ns <= 0:
            return
        way = "forward" if delta_ns > 0 else "back"
        text = f"the clock jumped {way} by {abs(delta_ns) / 1e9:.1f} s, to {now_ns / 1e9:.1f} s"
        with self._lock:
            self._count += 1
            self._newest, self._newest_s = text, time.monotonic()
        if self._listener is not None:
            self._listener(text)
        self._node.get_logger().warning(text)


class RateMonitor:
    """The rate of events over the last `window_s` seconds of steady time."""

    def __init__(self, window_s: float = 5.0) -> None:
        self._window_s = window_s
        self._started = time.monotonic()
        self._times: deque[float] = deque(maxlen=32768)
        self.count = 0

    def tick(self) -> None:
        """Count one event."""
        self.count += 1
        self._times.append(time.monotonic())

    @property
    def rate_hz(self) -> float:
        """Events per second; 0 when nothing came within the window."""
        now = time.monotonic()
        while self._times and self._times[0] < now - self._window_s:
            self._times.popleft()
        span = min(self._window_s, now - self._started)
        return len(self._times) / span if span > 0 else 0.0


class Durations:
    """Median and 95th percentile of the last 256 durations."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_WINDOW)

    def add(self, seconds: float) -> None:
        """Add one duration [s]."""
        self._seconds.append(seconds)

    def describe(self, status: Status, key: str) -> None:
        """Add ``<key>_p50_ms`` and ``<key>_p95_ms`` to a status; nothing without data."""
        if self._seconds:
            p50, p95 = np.percentile(np.array(self._seconds), (50, 95)) * 1e3
            status.value(f"{key}_p50_ms", float(p50))
            status.value(f"{key}_p95_ms", float(p95))


class Rejections:
    """Input that was refused, counted by reason, with the newest text of each.

    Thread-safe. A reason is a short stable word ("encoding", "no_pose"); the text says what and how
    to mend it.
    """

    _RECENT_S = 5.0

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._texts: dict[str, tuple[float, str]] = {}

    def add(self, reason: str, text: str) -> None:
        """Count a refusal; the text is logged when it is new or 5 s have passed."""
        now = time.monotonic()
        with self._lock:
            self._counts[reason] += 1
            logged, previous = self._texts.get(reason, (-1e9, ""))
            repeat = previous == text and now - logged < self._RECENT_S
            self._texts[reason] = (logged if repeat else now, text)
        if not repeat:
            self._node.get_logger().warning(f"rejected ({reason}): {text}")

    @property
    def total(self) -> int:
        """All refusals."""
        with self._lock:
            return sum(self._counts.values())

    def describe(self, status: Status) -> None:
        """Add ``rejected`` and ``rejected.<reason>`` counts, and warn while refusals are recent."""
        now = time.monotonic()
        with self._lock:
            status.value("rejected", sum(self._counts.values()))
            for reason, count in sorted(self._counts.items()):
                status.value(f"rejected.{reason}", count)
            for reason, (logged, text) in self._texts.items():
                if now - logged < self._RECENT_S + 1.0:
                    status.warn(f"rejected ({reason}): {text}")
