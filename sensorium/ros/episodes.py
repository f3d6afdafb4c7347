"""Runs episodes of a simulated world through ROS: reset it, instruct the policy, watch the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensorium_ros.action import RunPolicy
from sensorium_ros.msg import WorldState
from sensorium_ros.srv import ResetWorld

from sensorium.policy.rejections import Reason
from sensorium.ros.qos import qos_profile
from sensorium.tabletop.tasks import TRAINING_PHRASE

_POLL_S = 0.005
_ANSWER_S = 30.0
_LATE_S = 1.0
# The policy gives feedback five times a second; DDS itself notices a kill only after 20 s.
_SILENCE_S = 8.0
_UNHEARD = Reason.OBSERVATION_MISSING.value


class EpisodeError(RuntimeError):
    """The world or the policy does not answer, or refuses; the text says which and why."""


@dataclass(frozen=True)
class EpisodeRequest:
    """One episode.

    Attributes:
        seed: of the world.
        task: name; empty draws one from the seed.
        phrase: index of the sentence; -1 draws one of training, -2 one held out.
        instruction: given to the policy in place of the world's sentence; empty gives that.
    """

    seed: int
    task: str = ""
    phrase: int = TRAINING_PHRASE
    instruction: str = ""


@dataclass(frozen=True)
class EpisodeOutcome:
    """How an episode went.

    Attributes:
        success: the world says that the task was done.
        steps: control steps until it was done, or until the end.
        reason: why the policy's run ended, and in words `message`.
        seconds: by the clock on the wall.
        rejections: what the guards rejected, by name.
    """

    seed: int
    task: str
    instruction: str
    success: bool
    steps: int
    reason: str
    message: str
    seconds: float
    chunks_published: int
    chunks_rejected: int
    rejections: dict[str, int]


class EpisodeClient:
    """Talks to a ``tabletop_world`` and a ``policy`` node.

    Args:
        node: a node of its own; it is spun by this object's thread.
        world: name of the world's node.
        policy: name of the policy's node.
    """

    def __init__(self, node: Node, world: str = "/tabletop_world", policy: str = "/policy") -> None:
        self._node, self._world, self._policy = node, world, policy
        self._state: WorldState | None = None
        self._has_acted = False
        self._reset = node.create_client(ResetWorld, f"{world}/reset_world")
        self._run = ActionClient(node, RunPolicy, f"{policy}/run")
        node.create_subscription(
            WorldState, f"{world}/state", self._note, qos_profile("reliable", 50)
        )
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    @property
    def state(self) -> WorldState | None:
        """The world's state as heard last."""
        return self._state

    def close(self) -> None:
        """End the thread; the node stays."""
        self._executor.shutdown()
        self._thread.join(5.0)
        self._run.destroy()
        self._node.destroy_client(self._reset)

    def wait_until_ready(self, timeout_s: float) -> None:
        """Wait for the world and the policy.

        Raises:
            EpisodeError: one of them does not come.
        """
        deadline = time.monotonic() + timeout_s
        for name, ready in (
            (f"{self._world}/reset_world", self._reset.service_is_ready),
            (f"{self._policy}/run", self._run.server_is_ready),
        ):
            if not _wait(ready, deadline - time.monotonic()):
                raise EpisodeError(f"{name} is not there after {timeout_s:.0f} s; see its log")

    def wait_until_active(self, names: Sequence[str], timeout_s: float) -> None:
        """Wait until lifecycle nodes are active.

        Args:
            names: fully qualified names.
            timeout_s: for all of them.

        Raises:
            EpisodeError: one of them does not become active.
        """
        deadline = time.monotonic() + timeout_s
        for name in names:
            client = self._node.create_client(GetState, f"{name}/get_state")
            try:
                while not self._is_active(client):
                    if time.monotonic() > deadline:
                        raise EpisodeError(f"{name} is not active after {timeout_s:.0f} s")
                    time.sleep(0.1)
            finally:
                self._node.destroy_client(client)

    def _is_active(self, client: Any) -> bool:  # noqa: ANN401 - rclpy has no types
        if not client.service_is_ready():
            return False
        future = client.call_async(GetState.Request())
        if not _wait(future.done, 2.0):
            return False
        return bool(future.result().current_state.id == State.PRIMARY_STATE_ACTIVE)

    def reset(self, request: EpisodeRequest) -> Any:  # noqa: ANN401 - a generated type
        """Begin an episode; returns the world's answer.

        Raises:
            EpisodeError: refused, or no answer.
        """
        call = ResetWorld.Request(seed=request.seed, task=request.task, phrase=request.phrase)
        answer = self._result(self._reset.call_async(call), "reset_world", _ANSWER_S)
        if not answer.success:
            raise EpisodeError(f"the world refuses the episode: {answer.message}")
        return answer

    def run(
        self,
        request: EpisodeRequest,
        timeout_s: float = 120.0,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> EpisodeOutcome:
        """Reset the world, let the policy act, wait for the end of its run.

        The very first run may find that nodes which just started have not found each other yet:
        what the world published at the reset did not reach the policy, and in lockstep nothing
        follows. Such an episode is begun once more.

        Args:
            request: what to do.
            timeout_s: longest time by the clock on the wall; then the run is cancelled.
            meanwhile: called again and again while the policy acts.

        Raises:
            EpisodeError: refused, no answer, or the policy falls silent.
        """
        outcome = self._attempt(request, timeout_s, meanwhile)
        if not self._has_acted and not outcome.chunks_published and outcome.reason == _UNHEARD:
            self._node.get_logger().warning(f"the first episode is begun again: {outcome.message}")
            outcome = self._attempt(request, timeout_s, meanwhile)
        self._has_acted = True
        return outcome

    def _attempt(
        self, request: EpisodeRequest, timeout_s: float, meanwhile: Callable[[], None]
    ) -> EpisodeOutcome:
        started_s = time.monotonic()
        answer = self.reset(request)
        if not _wait(lambda: self._heard_of(answer.episode), _ANSWER_S):
            raise EpisodeError(f"the world says nothing of episode {answer.episode}")
        goal = RunPolicy.Goal(instruction=request.instruction or answer.instruction)
        heard_s = [time.monotonic()]

        def note_feedback(_feedback: Any) -> None:  # noqa: ANN401
            heard_s[0] = time.monotonic()

        sent = self._run.send_goal_async(goal, feedback_callback=note_feedback)
        handle = self._result(sent, "the policy's goal", _ANSWER_S)
        if not handle.accepted:
            raise EpisodeError("the policy refuses the goal: is the node active?")
        future = handle.get_result_async()
        deadline = time.monotonic() + timeout_s
        while not future.done():
            if time.monotonic() > deadline:
                handle.cancel_goal_async()
                self._result(future, "the cancelled run", _ANSWER_S)
                break
            if time.monotonic() - heard_s[0] > _SILENCE_S:
                raise EpisodeError(f"the policy has said nothing for {_SILENCE_S:.0f} s")
            meanwhile()
            time.sleep(_POLL_S)
        result = future.result().result
        if result.reason == "task_done":
            # The policy may have heard it before we did.
            _wait(lambda: self._heard_of(answer.episode) and self._state_is_over(), _LATE_S)
        state = self._state
        assert state is not None  # noqa: S101 - heard of above
        return EpisodeOutcome(
            seed=request.seed,
            task=answer.task,
            instruction=goal.instruction,
            success=bool(state.success) and state.episode == answer.episode,
            steps=int(state.step),
            reason=result.reason,
            message=result.message,
            seconds=time.monotonic() - started_s,
            chunks_published=int(result.chunks_published),
            chunks_rejected=int(result.chunks_rejected),
            rejections=dict(
                zip(result.rejection_names, map(int, result.rejection_counts), strict=False)
            ),
        )

    def _heard_of(self, episode: int) -> bool:
        return self._state is not None and self._state.episode == episode

    def _state_is_over(self) -> bool:
        return self._state is not None and (self._state.success or self._state.done)

    def _note(self, state: WorldState) -> None:
        self._state = state

    def _result(self, future: Any, what: str, timeout_s: float) -> Any:  # noqa: ANN401
        if not _wait(future.done, timeout_s):
            raise EpisodeError(f"{what} was not answered within {timeout_s:.0f} s")
        return future.result()


def _wait(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
