"""Runs of a policy: the RunPolicy action, the worker that predicts, and all that ends a run."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from sensorium_ros.action import RunPolicy
from sensorium_ros.msg import ActionChunk

from sensorium.policy.actions import ActionMapper
from sensorium.policy.contract import Contract
from sensorium.policy.observations import Observation, refusal_in_lockstep
from sensorium.policy.rejections import Reason, Rejection
from sensorium.ros.diagnostics import Durations, Rejections, Status
from sensorium.ros.guard_client import GuardClient
from sensorium.ros.guard_messages import GuardReport
from sensorium.ros.policy_inputs import PolicyInputs
from sensorium.ros.policy_observer import CHAIN
from sensorium.ros.policy_run import SUCCESSES, PolicyRun, RunConfiguration
from sensorium.ros.worker import NewestOnlyWorker

_SUPERVISE_S = 0.02
_FEEDBACK_S = 0.2
_STOP_TIMEOUT_S = 60.0
# Refusals of a run that the next joint state may end, and how often to ask then.
_MAY_COME = (Reason.OBSERVATION_MISSING.value, Reason.OBSERVATION_STALE.value)
_ASK_AGAIN_S = 0.1
# A subscription of guards that are there is found within this time, or they are not active.
_DISCOVERY_S = 0.5


class PolicyRuns:
    """Runs one policy on request.

    A new goal ends the run before it with reason "preempted" and begins at once: the guards drop
    what was planned, and the command in force ends at rest.

    Args:
        node: the node; the action is ``~/run`` on it.
        configuration: see :class:`RunConfiguration`.
        contract: rate and joints.
        predict: (T, A) actions of an observation with its ``task``; called in a worker.
        reset: forgets the policy's own past; called in the same worker.
        identity: type of the policy and SHA-256 of its weights.
        guard: name of the guards' node.
        rejections: takes every refusal of this side.
        log: takes every chunk with what became of it.
    """

    def __init__(
        self,
        node: Node,
        configuration: RunConfiguration,
        contract: Contract,
        *,
        predict: Callable[[Mapping[str, object]], NDArray[np.float32]],
        reset: Callable[[], None],
        identity: tuple[str, str],
        guard: str,
        rejections: Rejections,
        log: Callable[[ActionChunk], None],
    ) -> None:
        self._node = node
        self._configuration = configuration
        self._contract = contract
        self._mapper: ActionMapper | None = None
        self._predict = predict
        self._reset = reset
        self._identity = identity
        self._rejections = rejections
        self._log = log
        self._inputs: PolicyInputs | None = None
        self._run: PolicyRun | None = None
        self._reset_for: PolicyRun | None = None
        self._pending: dict[int, ActionChunk] = {}
        self._inference, self._latency = Durations(), Durations()
        self._endings: dict[str, int] = {}
        self._last_feedback_s = 0.0
        self._guards = GuardClient(node, guard, self._take_report)
        self._steps: NewestOnlyWorker[None] = NewestOnlyWorker("policy", self._step, self._fail)
        self._steps.start()
        self._handles: dict[PolicyRun, Any] = {}
        self._timer = node.create_timer(
            _SUPERVISE_S, self._supervise, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        # A coroutine holds its callback group while it waits.
        self._server = ActionServer(
            node, RunPolicy, "~/run", self._execute, callback_group=ReentrantCallbackGroup(),
            goal_callback=self._accept, cancel_callback=self._cancel,
        )  # fmt: skip

    def open(self, inputs: PolicyInputs, mapper: ActionMapper) -> None:
        """Begin to accept goals: with these observations, by this mapping to joint positions."""
        self._inputs, self._mapper = inputs, mapper

    def close(self, reason: str, message: str) -> None:
        """End the run, if there is one, and accept no more goals; the worker ends its step."""
        self._inputs = None
        if self._run is not None:
            self._guards.stop()
            self._run.end(reason, message)
        self._steps.wait_idle(_STOP_TIMEOUT_S)

    def destroy(self) -> None:
        """Destroy the action, the link and the worker."""
        self.close("deactivated", "the policy was cleaned up")
        self._steps.stop(_STOP_TIMEOUT_S)
        self._node.destroy_timer(self._timer)
        self._server.destroy()
        self._guards.close()

    def changed(self) -> None:
        """Look whether something is to be done: an input has come."""
        if self._run is not None:
            self._steps.submit(None)

    def end(self, reason: str, message: str) -> None:
        """End the run, if there is one."""
        if self._run is not None:
            self._run.end(reason, message)

    def clock_jumped(self, text: str) -> None:
        """End the run, if there is one, as refused: its times mean nothing any more."""
        run = self._run
        if run is not None and not run.is_over:
            self._count(run, [Rejection(Reason.CLOCK_JUMP, text)])
            run.end(Reason.CLOCK_JUMP.value, text)

    def describe(self, status: Status) -> None:
        """Add the state of the run, times and counts to a status."""
        run = self._run
        status.value("guards", "there" if self._guards.is_there else "not found")
        status.value("run", "none" if run is None else run.feedback(self._now_ns()).state)
        if run is not None:
            status.value("chunks_published", run.published)
            status.value("chunks_rejected", run.rejected)
        self._inference.describe(status, "inference")
        self._latency.describe(status, "latency")
        for reason, count in sorted(self._endings.items()):
            status.value(f"ended.{reason}", count)

    @property
    def _is_lockstep(self) -> bool:
        return self._configuration.replan == "every_observation"

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _accept(self, _goal: Any) -> GoalResponse:  # noqa: ANN401 - generated types, here and below
        if self._inputs is None:
            self._node.get_logger().warning("goal refused: the policy is not active; activate it")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _cancel(self, handle: Any) -> CancelResponse:  # noqa: ANN401
        for run, known in list(self._handles.items()):
            if known.goal_id == handle.goal_id:
                run.end("cancelled", "the goal was cancelled")
        return CancelResponse.ACCEPT

    async def _execute(self, handle: Any) -> RunPolicy.Result:  # noqa: ANN401
        future = Future(executor=self._node.executor)
        goal = handle.request
        run = PolicyRun(
            instruction=goal.instruction,
            time_limit_s=goal.time_limit_s or self._configuration.time_limit_s,
            started_ns=self._now_ns(),
            on_end=lambda: future.set_result(None),
        )
        self._handles[run] = handle
        previous, self._run = self._run, run
        if previous is not None:
            previous.end("preempted", "a new goal has come")
        self._seek_guards(run)
        await future
        self._finish(run)
        del self._handles[run]
        if handle.is_cancel_requested:
            handle.canceled()
        elif run.reason in SUCCESSES:
            handle.succeed()
        else:
            handle.abort()
        return run.result(self._now_ns())

    def _seek_guards(self, run: PolicyRun) -> None:
        """Ask the guards for the run as soon as they are there."""
        waited_s = time.monotonic() - run.usable_s
        ready = self._guards.is_there and (self._guards.is_listening or waited_s > _DISCOVERY_S)
        asked_lately = time.monotonic() - run.asked_s < _ASK_AGAIN_S
        if not run.asked and ready and not asked_lately:
            run.asked, run.asked_s = True, time.monotonic()
            self._guards.start(lambda success, text: self._begin(run, success, text))
        elif waited_s > self._configuration.guard_timeout_s:
            missing = "do not answer" if run.asked else "are not there"
            run.end(
                "guards_lost",
                f"the guards '{self._guards.name}' {missing}; start and activate policy_guard",
            )

    def _begin(self, run: PolicyRun, success: bool, text: str) -> None:
        if run.is_over:
            if self._run is None:
                self._guards.stop()
        elif success:
            run.name, run.waiting_for = text, "an observation"
            run.usable(self._now_ns())
            self._steps.submit(None)
        else:
            reason, _, detail = text.partition(": ")
            waited_s = time.monotonic() - run.usable_s
            if reason in _MAY_COME and waited_s < self._configuration.guard_timeout_s:
                run.asked, run.waiting_for = False, text
                return
            run.end(reason, f"the guards do not allow a run: {detail}")

    def _finish(self, run: PolicyRun) -> None:
        if self._run is run:
            self._run = None
            self._guards.stop()
        self._endings[run.reason] = self._endings.get(run.reason, 0) + 1
        self._node.get_logger().info(f"run ended: {run.reason}: {run.message}")

    def _supervise(self) -> None:
        run, configuration = self._run, self._configuration
        if run is None or run.is_over:
            return
        now_ns = self._now_ns()
        if run.elapsed_s(now_ns) >= run.time_limit_s:
            run.end("time_limit", f"{run.time_limit_s:g} s are over")
        elif not run.name:
            self._seek_guards(run)
        elif self._guards.silent_s > configuration.guard_timeout_s:
            run.end("guards_lost", f"the guards have been silent for {self._guards.silent_s:.1f} s")
        elif run.waiting_for and (
            now_ns - run.usable_ns > configuration.observation_patience_s * 1e9
            or time.monotonic() - run.usable_s > configuration.wall_patience_s
        ):
            if self._is_lockstep and run.refusals:
                self._count(run, run.refusals)
            reason = run.waiting_for.partition(":")[0]
            run.end(reason, f"no usable observation: {run.waiting_for}")
        else:
            self._steps.submit(None)
        if time.monotonic() - self._last_feedback_s > _FEEDBACK_S and run in self._handles:
            self._last_feedback_s = time.monotonic()
            self._handles[run].publish_feedback(run.feedback(now_ns))

    def _step(self, _: None) -> None:
        """One look at the inputs, in the worker: predict when a chunk is wanted."""
        run, inputs = self._run, self._inputs
        if run is None or inputs is None or run.is_over or not run.name:
            return
        if self._reset_for is not run:
            self._reset()
            self._reset_for = run
        found = inputs.observe()
        now_ns = self._now_ns()
        if isinstance(found, Observation) and self._is_lockstep:
            refusal = refusal_in_lockstep(found, now_ns)
            found = found if refusal is None else [refusal]
        if not isinstance(found, Observation):
            self._wait(run, found)
            return
        run.usable(now_ns)
        if found.stamp_ns <= run.answered_ns or not self._wants_chunk(run, now_ns):
            return
        run.answered_ns = found.stamp_ns
        self._answer(run, found)

    def _wait(self, run: PolicyRun, rejections: list[Rejection]) -> None:
        before = run.waiting_for.partition(":")[0]
        run.waiting_for, run.refusals = str(rejections[0]), rejections
        # In lockstep the parts of each observation come one after the other: that is no fault.
        if not self._is_lockstep and before != rejections[0].reason.value:
            self._count(run, rejections)

    def _count(self, run: PolicyRun, rejections: list[Rejection]) -> None:
        run.reject(rejections)
        for rejection in rejections:
            self._rejections.add(rejection.reason.value, rejection.detail)

    def _wants_chunk(self, run: PolicyRun, now_ns: int) -> bool:
        if self._is_lockstep:
            return True
        if run.open_proposals:
            return False
        return run.planned_until_ns - now_ns <= self._configuration.replan_threshold_s * 1e9

    def _answer(self, run: PolicyRun, observation: Observation) -> None:
        features: dict[str, object] = dict(observation.features)
        chain = observation.features.get(CHAIN)
        features.pop(CHAIN, None)
        started = time.monotonic()
        actions = self._predict({**features, "task": run.instruction})
        run.inference_s = time.monotonic() - started
        self._inference.add(run.inference_s)
        mapper = self._mapper
        if run.is_over or mapper is None:
            return
        positions = mapper.positions(actions, chain)
        stamp_ns, contract = observation.stamp_ns, self._contract
        run.observation_age_s = (self._now_ns() - stamp_ns) / 1e9
        message = run.chunk_message(contract, self._identity, stamp_ns, actions)
        if isinstance(positions, Rejection):
            self._count(run, [positions])
            run.rejected += 1
            message.rejections = [str(positions)]
            self._log(message)
            if not self._is_lockstep:
                return
        else:
            run.open_proposals.add(stamp_ns)
            self._pending[stamp_ns] = message
        self._guards.propose(
            run.name, contract.commanded_joints, stamp_ns, contract.period_ns,
            None if isinstance(positions, Rejection) else positions,
        )  # fmt: skip

    def _take_report(self, report: GuardReport) -> None:
        """Take a report of the guards, in the executor's thread."""
        run = self._run
        message = self._pending.pop(report.proposal_stamp_ns, None)
        if message is not None:
            message.published = report.published
            message.rejections = list(report.rejections)
            message.latency_s = (self._now_ns() - report.proposal_stamp_ns) / 1e9
            self._latency.add(message.latency_s)
            self._log(message)
        if run is None or not run.name:
            return
        if report.run != run.name:
            if report.proposal_stamp_ns in run.open_proposals:
                run.end("guards_lost", "the guards know nothing of this run; they were restarted")
            return
        accepted = message is not None and not report.rejections
        if accepted and message is not None:
            rows = len(message.actions) // max(len(message.action_names), 1)
            run.planned_until_ns = report.proposal_stamp_ns + rows * self._contract.period_ns
        run.take(report)
        if not report.running and report.stop_reason:
            run.end(report.stop_reason, report.stop_text)
        elif message is not None:
            self._steps.submit(None)

    def _fail(self, _item: None, error: Exception) -> None:
        text = "".join(traceback.format_exception(error))
        self._node.get_logger().error(f"the policy failed:\n{text}", throttle_duration_sec=5.0)
        if self._run is not None:
            self._run.end("policy_failed", str(error) or repr(error))
