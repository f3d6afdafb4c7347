"""A robot for tests of the policy: it follows trajectories ideally and keeps the time."""

import sys
import threading
import time
from pathlib import Path

import numpy as np
import yaml
from graph_nodes import NodeProcess, Spinning, ros_arguments, wait_until
from policy_process import IMAGE, RATE_HZ, STATE
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from sensorium_ros.action import RunPolicy
from trajectory_msgs.msg import JointTrajectory

from sensorium.cli.up import node_environment
from sensorium.processes import ManagedProcess
from sensorium.ros.convert.header import header, stamp_from_time, time_from_stamp
from sensorium.ros.convert.image import image_from_color
from sensorium.ros.qos import qos_profile

MS = 1_000_000
STEP_NS = 10 * MS
JOINTS = ("a", "b")
LOWER, UPPER, VELOCITY, ACCELERATION = -1.5, 1.5, 1.0, 5.0
HOME = np.array([0.8, 0.0])
URDF = "<robot name='stub'>" + "".join(
    f"<link name='{parent}'/><joint name='{joint}' type='revolute'><parent link='{parent}'/>"
    f"<child link='{child}'/><axis xyz='0 0 1'/>"
    f"<limit lower='{LOWER}' upper='{UPPER}' velocity='{VELOCITY}' effort='1'/></joint>"
    for joint, parent, child in (("a", "base_link", "arm"), ("b", "arm", "hand"))
) + "<link name='hand'/></robot>"  # fmt: skip

GUARD = {
    "use_sim_time": True,
    "dry_run": False,
    "joints": list(JOINTS),
    "limits.acceleration": [ACCELERATION, ACCELERATION],
    "guards.control_period_s": 0.05,
    # On a busy machine a process stands still for half a second now and then.
    "guards.max_clock_step_s": 1.5,
    "guards.max_state_age_s": 0.4,
    "guards.watchdog_s": 0.8,
}
CONTRACT = {
    "general": {"rate_hz": RATE_HZ, "max_skew_s": 0.15},
    "joint_states": {"max_age_s": 0.4, "max_silence_s": 0.5},
    "observations": {
        IMAGE: {"type": "image", "topic": "camera/image", "max_age_s": 0.4, "max_silence_s": 0.5},
        STATE: {"type": "joint_state", "select": ["position.a", "position.b"]},
    },
    "action": {"type": "joint_positions", "joints": list(JOINTS)},
}
POLICY = {
    "use_sim_time": True,
    "threads": 1,
    "world_state_topic": "world_state",
    "run.replan_threshold_s": 0.35,
    "run.observation_patience_s": 0.3,
}


def write_contract(folder, **changes):
    path = folder / "contract.yaml"
    path.write_text(yaml.safe_dump({**CONTRACT, **changes}))
    return str(path)


def write_urdf(folder):
    path = folder / "robot.urdf"
    path.write_text(URDF)
    return str(path)


def write_scripted_checkpoint(folder):
    directory = folder / "scripted"
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text('{"type": "scripted"}')
    return str(directory)


class PolicyProcess(NodeProcess):
    """The policy node of policy_process.py in a process of its own."""

    def __init__(self, parameters, log):
        self.name, self.log = "/policy", log
        script = str(Path(__file__).with_name("policy_process.py"))
        arguments = ros_arguments("policy", parameters=parameters)
        self._process = ManagedProcess(
            "policy", [sys.executable, script, *arguments], node_environment(), log
        )
        self._process.start()


def knots(message):
    """Times (N,) int64 and positions (N, J) of a trajectory."""
    stamp_ns = stamp_from_time(message.header.stamp)
    times = [stamp_ns + stamp_from_time(point.time_from_start) for point in message.points]
    rows = [list(point.positions) for point in message.points]
    return np.array(times, dtype=np.int64), np.array(rows).reshape(-1, len(JOINTS))


def sampled(times, positions, time_ns):
    """Straight lines between knots, held at the ends: positions (J,)."""
    return np.array([np.interp(time_ns, times, positions[:, i]) for i in range(len(JOINTS))])


class StubRobot:
    """Follows every trajectory exactly, on a clock of its own that it publishes.

    Its time goes at most as fast as real time. All in one thread; faults are attributes.
    """

    def __init__(self):
        self.node = Node("stub_robot")
        self.now_ns = 1_000_000 * MS
        self.position = HOME.copy()
        self.names = JOINTS
        self.sends_images = True
        self.image_age_ns = 0
        self.history = []
        self.trajectories = []
        self._knots = None
        self._jump_ns = 0
        self._steps = 0
        self._clock = self.node.create_publisher(Clock, "/clock", 10)
        self._states = self.node.create_publisher(JointState, "joint_states", 10)
        self._images = self.node.create_publisher(Image, "camera/image", 10)
        self.node.create_subscription(
            JointTrajectory, "joint_trajectory", self._follow, qos_profile("reliable", 50)
        )
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._running = True
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def stop(self):
        self._running = False
        self._thread.join(10.0)
        self._executor.shutdown()
        self.node.destroy_node()

    def jump_clock(self, by_ns):
        self._jump_ns = by_ns
        wait_until(lambda: self._jump_ns == 0, "the clock does not jump")

    def mend(self):
        """End every fault and forget what was."""
        self.names, self.sends_images, self.image_age_ns = JOINTS, True, 0
        self.wait(0.45)
        self.history, self.trajectories = [], []

    def wait(self, seconds):
        end_ns = self.now_ns + int(seconds * 1e9)
        wait_until(lambda: self.now_ns >= end_ns, "the robot's time stands still")

    def forget_before_the_jump(self, since_ns):
        """Keep only what was sent and done by the new clock."""
        near = range(since_ns - 500 * MS, self.now_ns + 500 * MS)
        self.history = [entry for entry in self.history if entry[0] in near]
        self.trajectories = [
            (message, received_ns)
            for message, received_ns in self.trajectories
            if stamp_from_time(message.header.stamp) in near
        ]

    def assert_safe(self):
        """No command leaves the limits, is too fast, jumps, or reaches too far; nor does the robot.

        Two commands meet at the moment at which the guards changed over, at most a tick before the
        first point of the new one; from there both go at most as fast as allowed.
        """
        path = np.array([position for _, position in self.history])
        assert ((path >= LOWER - 1e-6) & (path <= UPPER + 1e-6)).all()
        before = None
        for message, received_ns in self.trajectories:
            times, positions = knots(message)
            if not len(times):
                before = None
                continue
            assert ((positions >= LOWER - 1e-6) & (positions <= UPPER + 1e-6)).all()
            speed = np.abs(np.diff(positions, axis=0)) / (np.diff(times)[:, None] / 1e9)
            assert (speed <= VELOCITY + 1e-6).all()
            assert times[-1] <= received_ns + 500 * MS
            if before is not None:
                apart_s = 0.1 + max(before[0][0] - times[0], 0) / 1e9
                step = np.abs(positions[0] - sampled(*before, times[0]))
                assert (step <= VELOCITY * apart_s + 1e-6).all(), "the command jumps"
            before = times, positions

    def rests_after(self, time_ns):
        """Whether nothing moved since a moment, and there are some steps since."""
        since = np.array([position for at_ns, position in self.history if at_ns > time_ns])
        return len(since) > 20 and float(np.ptp(since, axis=0).max()) < 1e-9

    def last_motion_ns(self):
        """When the last motion ended."""
        history = list(self.history)
        times = np.array([at_ns for at_ns, _ in history])
        path = np.array([position for _, position in history])
        if len(path) < 2:
            return 0
        moving = np.flatnonzero(np.abs(np.diff(path, axis=0)).max(axis=1) > 1e-9)
        return int(times[moving[-1] + 1]) if moving.size else 0

    def _follow(self, message):
        self.trajectories.append((message, self.now_ns))
        assert tuple(message.joint_names) == JOINTS
        times, positions = knots(message)
        ahead = times > self.now_ns
        self._knots = (
            np.array([self.now_ns, *times[ahead]]), np.array([self.position, *positions[ahead]])
        )  # fmt: skip

    def _loop(self):
        while self._running:
            began = time.monotonic()
            for _ in range(20):
                self._executor.spin_once(timeout_sec=0.0)
            self._step()
            time.sleep(max(STEP_NS / 1e9 - (time.monotonic() - began), 0.001))

    def _step(self):
        self.now_ns += STEP_NS
        if self._jump_ns:
            self.now_ns += self._jump_ns
            self._jump_ns, self._knots = 0, None
        if self._knots is not None:
            # As every controller it has a speed limit: a message that was long under way is late.
            way = sampled(*self._knots, self.now_ns) - self.position
            reach = 1.5 * VELOCITY * STEP_NS / 1e9
            self.position = self.position + np.clip(way, -reach, reach)
        self.history.append((self.now_ns, self.position))
        self._steps += 1
        self._clock.publish(Clock(clock=time_from_stamp(self.now_ns)))
        if self._steps % 2 == 0:
            state = JointState(header=header(self.now_ns, ""), name=list(self.names))
            state.position = self.position[: len(self.names)].tolist()
            self._states.publish(state)
        if self._steps % 5 == 0 and self.sends_images:
            picture = np.full((24, 32, 3), 128, np.uint8)
            self._images.publish(image_from_color(picture, self.now_ns - self.image_age_ns, "cam"))


class Operator:
    """Gives goals to a policy: a node of its own, spun only when its client is complete."""

    def __init__(self, name="policy/run"):
        self.node = Node("operator")
        self.client = ActionClient(self.node, RunPolicy, name)
        self._spinning = Spinning(self.node)
        wait_until(self.client.server_is_ready, "there is no action")

    def stop(self):
        self._spinning.stop()
        self.client.destroy()
        self.node.destroy_node()

    def give(self, instruction, time_limit_s=0.0):
        return Goal(self.client, instruction, time_limit_s)


class Goal:
    """A goal of the RunPolicy action, sent and answered."""

    def __init__(self, client, instruction, time_limit_s):
        self.feedback = []
        goal = RunPolicy.Goal(instruction=instruction, time_limit_s=float(time_limit_s))
        future = client.send_goal_async(
            goal, feedback_callback=lambda message: self.feedback.append(message.feedback)
        )
        wait_until(future.done, "the goal is not answered")
        self.handle = future.result()
        self.accepted = self.handle.accepted
        self._result = self.handle.get_result_async() if self.accepted else None

    def cancel(self):
        self.handle.cancel_goal_async()

    def result(self):
        wait_until(self._result.done, "the run does not end")
        return self._result.result().result
