"""One thread that works off everything that was submitted, in order, several items at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class BatchWorker(Generic[T]):
    """Nothing is dropped, unless the worker falls behind by more than a limit.

    Then everything that waits is dropped at once and the worker is told, because a stream with one
    hole can be restarted, and a stream that is ever later cannot be used.

    Args:
        name: name of the thread.
        work: called with (items in order, number dropped right before them), in the thread.
        on_error: called with the exception when `work` raises; the worker goes on.
        max_backlog_s: oldest item that may wait [s].
    """

    def __init__(
        self,
        name: str,
        work: Callable[[list[T], int], None],
        on_error: Callable[[Exception], None],
        max_backlog_s: float,
    ) -> None:
        self._name = name
        self._work = work
        self._on_error = on_error
        self._max_backlog_s = max_backlog_s
        self._condition = threading.Condition()
        self._items: list[T] = []
        self._oldest_s = 0.0
        self._dropped = 0
        self._running = False
        self._thread: threading.Thread | None = None
        self.dropped = 0
        self.failed = 0

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: it is already running.
        """
        if self._thread is not None:
            raise RuntimeError(f"worker '{self._name}' is already running")
        self._running = True
        self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
        self._thread.start()

    def submit(self, item: T) -> None:
        """Hand over an item."""
        now = time.monotonic()
        with self._condition:
            if not self._items:
                self._oldest_s = now
            elif now - self._oldest_s > self._max_backlog_s:
                self._dropped += len(self._items)
                self.dropped += len(self._items)
                self._items = []
                self._oldest_s = now
            self._items.append(item)
            self._condition.notify()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Work off what waits, then end the thread."""
        with self._condition:
            self._running = False
            self._condition.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)
            self._thread = None

    def _loop(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._items or not self._running)
                if not self._items:
                    return
                items, self._items = self._items, []
                dropped, self._dropped = self._dropped, 0
            try:
                self._work(items, dropped)
            except Exception as error:
                self.failed += 1
                self._on_error(error)
