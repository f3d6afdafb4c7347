"""The guards around one robot: joint states and proposals in, trajectories and reports out.

Everything here runs in the executor's one thread of the guards' own process.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from trajectory_msgs.msg import JointTrajectory

from sensorium.policy.chunks import ActionChunk
from sensorium.policy.emergency_stop import EmergencyStop
from sensorium.policy.limits import JointLimits
from sensorium.policy.rejections import Reason, Rejection, RejectionLog
from sensorium.policy.supervisor import Decision, SupervisorState
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.header import header, stamp_from_time
from sensorium.ros.diagnostics import Status
from sensorium.ros.guard_messages import (
    GuardReport,
    Proposal,
    message_from_command,
    proposal_from_message,
)
from sensorium.ros.guarding import (
    GuardingConfiguration,
    make_motion_guard,
    make_supervisor,
    nanoseconds,
)


class GuardedRobot:
    """Decides what the robot is told.

    Args:
        limits: of the commanded joints.
        configuration: constants.
        gripper_joint: joint of the proposals that goes to the gripper's own action, or "".
        dry_run: publish nothing.
        simulated_time: whether the clock is a topic, which may be a moment behind the others.
        emergency_stop_timeout_s: see :class:`EmergencyStop`; 0 for none.
        log: takes every refusal.
        now_ns: reads the ROS clock.
        publish: sends a JointTrajectory to the robot.
        report: sends a report to the policy's process.
        command_gripper: takes the gripper's wanted position.
    """

    def __init__(
        self,
        limits: JointLimits,
        configuration: GuardingConfiguration,
        *,
        gripper_joint: str,
        dry_run: bool,
        simulated_time: bool,
        emergency_stop_timeout_s: float,
        log: RejectionLog,
        now_ns: Callable[[], int],
        publish: Callable[[Any], None],
        report: Callable[[GuardReport], None],
        command_gripper: Callable[[float], None],
    ) -> None:
        self._limits = limits
        self._configuration = configuration
        self._gripper_joint = gripper_joint
        self._dry_run = dry_run
        self._waits_for_clock = simulated_time or configuration.lockstep
        self._max_wait_ns = nanoseconds(configuration.max_clock_step_s)
        self._log = log
        self._now_ns = now_ns
        self._publish = publish
        self._send_report = report
        self._command_gripper = command_gripper
        self.emergency_stop = EmergencyStop(
            nanoseconds(emergency_stop_timeout_s) if emergency_stop_timeout_s else None
        )
        self._guard = make_motion_guard(limits, configuration)
        self._supervisor = make_supervisor(
            limits, configuration, guard=self._guard, emergency_stop=self.emergency_stop,
            dry_run=dry_run, log=log,
        )  # fmt: skip
        self.run = ""
        self._stop = ("", "")
        self._waiting: Proposal | None = None
        self._gripper_chunk: ActionChunk | None = None

    @property
    def is_running(self) -> bool:
        """Whether the policy may move the robot."""
        return self._supervisor.state is SupervisorState.RUNNING

    def set_dry_run(self, dry_run: bool) -> None:
        """Change whether commands are published.

        Raises:
            RuntimeError: a run is going on.
        """
        self._supervisor.set_dry_run(dry_run)
        self._dry_run = dry_run

    def start(self) -> Rejection | None:
        """Begin a run, also in the middle of another; returns why not, or None."""
        # Counts and last details are those of one run; the node's diagnostics keep the sums.
        self._log.reset()
        rejection = self._supervisor.start(self._now_ns())
        if rejection is None:
            self.run = uuid.uuid4().hex[:12]
            self._stop = ("", "")
            self._waiting = self._gripper_chunk = None
        return rejection

    def stop(self, reason: str, text: str) -> None:
        """Brake and end the run, if there is one."""
        if self.is_running:
            decision = self._supervisor.stop(self._now_ns())
            self._stop = (reason, text)
            self._obey(decision)
            self._send_report(self.report())

    def take_joint_state(self, message: JointState) -> None:
        """Take a joint state of the robot."""
        try:
            stamp_ns = stamp_from_time(message.header.stamp)
        except ConversionError as error:
            self._log.record(Rejection(Reason.STATE_INVALID, str(error)))
            return
        self._supervisor.report_joint_state(
            list(message.name), np.array(message.position, dtype=np.float64), stamp_ns=stamp_ns,
            received_ns=self._now_ns(),
        )  # fmt: skip
        self._judge()

    def take_emergency_stop(self, message: Bool) -> None:
        """Take the button's state; a press acts at once."""
        self.emergency_stop.report(bool(message.data), self._now_ns())
        self.tick()

    def take_proposal(self, message: JointTrajectory) -> None:
        """Take what the policy wants."""
        try:
            self._waiting = proposal_from_message(message)
        except ConversionError as error:
            self._log.record(Rejection(Reason.CHUNK_SHAPE, str(error)))
            return
        self._judge()

    def tick(self) -> None:
        """Look for reasons to stop, and follow the plan."""
        self._judge()
        now_ns = self._now_ns()
        follow_plan = not self._configuration.lockstep
        self._conclude(self._supervisor.tick(now_ns, follow_plan=follow_plan), None)
        if self.is_running and self._gripper_chunk is not None and not self._dry_run:
            coming = np.flatnonzero(self._gripper_chunk.times_ns > now_ns)
            row = coming[0] if coming.size else -1
            self._command_gripper(float(self._gripper_chunk.positions[row, 0]))

    def report(self, proposal: Proposal | None = None, **verdict: Any) -> GuardReport:  # noqa: ANN401
        """Return how the guards are, with the verdict on a proposal."""
        counts = {reason.value: count for reason, count in self._log.counts.items()}
        return GuardReport(
            run=self.run, running=self.is_running, dry_run=self._dry_run,
            stop_reason=self._stop[0], stop_text=self._stop[1], counts=counts,
            proposal_stamp_ns=proposal.stamp_ns if proposal else -1, **verdict,
        )  # fmt: skip

    def describe(self, status: Status) -> None:
        """Add state and last stop to a status."""
        status.value("state", self._supervisor.state.value)
        status.value("dry_run", self._dry_run)
        status.value("joints", ", ".join(self._limits.names))
        status.value("run", self.run)
        status.value("last_stop", ": ".join(filter(None, self._stop)) or "none")

    def _judge(self) -> None:
        """Judge the proposal that waits, unless the clock or the joint state are yet to come."""
        proposal = self._waiting
        if proposal is None:
            return
        now_ns = self._now_ns()
        ahead_ns = proposal.stamp_ns - now_ns
        if self._configuration.lockstep:
            ahead_ns = max(ahead_ns, proposal.stamp_ns - self._supervisor.measured_stamp_ns)
        # Clock and joint state of one step of a simulation may come after what was made of it.
        if self._waits_for_clock and 0 < ahead_ns <= self._max_wait_ns:
            return
        self._waiting = None
        rejection = self._refusal(proposal, now_ns)
        if rejection is not None or not self.is_running:
            self._answer(proposal, rejection, now_ns)
            return
        self._conclude(self._supervisor.tick(now_ns), proposal)

    def _refusal(self, proposal: Proposal, now_ns: int) -> Rejection | None:
        wanted = [*self._limits.names, *filter(None, [self._gripper_joint])]
        if proposal.run != self.run or not self.is_running:
            return self._log.record(
                Rejection(
                    Reason.CHUNK_OF_OTHER_RUN,
                    f"the chunk is of run '{proposal.run}', the guards "
                    f"{'are in' if self.is_running else 'ended'} '{self.run}'",
                )
            )
        if sorted(proposal.joints) != sorted(wanted):
            return self._log.record(
                Rejection(
                    Reason.JOINT_NAMES,
                    f"the chunk commands {', '.join(proposal.joints)}, the guards know "
                    f"{', '.join(wanted)}; make the contract and the guards' 'joints' agree",
                )
            )
        chunk = proposal.chunk
        if chunk is None:
            return Rejection(Reason.CHUNK_SHAPE, "the policy has no answer to this observation")
        order = [proposal.joints.index(joint) for joint in wanted]
        positions = chunk.positions[:, order]
        if not np.isfinite(positions).all():
            return self._log.record(
                Rejection(Reason.CHUNK_NOT_FINITE, "the chunk holds NaN or infinity")
            )
        joints = len(self._limits.names)
        arm = ActionChunk(chunk.stamp_ns, chunk.period_ns, positions[:, :joints])
        rejection = self._supervisor.offer_chunk(arm, now_ns)
        if rejection is None and self._gripper_joint:
            gripper = positions[:, joints:]
            self._gripper_chunk = ActionChunk(chunk.stamp_ns, chunk.period_ns, gripper)
        return rejection

    def _conclude(self, decision: Decision, proposal: Proposal | None) -> None:
        """Carry a decision out and tell of it."""
        if decision.stopped is not None:
            self._stop = (decision.stopped.reason.value, decision.stopped.detail)
        rejection = decision.stopped or decision.rejection
        if proposal is not None and rejection is not None and decision.stopped is None:
            self._answer(proposal, rejection, self._now_ns())
            return
        self._obey(decision)
        if proposal is not None or decision.stopped is not None:
            self._send_report(
                self.report(
                    proposal, published=decision.publish and rejection is None,
                    rejections=(str(rejection),) if rejection else (),
                )
            )  # fmt: skip

    def _answer(self, proposal: Proposal, rejection: Rejection | None, now_ns: int) -> None:
        """Tell of a refusal; in lockstep the robot goes on with the command in force."""
        commanded = self._guard.commanded
        if self._configuration.lockstep and self.is_running and not self._dry_run:
            names, stamp_ns = self._limits.names, proposal.stamp_ns
            if commanded is None:
                self._publish(JointTrajectory(header=header(stamp_ns, ""), joint_names=list(names)))
            else:
                self._publish(message_from_command(commanded, names, stamp_ns, now_ns))
        self._send_report(self.report(proposal, rejections=(str(rejection),) if rejection else ()))

    def _obey(self, decision: Decision) -> None:
        if decision.trajectory is not None and decision.publish:
            self._publish(
                message_from_command(
                    decision.trajectory, self._limits.names, decision.trajectory.stamp_ns,
                    decision.trajectory.start_ns,
                )
            )  # fmt: skip
