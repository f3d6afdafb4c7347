"""A node's class list: the ``~/set_vocabulary`` service, the parameter, and the encoding worker."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from sensorium_ros.srv import SetVocabulary

from sensorium.ros.diagnostics import Status
from sensorium.ros.worker import NewestOnlyWorker
from sensorium.segmentation.class_list import ClassList, ClassListRefused, checked_class_list
from sensorium.segmentation.segmenter import EncodingCancelledError, Segmenter

# Encoding stops between a few names when it is cancelled.
_STOP_TIMEOUT_S = 60.0


@dataclass(frozen=True, eq=False)
class _Request:
    number: int
    segmenter: Segmenter
    classes: ClassList
    future: Future | None


class VocabularyService:
    """Encodes class lists one after the other while the old one goes on, and switches.

    The service exists as long as the node, so that whoever waits is answered when the node is
    cleaned up; it refuses while the node is not configured.

    Args:
        node: the node.
        limit: returns the most classes allowed now.
        accepted: called in the executor's thread with a list that a service call brought into use
            and that no later request has replaced; sets the node's parameters to it.
    """

    def __init__(
        self, node: Node, limit: Callable[[], int], accepted: Callable[[ClassList], None]
    ) -> None:
        self._node = node
        self._limit = limit
        self._accepted = accepted
        self._segmenter: Segmenter | None = None
        self._newest: ClassList | None = None
        self._numbers = itertools.count(1)
        self._newest_number = 0
        self._changed = self._refused = self._failed = 0
        self._seconds = 0.0
        self._problem = ""
        self._closing = threading.Event()
        self._pending: dict[int, Future] = {}
        self._jobs: NewestOnlyWorker[_Request] = NewestOnlyWorker(
            "vocabulary", self._encode, self._report
        )
        # A coroutine holds its callback group while it waits: in the node's default group it would
        # keep pictures and diagnostics from being received.
        node.create_service(
            SetVocabulary, "~/set_vocabulary", self._answer, callback_group=ReentrantCallbackGroup()
        )

    def open(self, segmenter: Segmenter, classes: ClassList) -> None:
        """Begin to take requests for a segmenter that uses `classes`."""
        self._closing.clear()
        self._problem = ""
        self._newest = classes
        self._jobs.start()
        self._segmenter = segmenter

    def close(self) -> None:
        """End the worker and answer whoever still waits."""
        if self._segmenter is None:
            return
        self._segmenter = None
        self._closing.set()
        self._jobs.stop(_STOP_TIMEOUT_S)
        for future in list(self._pending.values()):
            if not future.done():
                future.set_exception(EncodingCancelledError("the node is being cleaned up"))

    def request(self, classes: ClassList) -> None:
        """Encode a checked list and switch to it, unless it is the one requested last."""
        segmenter = self._segmenter
        if segmenter is not None and classes != self._newest:
            self._submit(segmenter, classes, None)

    def describe(self, status: Status) -> None:
        """Add version, size and counts of the class lists to a status."""
        if self._segmenter is not None:
            vocabulary = self._segmenter.vocabulary
            status.value("vocabulary.version", vocabulary.version)
            status.value("vocabulary.classes", len(vocabulary))
        status.value("vocabulary.changed", self._changed)
        status.value("vocabulary.refused", self._refused)
        status.value("vocabulary.failed", self._failed)
        status.value("vocabulary.encoding", self._jobs.counts.held)
        status.value("vocabulary.seconds", self._seconds)
        if self._problem:
            status.warn(f"the newest class list is not in use: {self._problem}")

    def _submit(self, segmenter: Segmenter, classes: ClassList, future: Future | None) -> int:
        number = next(self._numbers)
        self._newest, self._newest_number = classes, number
        if future is not None:
            self._pending[number] = future
        self._jobs.submit(_Request(number, segmenter, classes, future), f"request {number}")
        return number

    def _encode(self, request: _Request) -> None:
        started = time.monotonic()
        try:
            vocabulary = request.segmenter.encode(request.classes, self._closing.is_set)
        except Exception as error:
            if request.future is None:
                raise
            self._note_failure(error)
            request.future.set_exception(error)
            return
        # The old list ends between two pictures: a picture takes its list when it begins.
        request.segmenter.use(vocabulary)
        self._changed += 1
        self._problem = ""
        self._seconds = time.monotonic() - started
        self._node.get_logger().info(
            f"class list {vocabulary.version} of {len(vocabulary)} classes is in use after "
            f"{self._seconds:.2f} s"
        )
        if request.future is not None:
            request.future.set_result(vocabulary.version)

    def _report(self, _request: _Request, error: Exception) -> None:
        self._note_failure(error)

    def _note_failure(self, error: Exception) -> None:
        self._failed += 1
        self._problem = str(error) or repr(error)
        self._node.get_logger().error(f"class list not used: {error!r}")

    # Encoding takes longer than the executor may be blocked, hence a coroutine.
    async def _answer(self, request: Any, response: Any) -> Any:  # noqa: ANN401 - generated types
        started = time.monotonic()
        segmenter = self._segmenter
        if segmenter is None:
            response.message = "the node is not configured; configure it first"
            return response
        try:
            classes = checked_class_list(request.names, request.things, self._limit())
            future = Future(executor=self._node.executor)
            number = self._submit(segmenter, classes, future)
            try:
                response.version = await future
            finally:
                del self._pending[number]
            response.success = True
            response.message = f"{len(classes.names)} classes are in use"
            if number == self._newest_number and self._segmenter is segmenter:
                self._accepted(classes)
        except ClassListRefused as refusal:
            self._refused += 1
            response.message = f"{refusal}; the old list stays"
        except Exception as error:
            # Whatever it was, the client must hear of it; _note_failure has logged it.
            response.message = f"{error}; the old list stays"
        if not response.success:
            response.version = segmenter.vocabulary.version
        response.seconds = time.monotonic() - started
        return response
