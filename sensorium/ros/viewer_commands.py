"""What the page's boxes command: the vocabulary service and the policy's action."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

from action_msgs.srv import CancelGoal
from rclpy.action import ActionClient
from rclpy.node import Node
from sensorium_ros.action import RunPolicy
from sensorium_ros.srv import SetVocabulary

from sensorium.viewer.controls import Answer

_CANCEL_CODES = {1: "refused", 2: "unknown run", 3: "the run had ended already"}


class ViewerCommands:
    """Asks other nodes and passes their answers on.

    The page calls from threads of its own; the requests are sent by :meth:`send_waiting`, which the
    executor's thread calls.

    Args:
        node: the node.
        vocabulary_service: name of a ``SetVocabulary`` service.
        policy_action: name of a ``RunPolicy`` action.
    """

    def __init__(self, node: Node, vocabulary_service: str, policy_action: str) -> None:
        self._node = node
        self._service_name = node.resolve_service_name(vocabulary_service)
        self._vocabulary = node.create_client(SetVocabulary, vocabulary_service)
        self._policy: Any = ActionClient(node, RunPolicy, policy_action)
        self._policy_name = node.resolve_service_name(policy_action)
        # The action client cancels its own goals only; this one stops whatever runs.
        self._stop_runs = node.create_client(CancelGoal, f"{policy_action}/_action/cancel_goal")
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._open = True

    def set_vocabulary(self, names: list[str], things: list[str], answer: Answer) -> None:
        """Ask for another class list."""
        self._submit(lambda: self._set_vocabulary(names, things, answer), answer)

    def run(self, instruction: str, time_limit_s: float, answer: Answer) -> None:
        """Send an instruction to the policy; its state and its end are answered, too."""
        self._submit(lambda: self._run(instruction, time_limit_s, answer), answer)

    def cancel(self, answer: Answer) -> None:
        """Stop every run of the policy."""
        self._submit(lambda: self._cancel(answer), answer)

    def send_waiting(self) -> None:
        """Send what the page has asked for; call it from the executor's thread."""
        while not self._waiting.empty():
            self._waiting.get()()

    def close(self) -> None:
        """Destroy the clients; later requests are answered with a refusal."""
        self._open = False
        self._policy.destroy()
        for client in (self._vocabulary, self._stop_runs):
            self._node.destroy_client(client)

    def _submit(self, request: Callable[[], None], answer: Answer) -> None:
        if self._open:
            self._waiting.put(request)
        else:
            answer("the viewer node is not active", False)

    def _set_vocabulary(self, names: list[str], things: list[str], answer: Answer) -> None:
        if not self._vocabulary.service_is_ready():
            answer(_absent("service", self._service_name, "segmentation"), False)
            return

        def done(future: Any) -> None:  # noqa: ANN401 - rclpy has no types that mypy can see
            response = _result(future, answer)
            if response is None:
                return
            if response.success:
                answer(f"version {response.version} after {response.seconds:.2f} s: "
                       f"{response.message}", True)  # fmt: skip
            else:
                answer(f"refused: {response.message}", False)

        request = SetVocabulary.Request(names=names, things=things)
        self._vocabulary.call_async(request).add_done_callback(done)

    def _run(self, instruction: str, time_limit_s: float, answer: Answer) -> None:
        if not self._policy.server_is_ready():
            answer(_absent("action", self._policy_name, "policy"), False)
            return

        def feedback(message: Any) -> None:  # noqa: ANN401
            now = message.feedback
            rejected = f", {now.chunks_rejected} rejected ({now.last_rejection})"
            answer(f"{now.state}, {now.elapsed_s:.1f} s, {now.chunks_published} chunks sent"
                   f"{rejected if now.chunks_rejected else ''}", None)  # fmt: skip

        def ended(future: Any) -> None:  # noqa: ANN401
            response = _result(future, answer)
            if response is not None:
                end = response.result
                answer(f"{end.reason} after {end.seconds:.1f} s: {end.message}", end.success)

        def accepted(future: Any) -> None:  # noqa: ANN401
            goal = _result(future, answer)
            if goal is None:
                return
            if not goal.accepted:
                answer("the policy refused the instruction; its log and diagnostics say why", False)
                return
            answer("accepted", None)
            goal.get_result_async().add_done_callback(ended)

        goal = RunPolicy.Goal(instruction=instruction, time_limit_s=time_limit_s)
        self._policy.send_goal_async(goal, feedback).add_done_callback(accepted)

    def _cancel(self, answer: Answer) -> None:
        if not self._stop_runs.service_is_ready():
            answer(_absent("action", self._policy_name, "policy"), False)
            return

        def done(future: Any) -> None:  # noqa: ANN401
            response = _result(future, answer)
            if response is None:
                return
            if response.goals_canceling:
                answer(f"stopping {len(response.goals_canceling)} run(s)", None)
            else:
                reason = _CANCEL_CODES.get(response.return_code, "nothing runs")
                answer(f"nothing was cancelled: {reason}", False)

        # An empty request names no goal and no time: every goal.
        self._stop_runs.call_async(CancelGoal.Request()).add_done_callback(done)


def _absent(kind: str, name: str, node: str) -> str:
    return f"there is no {kind} {name}: is the {node} node running and active?"


def _result(future: Any, answer: Answer) -> Any:  # noqa: ANN401
    try:
        return future.result()
    except Exception as error:  # whatever the middleware raises must reach the page
        answer(f"no answer: {error}", False)
        return None
