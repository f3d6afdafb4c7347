"""The guards by themselves: what they refuse to start with, and what they send to the robot."""

import threading
import time

import numpy as np
import pytest
from control_msgs.action import ParallelGripperCommand
from graph_nodes import Spinning, wait_until
from policy_tools import HOME, JOINTS, LOWER, MS, UPPER, VELOCITY, knots, write_urdf
from rclpy.action import ActionServer
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from sensorium.nodes.container import split_nodes
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.header import header
from sensorium.ros.guard_messages import message_from_proposal, proposal_from_message
from sensorium.ros.qos import qos_profile

PERIOD_NS = 50 * MS
ACCELERATION = {"limits.acceleration": [5.0, 5.0]}
LIMITS = {
    "limits.source": "parameters",
    "limits.lower": [LOWER, LOWER],
    "limits.upper": [UPPER, UPPER],
    "limits.velocity": [VELOCITY, VELOCITY],
    **ACCELERATION,
}


class RestingRobot:
    """Says at 50 Hz where it stands, and takes gripper commands."""

    def __init__(self, names=(*JOINTS, "grip"), positions=(*HOME, 0.0)):
        self.node = Node("resting_robot")
        self.gripper_goals = []
        self._state = JointState(name=list(names), position=[float(p) for p in positions])
        self._states = self.node.create_publisher(JointState, "joint_states", 10)
        self._server = ActionServer(
            self.node, ParallelGripperCommand, "gripper_cmd", self._command_gripper
        )
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._publish, daemon=True)
        self._thread.start()
        self._spinning = Spinning(self.node)

    def stop(self):
        self._ending.set()
        self._thread.join(5.0)
        self._spinning.stop()
        self._server.destroy()
        self.node.destroy_node()

    def _publish(self):
        while not self._ending.wait(0.02):
            self._state.header = header(time.time_ns(), "")
            self._states.publish(self._state)

    def _command_gripper(self, handle):
        command = handle.request.command
        self.gripper_goals.append((list(command.name), list(command.position)))
        handle.succeed()
        return ParallelGripperCommand.Result(reached_goal=True)


class Guards:
    """An active guard node, and a proposer in place of the policy's process."""

    def __init__(self, graph, **parameters):
        self.graph = graph
        self.trajectories = graph.collect(JointTrajectory, "/joint_trajectory")
        self.node = graph.host(
            "policy_guard",
            parameters={
                "dry_run": False, "joints": list(JOINTS), "guards.max_state_age_s": 0.5, **LIMITS,
                **parameters,
            },
        )  # fmt: skip
        graph.wait_state(self.node, "active")
        self.proposals = graph.publisher(JointTrajectory, "/policy_guard/proposal")
        self.run = ""

    def start(self):
        answers = []

        def started():
            response = self.graph.call(Trigger, "/policy_guard/start", Trigger.Request())
            answers.append(response.message)
            return response.success

        wait_until(started, lambda: f"no run: {answers[-1]}")
        self.run = answers[-1]

    def propose(self, rows, joints=JOINTS, run=None):
        stamp_ns = time.time_ns()
        message = message_from_proposal(
            self.run if run is None else run, joints, stamp_ns, PERIOD_NS, np.array(rows, float)
        )
        self.proposals.publish(message)
        return stamp_ns

    def rejected(self, reason):
        return self.graph.status(self.node, lambda status: status.count(f"rejected.{reason}"))


def ramp(steps=12, speed=0.4):
    return [HOME + speed * (i + 1) * PERIOD_NS / 1e9 for i in range(steps)]


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({**ACCELERATION, "joints": ["a", "elbow"]}, "joint 'elbow' is not in the robot"),
        ({"joints": ["a", "b"]}, "'limits.acceleration' has 0 numbers for 2 joints"),
        ({**ACCELERATION, "joints": []}, "parameter 'joints' is empty"),
        ({**LIMITS, "joints": ["a", "b"], "limits.velocity": [1.0]}, "velocity limits have shape"),
        ({**LIMITS, "joints": ["a", "b"], "guards.watchdog_s": 0.01}, "watchdog_ns"),
        ({**ACCELERATION, "joints": ["a", "b"], "description.file": "/nowhere"}, "/nowhere"),
    ],
)
def test_joints_and_limits_are_checked_before_anything_moves(graph, tmp_path, parameters, text):
    file = {"description.file": write_urdf(tmp_path)}
    node = graph.host("policy_guard", parameters={**file, **parameters})
    wait_until(lambda: text in node.node.last_failure, lambda: node.node.last_failure)
    assert graph.state(node) == "inactive"


def test_limits_come_from_the_robots_description(graph, tmp_path):
    description = graph.probe.create_publisher(
        String, "/robot_description", qos_profile("transient_local")
    )
    text = open(write_urdf(tmp_path)).read()  # noqa: SIM115, PTH123
    description.publish(String(data=text))
    node = graph.host("policy_guard", parameters={"joints": list(JOINTS), **ACCELERATION})
    graph.wait_state(node, "active")
    silent = {
        "joints": list(JOINTS), "description.topic": "nobody", "description.timeout_s": 0.1,
        **ACCELERATION,
    }  # fmt: skip
    other = graph.host("policy_guard", name="other", parameters=silent)
    wait_until(
        lambda: "no robot description came on '/nobody'" in other.node.last_failure,
        lambda: other.node.last_failure,
    )


def test_proposals_are_followed_within_the_horizon_and_refused_by_name(graph):
    graph.manage(RestingRobot())
    guards = Guards(graph)
    guards.start()
    wait_until(lambda: guards.propose(ramp()) and guards.trajectories, "nothing is published")
    message = guards.trajectories[0]
    times, positions = knots(message)
    assert tuple(message.joint_names) == JOINTS
    assert np.abs(np.diff(positions, axis=0)).max() <= VELOCITY * PERIOD_NS / 1e9 + 1e-9
    assert times[-1] <= time.time_ns() + 500 * MS
    for rows, joints, run, reason in (
        (ramp(), ("a", "c"), None, "joint_names"),
        (ramp(), JOINTS, "yesterday", "chunk_of_other_run"),
        ([*ramp(), [np.inf, 0.0]], JOINTS, None, "chunk_not_finite"),
        ([*ramp(), [UPPER + 0.1, 0.0]], JOINTS, None, "position_limit"),
        ([HOME + 0.4] * 8, JOINTS, None, "jump"),
    ):
        guards.start()
        guards.propose(rows, joints, run)
        assert guards.rejected(reason).count(f"rejected.{reason}") >= 1


def test_a_gripper_with_an_action_of_its_own_is_commanded_when_it_changes(graph):
    robot = graph.manage(RestingRobot())
    guards = Guards(
        graph,
        **{
            "gripper.action": "gripper_cmd", "gripper.joint": "grip", "gripper.lower": 0.0,
            "gripper.upper": 0.04,
        },
    )  # fmt: skip
    guards.start()

    def propose(opening):
        guards.propose([[*HOME, opening]] * 10, (*JOINTS, "grip"))
        time.sleep(0.1)

    wait_until(lambda: propose(0.04) or robot.gripper_goals, "the gripper hears nothing")
    for _ in range(5):
        propose(0.04)
    assert robot.gripper_goals == [(["grip"], [0.04])]
    wait_until(lambda: propose(-0.01) or len(robot.gripper_goals) > 1, "it does not close")
    assert robot.gripper_goals[-1] == (["grip"], [0.0])
    assert all(tuple(message.joint_names) == JOINTS for message in guards.trajectories)


def test_guards_do_not_share_a_process_with_the_policy():
    with pytest.raises(ValueError, match="inference could hold the guards up"):
        split_nodes(["--node", "policy", "--node", "geometry", "--node", "policy_guard"])
    assert len(split_nodes(["--node", "policy", "--node", "geometry"])) == 2


def test_a_proposal_keeps_its_numbers_on_the_way():
    rows = np.random.default_rng(1).normal(size=(7, 2))
    rows[3, 1] = np.nan
    message = message_from_proposal("run", JOINTS, 12_345_678_901, PERIOD_NS, rows)
    proposal = proposal_from_message(message)
    assert (proposal.run, proposal.joints, proposal.stamp_ns) == ("run", JOINTS, 12_345_678_901)
    assert proposal.chunk.period_ns == PERIOD_NS
    np.testing.assert_array_equal(proposal.chunk.positions, rows)
    assert proposal_from_message(message_from_proposal("r", JOINTS, 0, 1, None)).chunk is None
    message.points[2].time_from_start.nanosec += 1
    with pytest.raises(ConversionError, match="not evenly spaced"):
        proposal_from_message(message)
