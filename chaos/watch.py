"""Watches the graph from outside: what nodes say, whether they produce, what the robot is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from sensorium.ros.qos import qos_profile

TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
}


class Watch:
    """A probe node with its own thread.

    Attributes:
        node: for publishers and clients of the faults.
        statuses: newest diagnostic values of each node, by full name.
        messages: newest diagnostic text of each node.
        outputs: how many messages each watched topic has carried.
    """

    def __init__(self, outputs: Mapping[str, type[Any]]) -> None:
        rclpy.init()
        self.node = Node("chaos_watch")
        self.statuses: dict[str, dict[str, str]] = {}
        self.messages: dict[str, str] = {}
        self.heard_s: dict[str, float] = {}
        self.outputs = dict.fromkeys(outputs, 0)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._note, 100)
        for topic, message_type in outputs.items():
            self.node.create_subscription(
                message_type, topic, self._counter(topic), qos_profile("sensor_data", 5)
            )
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the probe."""
        self._executor.shutdown()
        self._thread.join(5.0)
        self.node.destroy_node()
        rclpy.try_shutdown()

    def count(self, node: str, key: str) -> int:
        """A counter of a node's diagnostics; 0 when it has not said it."""
        return int(float(self.statuses.get(node, {}).get(key, 0)))

    def silent_s(self, node: str) -> float:
        """Seconds since the node's last diagnostics."""
        return time.monotonic() - self.heard_s.get(node, 0.0)

    def flows(self, topic: str, more: int = 3) -> Callable[[], bool]:
        """A condition: the topic carried `more` messages from now on."""
        wanted = self.outputs[topic] + more
        return lambda: self.outputs[topic] >= wanted

    def call(
        self,
        service_type: type[Any],
        name: str,
        request: Any,  # noqa: ANN401 - generated types
        timeout_s: float = 20.0,
    ) -> Any:  # noqa: ANN401
        """Call a service; None when it does not answer in time."""
        client = self.node.create_client(service_type, name)
        try:
            if not client.wait_for_service(timeout_s):
                return None
            future = client.call_async(request)
            deadline = time.monotonic() + timeout_s
            while not future.done() and time.monotonic() < deadline:
                time.sleep(0.01)
            return future.result() if future.done() else None
        finally:
            self.node.destroy_client(client)

    def change(self, node: str, transition: str) -> bool:
        """Change a node's lifecycle state."""
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[transition]))
        answer = self.call(ChangeState, f"{node}/change_state", request)
        return bool(answer and answer.success)

    def _counter(self, topic: str) -> Callable[[Any], None]:
        def count(_message: Any) -> None:  # noqa: ANN401
            self.outputs[topic] += 1

        return count

    def _note(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.statuses[status.name] = {pair.key: pair.value for pair in status.values}
            self.messages[status.name] = status.message
            self.heard_s[status.name] = time.monotonic()


class CommandWatch:
    """Counts what a robot must never be told: beyond limits, non-finite, or too far ahead.

    Args:
        node: probe node.
        topic: JointTrajectory that goes to the robot.
        limits: lowest and highest position of each joint [rad or m].
        furthest_s: how far beyond now a trajectory may reach [s].
        now_s: the clock by which trajectories are stamped [s].
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        limits: Mapping[str, tuple[float, float]],
        furthest_s: float,
        now_s: Callable[[], float],
    ) -> None:
        self.trajectories = 0
        self.unsafe: list[str] = []
        self._limits, self._furthest_s, self._now_s = dict(limits), furthest_s, now_s
        node.create_subscription(JointTrajectory, topic, self._check, qos_profile("reliable", 50))

    def _check(self, message: JointTrajectory) -> None:
        self.trajectories += 1
        start_s = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
        for point in message.points:
            positions = np.asarray(point.positions)
            if not np.isfinite(positions).all():
                self.unsafe.append("a position is not finite")
                continue
            for name, position in zip(message.joint_names, positions, strict=False):
                low, high = self._limits.get(name, (-np.inf, np.inf))
                if not low - 1e-6 <= position <= high + 1e-6:
                    self.unsafe.append(f"{name} at {position:.3f}, allowed {low:.3f} to {high:.3f}")
            end_s = start_s + point.time_from_start.sec + 1e-9 * point.time_from_start.nanosec
            if start_s > 0 and end_s > self._now_s() + self._furthest_s:
                self.unsafe.append(f"a point lies {end_s - self._now_s():.2f} s ahead")
