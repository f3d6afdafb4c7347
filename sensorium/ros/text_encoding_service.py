"""A node's ``~/encode_text`` service: texts to vectors, in a worker beside the pictures."""

from __future__ import annotations

import itertools
import threading
from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from sensorium_ros.srv import EncodeText

from sensorium.ros.diagnostics import Status
from sensorium.ros.worker import NewestOnlyWorker
from sensorium.segmentation.segmenter import Segmenter

_STOP_TIMEOUT_S = 60.0
_MOST_TEXTS = 64
_LONGEST_TEXT = 256
_MOST_WAITING = 16


@dataclass(frozen=True, eq=False)
class _Request:
    segmenter: Segmenter
    texts: tuple[str, ...]
    future: Future


class TextEncodingService:
    """Answers with one unit vector per text; refuses while the node is not configured.

    Args:
        node: the node.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._segmenter: Segmenter | None = None
        self._numbers = itertools.count()
        self._closing = threading.Event()
        self._pending: set[Future] = set()
        self._answered = self._refused = 0
        self._jobs: NewestOnlyWorker[_Request] = NewestOnlyWorker(
            "encode_text", self._encode, self._report
        )
        # A coroutine holds its callback group while it waits.
        node.create_service(
            EncodeText, "~/encode_text", self._answer, callback_group=ReentrantCallbackGroup()
        )

    def open(self, segmenter: Segmenter) -> None:
        """Begin to take requests."""
        self._closing.clear()
        self._jobs.start()
        self._segmenter = segmenter

    def close(self) -> None:
        """End the worker and answer whoever still waits."""
        if self._segmenter is None:
            return
        self._segmenter = None
        self._closing.set()
        self._jobs.stop(_STOP_TIMEOUT_S)
        for future in list(self._pending):
            if not future.done():
                future.set_exception(RuntimeError("the node is being cleaned up"))

    def describe(self, status: Status) -> None:
        """Add the counts of requests to a status."""
        status.value("encode_text.answered", self._answered)
        status.value("encode_text.refused", self._refused)

    def _encode(self, request: _Request) -> None:
        if self._closing.is_set():
            return
        try:
            vectors = request.segmenter.encode_texts(request.texts)
            request.future.set_result((vectors, request.segmenter.weights_sha256))
        except Exception as error:
            request.future.set_exception(error)

    def _report(self, _request: _Request, error: Exception) -> None:
        self._node.get_logger().error(f"encode_text: {error!r}")

    # Encoding takes longer than the executor may be blocked, hence a coroutine.
    async def _answer(self, request: Any, response: Any) -> Any:  # noqa: ANN401 - generated types
        try:
            texts = _checked_texts(request.texts)
            if self._segmenter is None:
                raise ValueError("the node is not configured; configure it first")
            if len(self._pending) >= _MOST_WAITING:
                raise ValueError(f"{_MOST_WAITING} requests are waiting already; ask again later")
            vectors, response.weights_sha256 = await self._vectors(self._segmenter, texts)
        except Exception as error:
            # Whatever it was, the client must hear of it.
            self._refused += 1
            response.message = str(error) or repr(error)
            return response
        self._answered += 1
        response.success = True
        response.size = vectors.shape[1]
        response.vectors = array("f", np.ascontiguousarray(vectors, np.float32).tobytes())
        return response

    async def _vectors(
        self, segmenter: Segmenter, texts: tuple[str, ...]
    ) -> tuple[NDArray[np.float32], str]:
        future = Future(executor=self._node.executor)
        self._pending.add(future)
        try:
            self._jobs.submit(_Request(segmenter, texts, future), f"{next(self._numbers)}")
            result: tuple[NDArray[np.float32], str] = await future
            return result
        finally:
            self._pending.discard(future)


def _checked_texts(texts: list[str]) -> tuple[str, ...]:
    if not 0 < len(texts) <= _MOST_TEXTS:
        raise ValueError(f"{len(texts)} texts were given; give 1 to {_MOST_TEXTS}")
    cleaned = tuple(" ".join(text.split()) for text in texts)
    for text in cleaned:
        if not text or len(text) > _LONGEST_TEXT:
            raise ValueError(
                f"the text '{text[:30]}' has {len(text)} characters; it must have 1 to "
                f"{_LONGEST_TEXT}"
            )
    return cleaned
