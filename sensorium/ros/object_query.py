"""A node's ``~/query_objects`` service: asks the segmentation node for the vector of the text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from sensorium_ros.srv import EncodeText, QueryObjects

from sensorium.objects.keeper import KnownWorld
from sensorium.objects.query import NotComparable, best_matches
from sensorium.ros.convert.header import header
from sensorium.ros.convert.objects import message_from_object
from sensorium.ros.diagnostics import Status

# "the red mug" is looked for as "red mug": the encoder puts names into sentences of its own.
_ARTICLE = re.compile(r"^(?:the|a|an)\s+", re.IGNORECASE)
_MOST_WAITING = 16


class QueryRefused(ValueError):  # noqa: N818 - an answer, not a fault
    """A text that cannot be looked for; the text says why and what to do."""


class ObjectQuery:
    """Answers texts with the objects that fit them, best first.

    Args:
        node: the node.
        world: returns the objects as known now.
    """

    def __init__(self, node: Node, world: Callable[[], KnownWorld]) -> None:
        self._node = node
        self._world = world
        self._map_frame = ""
        self._timeout_s = 0.0
        self._client: Any = None
        self._waiting = self._answered = self._refused = 0
        # Weights that made the embeddings of a generation of objects, as first told.
        self._weights = (-1, "")
        # A coroutine holds its callback group while it waits, and the answer must come meanwhile.
        self._group = ReentrantCallbackGroup()
        self._service = node.create_service(
            QueryObjects, "~/query_objects", self._answer, callback_group=self._group
        )

    def open(self, encoder: str, timeout_s: float, map_frame: str) -> None:
        """Begin to answer.

        Args:
            encoder: name of the ``EncodeText`` service.
            timeout_s: how long it may take for a text [s].
            map_frame: frame of the objects.
        """
        self._timeout_s, self._map_frame = timeout_s, map_frame
        self._weights = (-1, "")
        self._client = self._node.create_client(EncodeText, encoder, callback_group=self._group)

    def close(self) -> None:
        """Give the client back; requests from now on are refused."""
        client, self._client = self._client, None
        if client is not None:
            self._node.destroy_client(client)

    def describe(self, status: Status) -> None:
        """Add the counts of requests to a status."""
        status.value("query.answered", self._answered)
        status.value("query.refused", self._refused)

    async def _answer(self, request: Any, response: Any) -> Any:  # noqa: ANN401 - generated types
        try:
            if self._waiting >= _MOST_WAITING:
                raise QueryRefused(f"{_MOST_WAITING} texts are waiting already; ask again later")
            self._waiting += 1
            try:
                vector, weights = await self._encoded(request.text)
            finally:
                self._waiting -= 1
            world = self._world()
            self._check_weights(world, weights)
            matches = best_matches(world.objects, vector, request.max_results, request.min_score)
        except (QueryRefused, NotComparable) as refusal:
            self._refused += 1
            response.message = str(refusal)
            return response
        except Exception as error:
            # Whatever it was, the client must hear of it.
            self._refused += 1
            self._node.get_logger().error(f"query_objects: {error!r}")
            response.message = f"failed: {error!r}"
            return response
        self._answered += 1
        response.success = True
        response.message = f"{len(matches)} of {len(world.objects)} objects"
        response.header = header(world.stamp_ns, self._map_frame)
        response.objects = [message_from_object(known) for known, _ in matches]
        response.scores = [score for _, score in matches]
        return response

    async def _encoded(self, text: str) -> tuple[NDArray[np.float32], str]:
        wanted = _ARTICLE.sub("", " ".join(text.split()))
        if not wanted:
            raise QueryRefused("the text is empty; name what to look for, e.g. 'the red mug'")
        client = self._client
        if client is None:
            raise QueryRefused("the node is not configured; configure it first")
        if not client.service_is_ready():
            raise QueryRefused(
                f"there is no service {client.srv_name}: start the segmentation node, or set "
                "'segmentation' to its name"
            )
        answer = await self._asked(client, EncodeText.Request(texts=[wanted]))
        if answer is None:
            raise QueryRefused(
                f"{client.srv_name} did not answer within {self._timeout_s:g} s; is the "
                "segmentation node overloaded? Raise 'query_timeout_s' if so"
            )
        if not answer.success:
            raise QueryRefused(f"{client.srv_name} refused the text: {answer.message}")
        vector = np.array(answer.vectors, np.float32)
        if answer.size == 0 or len(vector) != answer.size:
            raise QueryRefused(
                f"{client.srv_name} gave {len(vector)} numbers for one text of size {answer.size}"
            )
        return vector, answer.weights_sha256

    async def _asked(self, client: Any, request: Any) -> Any:  # noqa: ANN401 - generated types
        """Return the answer, or None when it takes too long."""
        asked = client.call_async(request)
        first = Future(executor=self._node.executor)

        def finish(_future: Any = None) -> None:  # noqa: ANN401
            if not first.done():
                first.set_result(None)

        asked.add_done_callback(finish)
        # Steady time: simulated time may stand.
        timer = self._node.create_timer(
            self._timeout_s, finish, callback_group=self._group,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )  # fmt: skip
        try:
            await first
        finally:
            self._node.destroy_timer(timer)
        if asked.done():
            return asked.result()
        client.remove_pending_request(asked)
        return None

    def _check_weights(self, world: KnownWorld, weights: str) -> None:
        """Refuse texts of other weights than those the objects' embeddings were made with."""
        generation, known = self._weights
        if generation != world.generation or not world.objects:
            self._weights = (world.generation, weights)
        elif known != weights:
            raise QueryRefused(
                f"the segmentation node changed its weights from {known[:12]} to {weights[:12]} "
                "after the objects were embedded; call ~/reset"
            )
