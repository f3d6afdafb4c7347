"""Each rule of the motion guard refuses what it should, by name, and nothing else."""

import numpy as np
import pytest

from sensorium.policy.chunks import ActionChunk, ChunkBuffer, CrossFade
from sensorium.policy.guards import Excess, GuardSettings, MotionGuard
from sensorium.policy.limits import JointLimits, LimitsError
from sensorium.policy.rejections import Reason, Rejection, RejectionLog

MS = 1_000_000
PERIOD_NS = 50 * MS
LIMITS = JointLimits(("a", "b"), [-1.0, -1.0], [1.0, 1.0], [1.0, 1.0], [5.0, 5.0])
HERE = np.array([0.1, -0.1])


def guard(**settings):
    return MotionGuard(LIMITS, GuardSettings(**settings))


def chunk(rows, stamp_ns=0):
    return ActionChunk(stamp_ns, PERIOD_NS, np.array(rows))


def plan_of(rows, now_ns=0, stamp_ns=0):
    chunks = ChunkBuffer(CrossFade(0), max_age_ns=10**12, replan_threshold_ns=0)
    assert chunks.add(chunk(rows, stamp_ns), now_ns) is None
    return chunks.plan(now_ns)


def resting(rows=20):
    return np.tile(HERE, (rows, 1))


def reason_of(rejection):
    return None if rejection is None else rejection.reason


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 19])
def test_one_value_that_is_not_finite_refuses_the_whole_chunk(bad, row):
    rows = resting()
    rows[row, 1] = bad
    rejection = guard().check_chunk(chunk(rows), HERE, 0)
    assert rejection.reason is Reason.CHUNK_NOT_FINITE
    assert f"row {row} of joint 'b'" in rejection.detail


def test_another_number_of_joints_is_refused():
    rejection = guard().check_chunk(chunk(np.zeros((4, 3))), HERE, 0)
    assert rejection.reason is Reason.CHUNK_SHAPE


@pytest.mark.parametrize(("value", "refused"), [(1.0, False), (1.04, False), (1.06, True)])
def test_position_limits_hold_over_all_rows_up_to_the_margin(value, refused):
    rows = resting()
    rows[-1, 0] = value
    rejection = guard(position_margin=0.05).check_chunk(chunk(rows), HERE, 0)
    assert reason_of(rejection) is (Reason.POSITION_LIMIT if refused else None)


def test_rows_within_the_margin_are_commanded_at_the_limit():
    here = np.array([0.99, 0.0])
    motion = guard(position_margin=0.05)
    command = motion.command(plan_of(np.tile([1.04, 0.0], (20, 1))), here)
    assert command.positions[-1, 0] == pytest.approx(1.0)
    assert (command.positions[:, 0] <= 1.0).all()


@pytest.mark.parametrize(("step", "refused"), [(0.19, False), (-0.19, False), (0.21, True)])
def test_the_next_row_must_lie_near_the_measured_position(step, refused):
    rejection = guard(max_jump=0.2).check_chunk(chunk(resting() + np.array([step, 0.0])), HERE, 0)
    assert reason_of(rejection) is (Reason.JUMP if refused else None)


def test_the_jump_is_judged_at_the_first_row_that_still_lies_ahead():
    rows = resting()
    rows[:3] += 0.9
    assert reason_of(guard().check_chunk(chunk(rows), HERE, 0)) is Reason.JUMP
    assert guard().check_chunk(chunk(rows), HERE, 3 * PERIOD_NS) is None


def test_a_chunk_that_lies_wholly_in_the_past_is_expired():
    rejection = guard().check_chunk(chunk(resting(4)), HERE, 4 * PERIOD_NS)
    assert rejection.reason is Reason.CHUNK_EXPIRED


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (HERE + np.outer(np.arange(10), [0.0, 0.051]), Reason.VELOCITY_LIMIT),
        (HERE + np.outer(np.arange(10), [0.0, 0.049]), None),
        (HERE + np.outer(np.abs(np.arange(10) - 5) - 5, [0.007, 0.0]), Reason.ACCELERATION_LIMIT),
        (HERE + np.outer(np.abs(np.arange(10) - 5) - 5, [0.006, 0.0]), None),
    ],
)
def test_too_fast_a_chunk_is_refused_in_reject_mode_and_limited_in_limit_mode(rows, reason):
    assert reason_of(guard(excess=Excess.REJECT).check_chunk(chunk(rows), HERE, 0)) is reason
    assert guard(excess=Excess.LIMIT).check_chunk(chunk(rows), HERE, 0) is None


def test_a_plan_that_cannot_be_followed_closely_enough_is_refused():
    rows = HERE + np.outer(np.arange(1, 21), [0.1, 0.0])
    rejection = guard(max_deviation=0.1).command(plan_of(rows), HERE)
    assert rejection.reason is Reason.DEVIATION
    assert "joint 'a'" in rejection.detail
    assert isinstance(guard(max_deviation=5.0).command(plan_of(rows), HERE), Rejection) is False


def test_no_command_reaches_beyond_the_horizon():
    motion = guard(max_unsupervised_motion_ns=420 * MS)
    command = motion.command(plan_of(resting(100)), HERE)
    assert command.end_ns == 400 * MS


def test_a_horizon_shorter_than_a_row_is_refused():
    rejection = guard(max_unsupervised_motion_ns=PERIOD_NS - 1).command(plan_of(resting()), HERE)
    assert rejection.reason is Reason.HORIZON


def test_a_robot_that_is_not_where_it_was_told_to_be_is_not_commanded_further():
    motion = guard(max_jump=0.2)
    first = motion.command(plan_of(resting()), HERE)
    rejection = motion.command(plan_of(resting(), 100 * MS), HERE + np.array([0.0, 0.25]))
    assert rejection.reason is Reason.JUMP
    assert motion.commanded is first


@pytest.mark.parametrize("measured", [[np.nan, 0.0], [0.0], [0.0, 1.2], [0.0, -1.2], [[0.0, 0.0]]])
def test_an_impossible_measured_position_refuses_everything(measured):
    motion = guard()
    assert motion.check_chunk(chunk(resting()), np.array(measured), 0).reason is (
        Reason.STATE_INVALID
    )
    assert motion.command(plan_of(resting()), np.array(measured)).reason is Reason.STATE_INVALID


def test_a_moving_command_is_not_replaced_by_a_plan_too_short_to_stop_in():
    fast = HERE + np.outer(np.arange(1, 30), [0.04, 0.0])
    motion = guard(max_deviation=9.0, max_jump=9.0)
    first = motion.command(plan_of(fast), HERE)
    now_ns = 300 * MS
    short = np.tile(first.at(now_ns).positions, (1, 1))
    rejection = motion.command(plan_of(short, now_ns, now_ns), first.at(now_ns).positions)
    assert rejection.reason is Reason.CANNOT_STOP
    assert motion.commanded is first


def test_a_clock_that_went_back_is_refused():
    motion = guard()
    motion.command(plan_of(resting(), 500 * MS, 500 * MS), HERE)
    assert motion.command(plan_of(resting(), 400 * MS, 400 * MS), HERE).reason is Reason.CLOCK_JUMP


def test_a_stop_without_any_command_holds_the_measured_position():
    stop = guard().stop(HERE, 7, PERIOD_NS)
    assert stop.times_ns.size == 0
    np.testing.assert_array_equal(stop.at(10**9).positions, HERE)


def test_a_new_run_keeps_the_last_command_where_the_robot_stands_by_it_and_else_begins_anew():
    motion = guard(max_jump=0.2)
    motion.command(plan_of(resting()), HERE)
    later_ns = 10_000 * MS
    motion.begin(HERE + 0.1, later_ns)
    np.testing.assert_allclose(motion.commanded.at(later_ns).positions, HERE)
    motion.begin(HERE + 0.3, later_ns)
    assert motion.commanded is None


def test_limits_that_contradict_themselves_are_refused_by_joint():
    good = {"lower": [-1, -1], "upper": [1, 1], "velocity": [1, 1], "acceleration": [1, 1]}
    JointLimits(("a", "b"), **good)
    for bad in (
        {"lower": [-1, 2]},
        {"upper": [1, np.nan]},
        {"velocity": [1, 0]},
        {"acceleration": [1, np.inf]},
    ):
        with pytest.raises(LimitsError, match="'b'"):
            JointLimits(("a", "b"), **(good | bad))
    with pytest.raises(LimitsError, match="shape"):
        JointLimits(("a", "b"), **(good | {"velocity": [1]}))
    with pytest.raises(LimitsError, match="unique"):
        JointLimits(("a", "a"), **good)


def test_joints_are_found_by_name_in_any_order_and_a_missing_one_is_named():
    assert LIMITS.order_of(["b", "gripper", "a"]).tolist() == [2, 0]
    with pytest.raises(LimitsError, match="lacks b"):
        LIMITS.order_of(["a", "c"])
    with pytest.raises(LimitsError, match="twice"):
        LIMITS.order_of(["a", "b", "a"])


def test_settings_without_sense_are_refused():
    for bad in ({"max_jump": 0.0}, {"max_deviation": np.nan}, {"position_margin": -0.1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            GuardSettings(**bad)


def test_every_refusal_is_counted_with_its_last_detail():
    log = RejectionLog()
    for detail in ("first", "second"):
        log.record(Rejection(Reason.JUMP, detail))
    assert log.counts == {Reason.JUMP: 2}
    assert log.last_details == {Reason.JUMP: "second"}
    log.reset()
    assert log.counts == {}
