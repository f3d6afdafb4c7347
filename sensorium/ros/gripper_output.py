"""Commands to a gripper that has an action of its own, sent when they change."""

from __future__ import annotations

from dataclasses import dataclass

from rclpy.action import ActionClient
from rclpy.node import Node
from sensor_msgs.msg import JointState

from sensorium.configuration import ConfigurationError, parameter
from sensorium.policy.gripper import GripperCommander
from sensorium.policy.rejections import Rejection
from sensorium.ros.diagnostics import Status


@dataclass(frozen=True, slots=True)
class GripperConfiguration:
    """A gripper that is not among the joints of the trajectory."""

    action: str = parameter(
        "", "Action control_msgs/ParallelGripperCommand; empty when the gripper's joint is among "
        "'joints' or there is none."
    )  # fmt: skip
    joint: str = parameter("", "Name of the gripper's joint in the policy's chunks.")
    lower: float = parameter(0.0, "Lowest position [rad or m].")
    upper: float = parameter(0.0, "Highest position [rad or m].")
    deadband: float = parameter(
        0.002, "Smallest change that is sent [rad or m].", minimum=1e-6, maximum=10.0
    )


class GripperOutput:
    """Sends a gripper's position when it has changed.

    Args:
        node: the node.
        configuration: see :class:`GripperConfiguration`; its action is not empty.

    Raises:
        ConfigurationError: no joint, or limits that are not rising.
        ImportError: control_msgs is not installed.
    """

    def __init__(self, node: Node, configuration: GripperConfiguration) -> None:
        from control_msgs.action import ParallelGripperCommand

        if not configuration.joint:
            raise ConfigurationError("'gripper.action' is given; name 'gripper.joint' too")
        try:
            self._commander = GripperCommander(
                configuration.lower, configuration.upper, configuration.deadband
            )
        except ValueError as error:
            raise ConfigurationError(f"parameters 'gripper.lower', 'upper': {error}") from error
        self._node = node
        self._joint = configuration.joint
        self._goal_type = ParallelGripperCommand.Goal
        self._client = ActionClient(node, ParallelGripperCommand, configuration.action)
        self._sent = 0

    def reset(self) -> None:
        """Begin a run: the next position is sent in any case."""
        self._commander.reset()

    def command(self, position: float) -> None:
        """Send a position, when it has changed enough and the gripper is there."""
        if not self._client.server_is_ready():
            self._node.get_logger().warning(
                "the gripper's action is not available; start its controller",
                throttle_duration_sec=5.0,
            )
            return
        command = self._commander.command(position)
        if command is None or isinstance(command, Rejection):
            return
        goal = self._goal_type(command=JointState(name=[self._joint], position=[command]))
        self._client.send_goal_async(goal)
        self._sent += 1

    def describe(self, status: Status) -> None:
        """Add counts to a status."""
        status.value("gripper.commands", self._sent)
        status.value("gripper.available", self._client.server_is_ready())

    def close(self) -> None:
        """Destroy the client."""
        self._client.destroy()
