"""Guards between a policy and a robot, in a process that inference cannot block."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from sensorium.configuration import ConfigurationError, parameter
from sensorium.policy.rejections import Reason
from sensorium.ros.diagnostics import Diagnostics, RateMonitor, Status
from sensorium.ros.gripper_output import GripperConfiguration, GripperOutput
from sensorium.ros.guard_messages import GuardReport, message_from_report
from sensorium.ros.guarded_robot import GuardedRobot
from sensorium.ros.guarding import GuardingConfiguration, ReportedRejections
from sensorium.ros.inputs import MonitoredSubscription
from sensorium.ros.joint_limits import LimitsConfiguration, joint_limits
from sensorium.ros.lifecycle import ManagedNode
from sensorium.ros.qos import OUTPUT_QOS, QOS_NAMES, overriding_options, qos_profile
from sensorium.ros.robot_description import DescriptionConfiguration
from sensorium.ros.running import run

_HEARTBEAT_S = 0.2


@dataclass(frozen=True, slots=True)
class EmergencyStopConfiguration:
    """The emergency stop."""

    topic: str = parameter("emergency_stop", "Topic of std_msgs/Bool; true stops and latches.")
    timeout_s: float = parameter(
        0.0, "Silence of the topic that stops as well [s]; 0 when it need not repeat itself.",
        minimum=0.0, maximum=60.0,
    )  # fmt: skip


@dataclass(frozen=True)
class Configuration:
    """Parameters of the node."""

    dry_run: bool = parameter(
        True, "Decide everything, publish nothing to the robot.", read_only=False
    )
    joints: tuple[str, ...] = parameter((), "Joints that are commanded, in this order.")
    trajectory_topic: str = parameter(
        "joint_trajectory", "Topic of trajectory_msgs/JointTrajectory to the robot's controller."
    )
    joint_states_topic: str = parameter("joint_states", "Topic of the robot's joint states.")
    joint_states_qos: str = parameter("sensor_data", "QoS of that subscription.", choices=QOS_NAMES)
    limits: LimitsConfiguration = field(default_factory=LimitsConfiguration)
    description: DescriptionConfiguration = field(default_factory=DescriptionConfiguration)
    guards: GuardingConfiguration = field(default_factory=GuardingConfiguration)
    gripper: GripperConfiguration = field(default_factory=GripperConfiguration)
    emergency_stop: EmergencyStopConfiguration = field(default_factory=EmergencyStopConfiguration)


class PolicyGuard(ManagedNode[Configuration]):
    """Judges proposals of the policy's process and alone publishes to the robot."""

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - rclpy's own
        self._robot: GuardedRobot | None = None
        self._gripper: GripperOutput | None = None
        self._inputs: list[MonitoredSubscription] = []
        self._ticking: list[Any] = []
        self._to_robot: Any = None
        self._reports: Any = None
        self._sent = RateMonitor()
        super().__init__("policy_guard", Configuration, **arguments)
        self._rejections = ReportedRejections(self)
        self.create_service(Trigger, "~/start", self._start_run)
        self.create_service(Trigger, "~/stop", self._stop_run)
        self.create_service(Trigger, "~/reset_emergency_stop", self._reset_emergency_stop)
        self._diagnostics = Diagnostics(self, "policy", self._fill)

    def set_up(self) -> None:
        """Make the publishers."""
        configuration = self.configuration
        self._to_robot = self.create_publisher(
            JointTrajectory, configuration.trajectory_topic, qos_profile(OUTPUT_QOS),
            qos_overriding_options=overriding_options(),
        )  # fmt: skip
        self._reports = self.create_publisher(
            DiagnosticArray, "~/report", qos_profile(OUTPUT_QOS, 50)
        )
        if configuration.gripper.action:
            self._gripper = GripperOutput(self, configuration.gripper)

    def start(self) -> None:
        """Check joints and limits, subscribe, begin to tick."""
        configuration = self.configuration
        limits = joint_limits(
            self, configuration.joints, configuration.limits, configuration.description
        )
        robot = self._robot = GuardedRobot(
            limits, configuration.guards, gripper_joint=configuration.gripper.joint
            if self._gripper else "", dry_run=configuration.dry_run,
            simulated_time=bool(self.get_parameter("use_sim_time").value),
            emergency_stop_timeout_s=configuration.emergency_stop.timeout_s,
            log=self._rejections, now_ns=self._now_ns, publish=self._publish,
            report=self._report, command_gripper=self._command_gripper,
        )  # fmt: skip
        for message_type, topic, callback, qos, depth in (
            (JointState, configuration.joint_states_topic, robot.take_joint_state,
             configuration.joint_states_qos, 5),
            (JointTrajectory, "~/proposal", robot.take_proposal, OUTPUT_QOS, 5),
            (Bool, configuration.emergency_stop.topic, robot.take_emergency_stop, OUTPUT_QOS, 5),
        ):  # fmt: skip
            self._inputs.append(
                MonitoredSubscription(self, message_type, topic, callback, qos_profile(qos, depth))
            )
        # Steady time: a timer of simulated time would stand still when that clock jumps back.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._ticking = [
            self.create_timer(configuration.guards.control_period_s, robot.tick, clock=steady),
            self.create_timer(_HEARTBEAT_S, lambda: self._report(robot.report()), clock=steady),
        ]

    def stop(self) -> None:
        """Brake, then stop listening."""
        if self._robot is not None:
            self._robot.stop("deactivated", "the guards were deactivated")
            self._robot = None
        for timer in self._ticking:
            self.destroy_timer(timer)
        for source in self._inputs:
            source.close()
        self._ticking, self._inputs = [], []

    def tear_down(self) -> None:
        """Destroy the publishers."""
        if self._gripper is not None:
            self._gripper.close()
        for publisher in (self._to_robot, self._reports):
            if publisher is not None:
                self.destroy_publisher(publisher)
        self._gripper = self._to_robot = self._reports = None

    def apply_changes(self, old: Configuration, new: Configuration) -> None:
        """Switch the dry run, between two runs."""
        if self._robot is not None and new.dry_run != old.dry_run:
            try:
                self._robot.set_dry_run(new.dry_run)
            except RuntimeError as error:
                raise ConfigurationError(str(error)) from error

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _publish(self, message: Any) -> None:  # noqa: ANN401 - generated types, here and below
        self._to_robot.publish(message)
        self._sent.tick()

    def _report(self, report: GuardReport) -> None:
        self._reports.publish(message_from_report(report, max(self._now_ns(), 0)))

    def _command_gripper(self, position: float) -> None:
        if self._gripper is not None:
            self._gripper.command(position)

    def _start_run(self, _request: Any, response: Any) -> Any:  # noqa: ANN401
        if self._robot is None:
            response.message = "guards_inactive: the guards are not active; activate them first"
            return response
        if self._gripper is not None:
            self._gripper.reset()
        rejection = self._robot.start()
        response.success = rejection is None
        response.message = str(rejection) if rejection else self._robot.run
        return response

    def _stop_run(self, _request: Any, response: Any) -> Any:  # noqa: ANN401
        if self._robot is not None:
            self._robot.stop("requested", "the run was ended on request")
        response.success = True
        return response

    def _reset_emergency_stop(self, _request: Any, response: Any) -> Any:  # noqa: ANN401
        if self._robot is None:
            response.message = "the guards are not active; activate them first"
            return response
        rejection = self._robot.emergency_stop.release(self._now_ns())
        response.success = rejection is None
        response.message = rejection.detail if rejection else "the emergency stop is released"
        return response

    def _fill(self, status: Status) -> None:
        robot = self._robot
        status.value("trajectories", self._sent.count)
        status.value("rate_hz", self._sent.rate_hz)
        self._rejections.describe(status)
        for key, source in zip(
            ("joint_states", "proposals", "emergency_stop"), self._inputs, strict=False
        ):
            source.describe(status, key)
        if self._gripper is not None:
            self._gripper.describe(status)
        if robot is not None:
            robot.describe(status)
            cause = robot.emergency_stop.check(self._now_ns())
            status.value("emergency_stop.latched", cause is not None)
            if cause is not None:
                status.error(f"{Reason.EMERGENCY_STOP.value}: {cause.detail}")
        if self.last_failure:
            status.error(self.last_failure)


def make_node(**arguments: Any) -> PolicyGuard:  # noqa: ANN401
    """Make the node."""
    return PolicyGuard(**arguments)


def main() -> None:
    """Run the node."""
    run([make_node])


if __name__ == "__main__":
    main()
