"""Callbacks store, one worker takes the newest: slow work drops frames instead of growing late."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkerCounts:
    """What became of the items given to a worker.

    received = processed + superseded + failed + held.

    Attributes:
        received: items submitted.
        processed: items worked off.
        superseded: items replaced by a newer one before the worker was free.
        failed: items on which the work raised.
        held: items waiting or being worked on.
    """

    received: int = 0
    processed: int = 0
    superseded: int = 0
    failed: int = 0
    held: int = 0


class NewestOnlyWorker(Generic[T]):
    """One thread that works off the newest item of each key, keys in order of arrival.

    Args:
        name: name of the thread.
        work: called with each item, in the worker's thread.
        on_error: called with (item, exception) when `work` raises; the worker goes on.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[T], None],
        on_error: Callable[[T, Exception], None],
    ) -> None:
        self._name = name
        self._work = work
        self._on_error = on_error
        self._condition = threading.Condition()
        self._waiting: dict[str, T] = {}
        self._busy = False
        self._running = False
        self._thread: threading.Thread | None = None
        self._received = self._processed = self._superseded = self._failed = 0

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: it is already running, or a stopped one still works on its last item.
        """
        if self._thread is not None:
            raise RuntimeError(f"worker '{self._name}' is already running")
        self._running = True
        self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
        self._thread.start()

    def submit(self, item: T, key: str = "") -> None:
        """Hand over an item; an item of the same key that still waits is superseded."""
        with self._condition:
            self._received += 1
            if key in self._waiting:
                self._superseded += 1
                # Deleting keeps arrival order fair between keys: the newest goes to the back.
                del self._waiting[key]
            self._waiting[key] = item
            self._condition.notify_all()

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until nothing is held; False when that takes longer than `timeout_s`."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._waiting and not self._busy, timeout_s)

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Finish the item in hand, drop the waiting ones as superseded, and end the thread.

        Returns:
            False when the item in hand takes longer than `timeout_s`.
        """
        with self._condition:
            self._running = False
            self._superseded += len(self._waiting)
            self._waiting.clear()
            self._condition.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
            if thread.is_alive():
                return False
            self._thread = None
        return True

    @property
    def counts(self) -> WorkerCounts:
        """The counts so far, taken at one moment."""
        with self._condition:
            return WorkerCounts(
                self._received,
                self._processed,
                self._superseded,
                self._failed,
                len(self._waiting) + self._busy,
            )

    def _loop(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or not self._running)
                if not self._running:
                    return
                key = next(iter(self._waiting))
                item = self._waiting.pop(key)
                self._busy = True
            failed = False
            try:
                self._work(item)
            except Exception as error:
                failed = True
                self._on_error(item, error)
            with self._condition:
                self._busy = False
                self._failed += failed
                self._processed += not failed
                self._condition.notify_all()
