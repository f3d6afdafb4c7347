"""Faults during motion, over the graph, with policy and guards in processes of their own.

Whatever breaks, the commanded position stays within its limits and never jumps, motion stops within
the stated time, and the reason is reported.
"""

import gc
import signal

import pytest
from graph_nodes import wait_until
from graph_tools import Graph
from policy_tools import (
    GUARD,
    JOINTS,
    MS,
    POLICY,
    Operator,
    PolicyProcess,
    StubRobot,
    write_contract,
    write_scripted_checkpoint,
    write_urdf,
)
from sensorium_ros.msg import ActionChunk, WorldState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

# Motion that no new chunk supports ends with the horizon (0.5 s); a braking takes 0.1 s. The rest
# is for messages under way on a busy machine.
HORIZON_NS = 500 * MS
BRAKING_NS = 100 * MS
SLACK_NS = 300 * MS
SECONDS_NS = 1_000 * MS


class Scene:
    """A robot, guards and a policy, each in a process or thread of its own."""

    def __init__(self, graph, folder):
        self.graph, self.folder = graph, folder
        self.robot = graph.manage(StubRobot())
        self.guard = graph.process(
            "policy_guard", parameters={**GUARD, "description.file": write_urdf(folder)}
        )
        self.policy = self.start_policy()
        self.chunks = graph.collect(ActionChunk, "/policy/chunk")
        self.world = graph.publisher(WorldState, "/world_state")
        self.button = graph.publisher(Bool, "/emergency_stop")
        graph.wait_state(self.guard, "active")
        graph.wait_state(self.policy, "active")
        self.operator = graph.manage(Operator())

    def start_policy(self):
        parameters = {
            **POLICY,
            "checkpoint": write_scripted_checkpoint(self.folder),
            "contract": write_contract(self.folder),
        }
        log = self.folder / f"policy_{len(list(self.folder.glob('policy_*.log')))}.log"
        return self.graph.manage(PolicyProcess(parameters, log))

    def drive(self, instruction="fine", time_limit_s=30.0):
        """Begin a run and return it when the robot is in motion."""
        self.robot.mend()
        goal = self.operator.give(instruction, time_limit_s)
        assert goal.accepted
        wait_until(self.robot.last_motion_ns, lambda: f"no motion; {self.graph.status('/policy')}")
        self.robot.wait(0.2)
        return goal

    def assert_stopped(self, since_ns, within_ns):
        """The robot stands still from `since_ns + within_ns` on, and was safe all the time."""
        wait_until(
            lambda: self.robot.rests_after(self.robot.now_ns - 250 * MS), "it does not come to rest"
        )
        stopped_ns = self.robot.last_motion_ns() - since_ns
        assert stopped_ns <= within_ns + SLACK_NS, f"moved on for {stopped_ns / 1e9:.2f} s"
        self.robot.assert_safe()

    def guard_says(self, text):
        return self.graph.status("/policy_guard", lambda s: text in str(s))


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    import rclpy

    rclpy.init()
    folder = tmp_path_factory.mktemp("policy")
    try:
        with Graph(folder) as graph:
            yield Scene(graph, folder)
    finally:
        gc.collect()
        rclpy.try_shutdown()


def counts(result):
    return dict(zip(result.rejection_names, result.rejection_counts, strict=True))


def test_a_run_moves_the_robot_until_its_time_is_over(scene):
    goal = scene.drive(time_limit_s=2.0)
    result = goal.result()
    ended_ns = scene.robot.now_ns
    assert result.success, result
    assert result.reason == "time_limit"
    assert result.seconds == pytest.approx(2.0, abs=0.5)
    assert result.chunks_published >= 3
    assert goal.feedback[-1].state == "acting"
    assert goal.feedback[-1].chunks_published >= 1
    scene.assert_stopped(ended_ns, BRAKING_NS)
    published = [chunk for chunk in scene.chunks if chunk.published]
    assert len(published) >= 3
    assert published[-1].policy == "scripted"
    assert list(published[-1].action_names) == ["a [rad or m]", "b [rad or m]"]
    assert published[-1].inference_s > 0
    stamps = {(chunk.header.stamp.sec, chunk.header.stamp.nanosec) for chunk in published}
    answers = [
        message
        for message, _ in scene.robot.trajectories
        if (message.header.stamp.sec, message.header.stamp.nanosec) in stamps
    ]
    assert answers
    for message in answers:
        assert not any(point.velocities or point.accelerations for point in message.points)
        after = [point.time_from_start for point in message.points]
        # Row i is for the observation's stamp plus (i + 1) periods.
        assert all((time.sec * 10**9 + time.nanosec) % (50 * MS) == 0 for time in after)


def test_a_run_ends_with_its_own_episode_and_not_with_late_word_of_the_last(scene):
    done = WorldState(episode=1, task="push", success=True, done=True)
    scene.world.publish(WorldState(episode=1))
    goal = scene.drive()
    scene.world.publish(done)
    assert goal.result().reason == "task_done"
    goal = scene.drive(time_limit_s=2.0)
    scene.world.publish(done)
    scene.world.publish(WorldState(episode=2))
    assert goal.result().reason == "time_limit"
    goal = scene.drive()
    scene.world.publish(WorldState(episode=2, done=True, max_steps=9))
    assert goal.result().reason == "episode_over"


def test_a_cancelled_run_brakes(scene):
    goal = scene.drive()
    goal.cancel()
    since_ns = scene.robot.now_ns
    assert goal.result().reason == "cancelled"
    scene.assert_stopped(since_ns, BRAKING_NS)


def test_a_new_goal_takes_over_and_the_robot_goes_on(scene):
    first = scene.drive("fine")
    second = scene.operator.give("fine", 1.0)
    assert first.result().reason == "preempted"
    assert second.result().reason == "time_limit"
    assert second.result().chunks_published >= 1
    scene.robot.assert_safe()


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda robot: setattr(robot, "sends_images", False), "observation_stale"),
        (lambda robot: setattr(robot, "image_age_ns", SECONDS_NS), "observation_stale"),
        (lambda robot: setattr(robot, "names", JOINTS[:1]), "observation_stale"),
    ],
    ids=["images_die", "images_one_second_old", "joint_name_missing"],
)
def test_an_observation_that_fails_stops_the_robot_and_is_named(scene, break_it, reason):
    goal = scene.drive()
    since_ns = scene.robot.now_ns
    break_it(scene.robot)
    result = goal.result()
    assert result.reason == reason, result
    assert "camera" in result.message or "front" in result.message or "joint" in result.message
    assert counts(result)[reason] >= 1
    if scene.robot.names != JOINTS:
        assert counts(result)["state_invalid"] >= 1
        assert "lacks b" in str(scene.guard_says("state_invalid"))
    # The input grows too old (0.3 s) and patience ends (0.3 s); the horizon is shorter than both
    # only when no chunk came in between.
    scene.assert_stopped(since_ns, 300 * MS + HORIZON_NS)


@pytest.mark.parametrize(
    ("seconds", "reasons"),
    # Seen from five seconds later the observations are old, whoever notices first.
    # A minute is longer than the run may last: no success all the same.
    [
        (-5.0, {"clock_jump"}),
        (5.0, {"clock_jump", "observation_stale"}),
        (60.0, {"clock_jump"}),
    ],
)
def test_a_clock_that_jumps_stops_the_robot(scene, seconds, reasons):
    goal = scene.drive()
    scene.robot.jump_clock(int(seconds * 1e9))
    since_ns = scene.robot.now_ns
    result = goal.result()
    assert result.reason in reasons, result
    assert counts(result)[result.reason] >= 1
    scene.robot.forget_before_the_jump(since_ns)
    scene.assert_stopped(since_ns, BRAKING_NS)


@pytest.mark.parametrize(
    ("fault", "rejection"),
    [
        ("nan", "chunk_not_finite"),
        ("far", "position_limit"),
        ("jump", "jump"),
        ("wild", "deviation"),
        ("late", None),
    ],
)
def test_chunks_that_must_not_be_followed_are_refused_and_the_robot_comes_to_rest(
    scene, fault, rejection
):
    goal = scene.drive(f"{fault} after 6")
    result = goal.result()
    assert result.reason == "watchdog", result
    if rejection:
        assert counts(result)[rejection] >= 1
        assert result.chunks_rejected >= 1
        assert rejection in result.message
        refused = [chunk for chunk in scene.chunks if chunk.rejections]
        assert any(rejection in text for chunk in refused for text in chunk.rejections)
        assert not any(chunk.published for chunk in refused)
    scene.assert_stopped(scene.robot.now_ns, 0)
    if fault == "late":
        # The network is still busy; a run that began now would wait for it, and end.
        scene.robot.wait(3.0)


def test_a_policy_that_breaks_ends_its_run_and_brakes(scene):
    goal = scene.drive("raise after 3")
    result = goal.result()
    since_ns = scene.robot.now_ns
    assert (result.reason, result.message) == ("policy_failed", "the network broke")
    scene.assert_stopped(since_ns, BRAKING_NS)


def test_the_emergency_stop_brakes_and_stays_latched_until_it_is_reset(scene):
    goal = scene.drive()
    since_ns = scene.robot.now_ns
    scene.button.publish(Bool(data=True))
    result = goal.result()
    assert result.reason == "emergency_stop"
    scene.assert_stopped(since_ns, BRAKING_NS)
    scene.button.publish(Bool(data=False))
    assert "latched" in str(scene.guard_says("emergency_stop: "))
    refused = scene.operator.give("fine")
    assert refused.result().reason == "emergency_stop"
    reset = "/policy_guard/reset_emergency_stop"
    wait_until(
        lambda: scene.graph.call(Trigger, reset, Trigger.Request()).success, "it stays latched"
    )
    goal = scene.drive(time_limit_s=0.5)
    assert goal.result().reason == "time_limit"


def test_deactivation_brakes_first_and_goals_are_refused_afterwards(scene):
    goal = scene.drive()
    since_ns = scene.robot.now_ns
    assert scene.graph.change(scene.policy, "deactivate")
    assert goal.result().reason == "deactivated"
    scene.assert_stopped(since_ns, BRAKING_NS)
    assert not scene.operator.give("fine").accepted
    assert scene.graph.change(scene.policy, "activate")
    goal = scene.drive()
    since_ns = scene.robot.now_ns
    assert scene.graph.change(scene.guard, "deactivate")
    assert goal.result().reason == "deactivated"
    scene.assert_stopped(since_ns, BRAKING_NS)
    assert scene.operator.give("fine").result().reason == "guards_inactive"
    assert scene.graph.change(scene.guard, "activate")


def test_a_dry_run_decides_everything_and_moves_nothing(scene):
    scene.robot.mend()
    assert scene.graph.set(scene.guard, "dry_run", True).successful
    goal = scene.operator.give("fine", 1.0)
    result = goal.result()
    assert result.reason == "time_limit"
    assert result.chunks_published == 0
    assert goal.feedback[-1].state == "dry_run"
    assert not scene.robot.trajectories
    assert scene.graph.set(scene.guard, "dry_run", False).successful


def test_a_policy_process_that_is_killed_leaves_a_robot_at_rest(scene):
    scene.drive()
    scene.policy.kill(signal.SIGKILL)
    since_ns = scene.robot.now_ns
    scene.assert_stopped(since_ns, HORIZON_NS)
    assert "watchdog" in scene.guard_says("watchdog").values["last_stop"]
    scene.policy = scene.start_policy()
    # Services of the dead process are known for a while, and never answer.
    scene.graph.status("/policy", lambda status: status.values.get("guards") == "there")
    scene.operator = scene.graph.manage(Operator())
    goal = scene.drive(time_limit_s=1.0)
    assert goal.result().reason == "time_limit"


def test_guards_that_are_killed_leave_a_robot_at_rest_and_end_the_run(scene):
    goal = scene.drive()
    scene.guard.kill(signal.SIGKILL)
    since_ns = scene.robot.now_ns
    assert goal.result().reason == "guards_lost"
    scene.assert_stopped(since_ns, HORIZON_NS)
