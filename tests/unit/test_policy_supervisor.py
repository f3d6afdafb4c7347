"""The supervisor against the faults of a real run: each stops the robot and says why."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.policy.chunks import ActionChunk, ChunkBuffer, CrossFade
from sensorium.policy.emergency_stop import EmergencyStop
from sensorium.policy.guards import GuardSettings, MotionGuard
from sensorium.policy.limits import JointLimits
from sensorium.policy.rejections import Reason, RejectionLog
from sensorium.policy.supervisor import Supervisor, SupervisorSettings, SupervisorState

MS = 1_000_000
TICK_NS = 20 * MS
LIMITS = JointLimits(("a", "b"), [-2.0, -2.0], [2.0, 2.0], [1.0, 1.0], [5.0, 5.0])


class Robot:
    """Follows what is published, exactly; reports its state every tick with other joints around."""

    def __init__(self, *, dry_run=False, start_ns=1_000_000 * MS, timeout_ns=None):
        self.emergency_stop = EmergencyStop(timeout_ns)
        self.log = RejectionLog()
        self.supervisor = Supervisor(
            LIMITS,
            guard=MotionGuard(LIMITS, GuardSettings(500 * MS)),
            buffer=ChunkBuffer(CrossFade(100 * MS), max_age_ns=2_000 * MS, replan_threshold_ns=0),
            emergency_stop=self.emergency_stop,
            settings=SupervisorSettings(TICK_NS, dry_run=dry_run),
            log=self.log,
        )
        self.now_ns = start_ns
        self.position = np.array([0.5, -0.5])
        self.trajectory = None
        self.reporting = True
        self.positions = []
        self.report()

    def report(self):
        if self.reporting:
            self.supervisor.report_joint_state(
                ["gripper", "b", "a"],
                np.array([0.0, self.position[1], self.position[0]]),
                stamp_ns=self.now_ns,
                received_ns=self.now_ns,
            )

    def step(self, *, tick=True):
        self.now_ns += TICK_NS
        if self.trajectory is not None:
            self.position = self.trajectory.at(self.now_ns).positions
        self.positions.append(self.position)
        self.report()
        decision = self.supervisor.tick(self.now_ns) if tick else None
        if tick and decision.publish:
            self.trajectory = decision.trajectory
        return decision

    def offer(self, *, delay_ms=60, speed=0.5, edit=None):
        stamp_ns = self.now_ns - delay_ms * MS
        steps = np.arange(1, 21)[:, None] - delay_ms / 50
        rows = self.position + steps * 0.05 * np.array([speed, -speed])
        if edit is not None:
            edit(rows)
        return self.supervisor.offer_chunk(ActionChunk(stamp_ns, 50 * MS, rows), self.now_ns)

    def drive(self, ticks=20):
        assert self.supervisor.start(self.now_ns) is None
        for i in range(ticks):
            if i % 5 == 0:
                assert self.offer() is None
            decision = self.step()
            assert decision.stopped is None
        assert np.abs(self.positions[-1] - self.positions[-2]).max() > 1e-4

    def assert_stops_within(self, limit_ns):
        """Runs on and checks that motion is smooth and over after ``limit_ns``."""
        for _ in range(60):
            self.step()
        path = np.array(self.positions)
        velocity = np.diff(path, axis=0) / (TICK_NS / 1e9)
        assert (np.abs(velocity) <= LIMITS.velocity + 1e-6).all()
        still = 60 - limit_ns // TICK_NS
        np.testing.assert_allclose(velocity[-still:], 0.0, atol=1e-9)


@pytest.fixture
def robot():
    return Robot()


def test_a_run_follows_the_chunks_as_long_as_they_come(robot):
    robot.drive(100)
    assert robot.log.counts == {}
    travelled = np.abs(robot.position - [0.5, -0.5])
    assert (travelled > 0.5).all()


def test_nothing_moves_before_start_nor_in_a_dry_run():
    idle = Robot()
    idle.offer()
    assert idle.step().trajectory is None
    dry = Robot(dry_run=True)
    dry.supervisor.start(dry.now_ns)
    dry.offer()
    decision = dry.step()
    assert decision.trajectory is not None
    assert not decision.publish
    assert not dry.supervisor.stop(dry.now_ns).publish


def test_a_policy_that_falls_silent_leaves_a_robot_at_rest_and_then_a_stopped_run(robot):
    robot.drive()
    stopped = []
    for _ in range(60):
        decision = robot.step()
        stopped += [decision.stopped] if decision.stopped else []
    assert [s.reason for s in stopped] == [Reason.WATCHDOG]
    robot.assert_stops_within(0)


def test_a_dead_supervisor_leaves_a_robot_at_rest_within_the_horizon(robot):
    robot.drive()
    for _ in range(500 * MS // TICK_NS):
        robot.step(tick=False)
    resting = robot.position
    for _ in range(20):
        robot.step(tick=False)
        np.testing.assert_array_equal(robot.position, resting)


def test_the_emergency_stop_brakes_at_once_and_stays(robot):
    robot.drive()
    robot.emergency_stop.report(True, robot.now_ns)
    decision = robot.step()
    assert decision.stopped.reason is Reason.EMERGENCY_STOP
    assert decision.publish
    robot.assert_stops_within(200 * MS)
    robot.emergency_stop.report(False, robot.now_ns)
    assert robot.supervisor.start(robot.now_ns).reason is Reason.EMERGENCY_STOP
    assert robot.emergency_stop.release(robot.now_ns) is None
    robot.drive()


def test_a_nan_chunk_is_refused_whole_and_the_robot_comes_to_rest(robot):
    robot.drive()

    def poison(rows):
        rows[7, 1] = np.nan

    for _ in range(60):
        assert robot.offer(edit=poison).reason is Reason.CHUNK_NOT_FINITE
        robot.step()
    robot.assert_stops_within(0)
    assert robot.log.counts[Reason.CHUNK_NOT_FINITE] == 60


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda rows: rows.__iadd__(0.5), Reason.JUMP),
        (lambda rows: rows.__setitem__(19, 2.5), Reason.POSITION_LIMIT),
    ],
)
def test_a_chunk_beyond_the_limits_is_refused_and_the_run_goes_on(robot, edit, reason):
    robot.drive()
    assert robot.offer(edit=edit).reason is reason
    assert robot.step().stopped is None
    assert robot.offer() is None


def test_a_chunk_that_arrives_too_late_is_refused(robot):
    robot.drive()
    assert robot.offer(delay_ms=1_100).reason is Reason.CHUNK_EXPIRED


def test_a_joint_state_that_stops_coming_stops_the_robot(robot):
    robot.drive()
    robot.reporting = False
    decisions = [robot.step() for _ in range(15)]
    stopped = [d.stopped.reason for d in decisions if d.stopped]
    assert stopped == [Reason.OBSERVATION_STALE]
    robot.assert_stops_within(200 * MS)


def test_a_joint_name_that_goes_missing_is_named_and_stops_the_robot(robot):
    robot.drive()
    robot.reporting = False
    for _ in range(15):
        rejection = robot.supervisor.report_joint_state(
            ["a", "c"], np.zeros(2), stamp_ns=robot.now_ns, received_ns=robot.now_ns
        )
        assert rejection.reason is Reason.STATE_INVALID
        assert "lacks b" in rejection.detail
        robot.step()
    assert robot.supervisor.state is SupervisorState.STOPPED


@pytest.mark.parametrize("positions", [[0.0, np.nan], [0.0]])
def test_a_joint_state_without_a_finite_position_is_refused(robot, positions):
    rejection = robot.supervisor.report_joint_state(
        ["a", "b"], np.array(positions), stamp_ns=robot.now_ns, received_ns=robot.now_ns
    )
    assert rejection.reason is Reason.STATE_INVALID


@pytest.mark.parametrize("step_ms", [-3_000, 3_000])
def test_a_clock_jump_stops_the_robot_where_it_is_measured(robot, step_ms):
    robot.drive()
    robot.now_ns += step_ms * MS
    robot.trajectory = None  # the controller's clock jumped too
    robot.report()
    decision = robot.supervisor.tick(robot.now_ns)
    assert decision.stopped.reason is Reason.CLOCK_JUMP
    assert decision.trajectory.times_ns.size == 0
    np.testing.assert_array_equal(decision.trajectory.start.positions, robot.position)
    robot.drive()


def test_a_new_instruction_drops_the_old_plan_but_does_not_end_the_run(robot):
    robot.drive()
    robot.supervisor.new_instruction(robot.now_ns)
    decision = robot.step()
    assert decision.trajectory is None
    assert decision.stopped is None
    assert decision.wants_chunk
    robot.assert_stops_within(500 * MS)


def test_a_stop_on_request_brakes_once_and_names_no_fault(robot):
    robot.drive()
    decision = robot.supervisor.stop(robot.now_ns)
    assert decision.publish
    assert decision.stopped is None
    assert robot.supervisor.state is SupervisorState.STOPPED
    assert robot.supervisor.stop(robot.now_ns).trajectory is None
    robot.trajectory = decision.trajectory
    robot.assert_stops_within(200 * MS)
    robot.drive()


def test_a_run_does_not_start_without_a_fresh_joint_state():
    robot = Robot()
    robot.now_ns += 500 * MS
    assert robot.supervisor.start(robot.now_ns).reason is Reason.OBSERVATION_STALE


def test_a_silent_emergency_stop_topic_with_a_timeout_forbids_to_start():
    robot = Robot(timeout_ns=100 * MS)
    assert robot.supervisor.start(robot.now_ns).reason is Reason.EMERGENCY_STOP


def test_senseless_constants_are_refused():
    with pytest.raises(ValueError, match="control_period_ns"):
        SupervisorSettings(control_period_ns=2_000 * MS)


EVENTS = [
    *["chunk"] * 8,
    *["nothing"] * 4,
    *["late", "nan", "far", "rough", "press", "release", "start", "stop", "new", "mute", "speak"],
    "sleep",
]


def offer_something(robot, event, random):
    """Offers a good chunk or a faulty one, as the event says."""
    speed = random.uniform(-2.5, 2.5)
    if event == "chunk":
        robot.offer(delay_ms=int(random.integers(0, 200)), speed=speed)
    elif event == "late":
        robot.offer(delay_ms=int(random.integers(900, 3_000)), speed=speed)
    elif event == "nan":
        robot.offer(edit=lambda rows: rows.__setitem__((3, 0), np.inf))
    elif event == "far":
        robot.offer(edit=lambda rows: rows.__setitem__(slice(2, None), rows[2:] + 1.2))
    elif event == "rough":
        robot.offer(edit=lambda rows: rows.__iadd__(random.normal(scale=0.1, size=rows.shape)))


def interfere(robot, event):
    """Presses, releases, starts, stops or cuts the joint state, as the event says."""
    if event in ("press", "release"):
        robot.emergency_stop.report(event == "press", robot.now_ns)
        robot.emergency_stop.release(robot.now_ns)
    elif event == "start":
        robot.supervisor.start(robot.now_ns)
    elif event == "stop":
        decision = robot.supervisor.stop(robot.now_ns)
        robot.trajectory = decision.trajectory if decision.publish else robot.trajectory
    elif event == "new":
        robot.supervisor.new_instruction(robot.now_ns)
    elif event in ("mute", "speak"):
        robot.reporting = event == "speak"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(EVENTS), min_size=20, max_size=200), st.integers(0, 2**31))
def test_no_sequence_of_faults_makes_the_robot_jump_or_leave_its_limits(events, seed):
    random = np.random.default_rng(seed)
    robot = Robot()
    robot.drive(10)
    for event in events:
        offer_something(robot, event, random)
        interfere(robot, event)
        running = robot.supervisor.state is SupervisorState.RUNNING
        decision = robot.step(tick=event != "sleep")
        if decision is not None and decision.publish:
            assert robot.trajectory.end_ns <= robot.now_ns + 500 * MS
            assert running
        if decision is not None and decision.stopped:
            assert robot.log.counts[decision.stopped.reason] >= 1
    path = np.array(robot.positions)
    assert (path >= LIMITS.lower - 1e-9).all()
    assert (path <= LIMITS.upper + 1e-9).all()
    velocity = np.diff(path, axis=0) / (TICK_NS / 1e9)
    assert (np.abs(velocity) <= LIMITS.velocity + 1e-6).all()
    # Velocity changes at points, each after a line of at most 50 ms.
    change = np.abs(np.diff(velocity, axis=0))
    assert (change <= LIMITS.acceleration * 0.1 + 1e-6).all()


def test_chunks_that_cannot_be_followed_end_the_run_by_the_watchdog(robot):
    robot.drive()
    stopped = []
    for _ in range(80):
        robot.offer(edit=lambda rows: rows.__setitem__(slice(4, None), -rows[4:]))
        decision = robot.step()
        stopped += [decision.stopped.reason] if decision.stopped else []
    assert robot.log.counts[Reason.DEVIATION] > 0
    assert stopped == [Reason.WATCHDOG]
    robot.assert_stops_within(0)


def test_a_robot_that_was_moved_by_others_between_two_runs_is_driven_from_where_it_is(robot):
    robot.drive()
    robot.trajectory = robot.supervisor.stop(robot.now_ns).trajectory
    for _ in range(20):
        robot.step()
    assert robot.supervisor.start(robot.now_ns) is None
    # The first joint state that tells of it comes after the start.
    robot.trajectory, robot.position = None, np.array([-1.0, 1.0])
    robot.step()
    assert robot.offer() is None
    decision = robot.step()
    assert decision.rejection is None
    assert decision.publish
    assert np.abs(decision.trajectory.start.positions - [-1.0, 1.0]).max() < 0.05
