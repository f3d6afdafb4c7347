"""The gripper's action, control_msgs/ParallelGripperCommand, as gripper controllers serve it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import JointState

Float64 = NDArray[np.float64]

_POLL_S = 0.02
_REACHED_M = 0.001
_STILL = 0.002
# A finger that has not begun to move stands still, too.
_STALLED_AFTER_NS = 150_000_000


class GripperServer:
    """Serves ``~/gripper_cmd``; a new goal takes over from the one before.

    Args:
        node: the node.
        joint: name of the gripper's joint.
        command: moves the fingers to a position [m].
        read: returns the time [ns] and the measured (2,) positions [m] and velocities [m/s] of the
            fingers.
        refuse: takes (reason, text) of a goal that is refused.

    Raises:
        ImportError: control_msgs is not installed.
    """

    def __init__(
        self,
        node: Node,
        joint: str,
        command: Callable[[float], None],
        read: Callable[[], tuple[int, Float64, Float64]],
        refuse: Callable[[str, str], None],
    ) -> None:
        from control_msgs.action import ParallelGripperCommand

        self._node = node
        self._joint = joint
        self._command = command
        self._read = read
        self._refuse = refuse
        self._result_type = ParallelGripperCommand.Result
        self._newest: Any = None
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._server: Any = ActionServer(
            node, ParallelGripperCommand, "~/gripper_cmd", self._execute,
            goal_callback=self._accepts, cancel_callback=lambda _: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),
        )  # fmt: skip
        self.goals = 0

    def close(self) -> None:
        """End the goal in hand and withdraw the action."""
        self._newest = None
        self._server.destroy()
        self._server = None

    def _accepts(self, goal: Any) -> GoalResponse:  # noqa: ANN401 - generated type
        names, positions = list(goal.command.name), list(goal.command.position)
        if len(positions) != 1 or names not in ([], [self._joint]):
            self._refuse(
                "gripper_goal",
                f"a gripper goal names {names} with {len(positions)} positions; give one position "
                f"[m] of '{self._joint}'",
            )
            return GoalResponse.REJECT
        if not math.isfinite(positions[0]):
            self._refuse("gripper_goal", f"a gripper goal asks for {positions[0]} m")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    async def _execute(self, handle: Any) -> Any:  # noqa: ANN401 - generated types
        self._newest = handle
        self.goals += 1
        wanted = float(handle.request.command.position[0])
        self._command(wanted)
        moved_ns = self._read()[0]
        while self._newest is handle:
            await self._pause()
            now_ns, positions, velocities = self._read()
            reached = abs(float(positions[0]) - wanted) <= _REACHED_M
            if np.abs(velocities).max() > _STILL:
                moved_ns = now_ns
            if handle.is_cancel_requested:
                self._command(float(positions[0]))
                handle.canceled()
                return self._result(positions, stalled=False, reached=reached)
            if reached or now_ns - moved_ns >= _STALLED_AFTER_NS:
                handle.succeed()
                return self._result(positions, stalled=not reached, reached=reached)
        if self._server is not None:
            handle.abort()
        return self._result(self._read()[1], stalled=False, reached=False)

    def _result(self, positions: Float64, *, stalled: bool, reached: bool) -> Any:  # noqa: ANN401
        state = JointState(name=[self._joint], position=[float(positions[0])])
        return self._result_type(state=state, stalled=stalled, reached_goal=reached)

    def _pause(self) -> Any:  # noqa: ANN401 - an awaitable of rclpy
        future = Future(executor=self._node.executor)

        def end() -> None:
            timer.cancel()
            self._node.destroy_timer(timer)
            future.set_result(None)

        timer = self._node.create_timer(_POLL_S, end, clock=self._steady)
        return future
