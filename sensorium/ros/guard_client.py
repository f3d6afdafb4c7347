"""The policy's end of the link to the guards' process: starts and ends runs, proposes, listens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.node import Node
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from sensorium.ros.guard_messages import GuardReport, message_from_proposal, report_from_message
from sensorium.ros.qos import OUTPUT_QOS, qos_profile

_STOP_TIMEOUT_S = 1.0


class GuardClient:
    """Talks to one policy_guard node. Calls from the executor's thread, except :meth:`propose`.

    Args:
        node: the node.
        guard: name of the guards' node, relative to the node's namespace or absolute.
        reported: called with every report.
    """

    def __init__(self, node: Node, guard: str, reported: Callable[[GuardReport], None]) -> None:
        self._node = node
        self._reported = reported
        self.name = guard
        self._proposals = node.create_publisher(
            JointTrajectory, f"{guard}/proposal", qos_profile(OUTPUT_QOS)
        )
        self._reports = node.create_subscription(
            DiagnosticArray, f"{guard}/report", self._receive, qos_profile(OUTPUT_QOS, 50)
        )
        self._start = node.create_client(Trigger, f"{guard}/start")
        self._stop = node.create_client(Trigger, f"{guard}/stop")
        self._heard_s = time.monotonic()
        self._stopping: Any = None
        self._stopping_s = 0.0

    @property
    def silent_s(self) -> float:
        """Time since the last report [s]."""
        return time.monotonic() - self._heard_s

    @property
    def is_there(self) -> bool:
        """Whether the guards can be asked for a run.

        Not before they have answered the end of the last one: two requests may overtake each other.
        """
        stopping = self._stopping is not None and not self._stopping.done()
        if stopping and time.monotonic() - self._stopping_s < _STOP_TIMEOUT_S:
            return False
        return bool(self._start.service_is_ready() and self._stop.service_is_ready())

    @property
    def is_listening(self) -> bool:
        """Whether they hear proposals, which they do while they are active."""
        return bool(self._proposals.get_subscription_count() > 0)

    def start(self, answered: Callable[[bool, str], None]) -> None:
        """Ask for a run; `answered` gets (True, name of the run) or (False, "reason: text")."""
        self._heard_s = time.monotonic()

        def done(future: Any) -> None:  # noqa: ANN401 - rclpy's own
            response = future.result()
            answered(bool(response.success), str(response.message))

        self._start.call_async(Trigger.Request()).add_done_callback(done)

    def stop(self) -> None:
        """Ask for the run to end; nobody waits for the answer, the report tells."""
        if self._stop.service_is_ready():
            self._stopping_s = time.monotonic()
            self._stopping = self._stop.call_async(Trigger.Request())

    def propose(
        self,
        run: str,
        joints: tuple[str, ...],
        stamp_ns: int,
        period_ns: int,
        positions: NDArray[np.float64] | None,
    ) -> None:
        """Send what the policy wants; None says that it has no answer to this observation."""
        self._proposals.publish(message_from_proposal(run, joints, stamp_ns, period_ns, positions))

    def close(self) -> None:
        """Destroy publisher, subscription and clients."""
        self._node.destroy_publisher(self._proposals)
        self._node.destroy_subscription(self._reports)
        self._node.destroy_client(self._start)
        self._node.destroy_client(self._stop)

    def _receive(self, message: DiagnosticArray) -> None:
        self._heard_s = time.monotonic()
        self._reported(report_from_message(message))
