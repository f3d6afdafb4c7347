"""The tabletop world as a node: a test client moves it over DDS as a policy would."""

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="mujoco is not installed")

from graph_nodes import wait_until
from graph_tools import Graph
from rclpy.action import ActionClient
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String
from tabletop_tools import NAMES, STEP_NS, WorldClient, expert_commands

from sensorium.policy.kinematics import Kinematics
from sensorium.ros.convert.header import stamp_from_time
from sensorium.ros.tf import TransformBuffer, TransformListener
from sensorium.tabletop.arm import BASE_LINK, TIP_LINK, VELOCITY_LIMITS

SEED, TASK = 21, "place_red"


@pytest.fixture
def graph(ros, tmp_path):
    with Graph(tmp_path) as graph:
        yield graph


@pytest.fixture(scope="module")
def expert_rows():
    return expert_commands(SEED, TASK)


def test_in_lockstep_the_experts_commands_do_the_task_over_the_graph(graph, expert_rows):
    client = WorldClient(graph, lockstep_timeout_s=60.0, lockstep_steps=2)
    answer = client.reset(SEED, TASK)
    assert answer.success
    assert "red" in answer.instruction
    begin = client.wait_state(lambda state: state.episode == answer.episode, "no new episode")
    stamp_ns = stamp_from_time(begin.header.stamp)
    for row in range(0, len(expert_rows), 2):
        frame = client.wait_frame(stamp_ns - 1)
        assert stamp_from_time(frame.header.stamp) == stamp_ns, "one observation per two steps"
        chunk = expert_rows[row : row + 2]
        client.send(stamp_ns, [STEP_NS * (i + 1) for i in range(len(chunk))], chunk)
        stamp_ns += 2 * STEP_NS
    done = client.wait_state(lambda state: state.success, "the task was not done")
    assert done.done
    assert (done.task, done.seed, done.episode) == (TASK, SEED, answer.episode)
    status = graph.status(client.node, lambda status: status.count("answered") > 0)
    assert status.count("timeouts") == 0
    assert status.count("rejected") == 0


def test_the_robots_topics_agree_with_each_other(graph):
    images, depths = (graph.collect(Image, f"/camera/{topic}/image_raw")
                      for topic in ("color", "aligned_depth_to_color"))  # fmt: skip
    infos = graph.collect(CameraInfo, "/camera/color/camera_info")
    clocks = graph.collect(Clock, "/clock")
    buffer = TransformBuffer()
    listener = TransformListener(graph.probe, buffer)
    client = WorldClient(graph, lockstep_timeout_s=0.3)
    descriptions = graph.collect(String, "/robot_description", "transient_local")
    wait_until(lambda: descriptions and images and depths and infos and clocks, "topics missing")
    kinematics = Kinematics(descriptions[0].data, BASE_LINK, TIP_LINK)
    wait_until(lambda: len(client.joints) > 1 and client.frames, "no joint states")
    stamp_ns, positions = client.newest_joints()
    tip = buffer.lookup(BASE_LINK, TIP_LINK, stamp_ns, timeout_s=10.0)
    np.testing.assert_allclose(kinematics.forward(positions[:7]), tip, atol=1e-9)
    frame = client.frames[0]
    camera = buffer.lookup(
        BASE_LINK, frame.header.frame_id, stamp_from_time(frame.header.stamp), timeout_s=10.0
    )
    position = frame.world_from_camera.position
    np.testing.assert_allclose(camera[:3, 3], (position.x, position.y, position.z), atol=1e-12)
    assert (depths[0].encoding, images[0].encoding) == ("32FC1", "rgb8")
    assert infos[0].k[0] > 0
    listener.close()


def test_in_real_time_the_velocity_limit_holds_and_motion_ends_with_the_trajectory(graph):
    client = WorldClient(graph, mode="realtime", seed=3)
    wait_until(lambda: client.joints, "no joint states")
    _, start = client.newest_joints()
    goal = start.copy()
    goal[0] += 1.2
    client.send(0, [STEP_NS], [goal])
    wait_until(lambda: abs(client.newest_joints()[1][0] - goal[0]) < 2e-3, "the arm did not come")
    track = [
        (stamp_from_time(message.header.stamp), message.position[0])
        for message in list(client.joints)
    ]
    times, angles = np.array(track).T
    # Over 0.1 s, so that the simulated arm's own swing does not count as the controller's.
    speeds = np.abs(angles[5:] - angles[:-5]) / (times[5:] - times[:-5]) * 1e9
    assert speeds.max() <= 1.1 * VELOCITY_LIMITS[0]
    assert speeds.max() > 0.7 * VELOCITY_LIMITS[0]
    # Nobody commands any more: it stays.
    seen = len(client.joints)
    wait_until(lambda: len(client.joints) > seen + 25, "joint states ended")
    np.testing.assert_allclose(client.newest_joints()[1][0], goal[0], atol=2e-3)


def test_an_empty_trajectory_stops_and_a_late_one_loses_its_past(graph):
    client = WorldClient(graph, mode="realtime")
    wait_until(lambda: client.joints, "no joint states")
    now_ns, start = client.newest_joints()
    away, back = start.copy(), start.copy()
    away[0] += 1.5
    client.send(0, [3_000_000_000], [away])
    wait_until(lambda: client.newest_joints()[1][0] > start[0] + 0.1, "the arm does not move")
    client.send(0)
    wait_until(lambda: abs(client.joints[-1].velocity[0]) < 1e-3, "the arm does not stop")
    assert client.newest_joints()[1][0] < start[0] + 1.4
    # Its first point is over: only the second is followed.
    now_ns, here = client.newest_joints()
    back[0] = here[0] - 0.2
    client.send(now_ns - STEP_NS, [STEP_NS // 2, 10 * STEP_NS], [away, back])
    wait_until(lambda: abs(client.newest_joints()[1][0] - back[0]) < 2e-3, "it did not come back")
    assert graph.status(client.node).count("dropped_points") == 1


BAD = {
    "joint_names": (["elbow"], [[0.0]], [STEP_NS], "'elbow'"),
    "not_finite": (NAMES, [[0.0, 0.0, float("nan")] + [0.0] * 5], [STEP_NS], "'joint3'"),
    "positions": (NAMES, [[0.0] * 3], [STEP_NS], "3 positions for 8 joints"),
    "times": (NAMES, [[0.0] * 8, [0.0] * 8], [STEP_NS, STEP_NS], "must rise"),
}


def test_trajectories_that_make_no_sense_are_refused_by_name_and_move_nothing(graph):
    client = WorldClient(graph, mode="realtime")
    wait_until(lambda: client.joints, "no joint states")
    _, start = client.newest_joints()
    for reason, (names, rows, times, text) in BAD.items():
        client.send(0, times, rows, list(names))
        status = graph.status(client.node, lambda s, key=f"rejected.{reason}": s.count(key) == 1)
        assert text in status.message
    client.send(0, [STEP_NS], [[0.0] * 6], NAMES[:6])
    status = graph.status(client.node, lambda s: s.count("rejected.joint_names") == 2)
    assert "'joint7' is missing" in status.message
    np.testing.assert_allclose(client.newest_joints()[1], start, atol=1e-3)


def test_a_reset_begins_the_asked_episode_and_refuses_what_does_not_exist(graph):
    client = WorldClient(graph, lockstep_timeout_s=60.0)
    first = client.wait_state(lambda _: True, "no state")
    refused = client.reset(5, "juggle_red")
    assert not refused.success
    assert "place_red" in refused.message
    assert not client.reset(5, TASK, 99).success
    held_out = client.reset(5, TASK, -2)
    assert held_out.episode == first.episode + 1
    assert (held_out.success, held_out.task) == (True, TASK)
    state = client.wait_state(lambda state: state.episode == held_out.episode, "no new episode")
    assert state.instruction == held_out.instruction
    assert state.step == 0
    # The first observation of an episode comes without any command, newer than all before.
    assert stamp_from_time(client.wait_frame(
        stamp_from_time(first.header.stamp)).header.stamp) == stamp_from_time(
        state.header.stamp)  # fmt: skip


def test_lockstep_goes_on_without_an_answer_and_counts_it(graph):
    client = WorldClient(graph, lockstep_timeout_s=0.05)
    status = graph.status(client.node, lambda status: status.count("timeouts") > 3)
    assert status.count("answered") == 0
    before = client.newest_joints()
    wait_until(lambda: client.newest_joints()[0] > before[0], "time stands still")
    np.testing.assert_allclose(client.newest_joints()[1], before[1], atol=1e-6)


def test_the_gripper_action_closes_and_tells_what_became_of_it(graph):
    action = pytest.importorskip("control_msgs.action").ParallelGripperCommand
    client = WorldClient(graph, mode="realtime")
    gripper = ActionClient(graph.probe, action, "/tabletop_world/gripper_cmd")
    wait_until(gripper.server_is_ready, "no gripper action")

    def send(position):
        goal = action.Goal(command=JointState(name=["finger_joint1"], position=[position]))
        sent = gripper.send_goal_async(goal)
        wait_until(sent.done, "the goal is not answered")
        return sent.result()

    handle = send(0.01)
    assert handle.accepted
    result = handle.get_result_async()
    wait_until(result.done, "the gripper does not arrive")
    assert result.result().result.reached_goal
    assert abs(client.newest_joints()[1][7] - 0.01) < 2e-3
    assert not send(float("nan")).accepted
    # The world ends in the middle of a goal.
    assert send(0.04).accepted
    assert graph.change(client.node, "deactivate")
    assert client.node.node.last_failure == ""
    gripper.destroy()


def test_what_lies_between_the_fingers_stalls_them(graph, expert_rows):
    """In lockstep: that time stands still is no stall."""
    action = pytest.importorskip("control_msgs.action").ParallelGripperCommand
    client = WorldClient(graph, lockstep_timeout_s=60.0, lockstep_steps=1)
    gripper = ActionClient(graph.probe, action, "/tabletop_world/gripper_cmd")
    wait_until(gripper.server_is_ready, "no gripper action")
    begin = client.reset(SEED, TASK)
    state = client.wait_state(lambda state: state.episode == begin.episode, "no new episode")
    stamp_ns = stamp_from_time(state.header.stamp)
    close = int(np.argmax(expert_rows[:, 7] < 0.01))
    for row in expert_rows[:close]:
        client.wait_frame(stamp_ns - 1)
        client.send(stamp_ns, [STEP_NS], [row[:7]], NAMES[:7])
        stamp_ns += STEP_NS
    client.wait_frame(stamp_ns - 1)
    goal = action.Goal(command=JointState(name=["finger_joint1"], position=[0.0]))
    sent = gripper.send_goal_async(goal)
    wait_until(sent.done, "the goal is not answered")
    result = sent.result().get_result_async()
    for _ in range(6):
        client.wait_frame(stamp_ns - 1)
        client.send(stamp_ns, [], [], NAMES[:7])
        stamp_ns += STEP_NS
    wait_until(result.done, "the gripper does not end")
    answer = result.result().result
    assert answer.stalled
    assert not answer.reached_goal
    assert 0.015 < answer.state.position[0] < 0.025, "a cube of 4 cm is between the fingers"
    gripper.destroy()


def test_deactivating_holds_the_arm_and_the_node_starts_again(graph):
    client = WorldClient(graph, mode="realtime")
    wait_until(lambda: client.joints, "no joint states")
    _, start = client.newest_joints()
    away = start.copy()
    away[0] += 1.5
    client.send(0, [3_000_000_000], [away])
    wait_until(lambda: client.newest_joints()[1][0] > start[0] + 0.1, "the arm does not move")
    assert graph.change(client.node, "deactivate")
    stood_ns = client.newest_joints()[0]
    assert graph.change(client.node, "activate")
    wait_until(lambda: client.newest_joints()[0] > stood_ns + 10 * STEP_NS, "it stands still")
    assert client.newest_joints()[1][0] < start[0] + 1.0
    assert abs(client.joints[-1].velocity[0]) < 1e-3
