"""Emergency stop, safe action and gripper: the small parts that must not be wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.policy.emergency_stop import EmergencyStop
from sensorium.policy.gripper import GripperCommander
from sensorium.policy.rejections import Reason, Rejection
from sensorium.policy.safe_action import ControlMode, safe_action

MS = 1_000_000


def test_the_latch_is_open_until_pressed_and_stays_engaged_when_the_button_comes_up():
    latch = EmergencyStop()
    assert latch.check(0) is None
    latch.report(True, 1)
    assert latch.check(1).reason is Reason.EMERGENCY_STOP
    latch.report(False, 2)
    assert latch.check(10**12) is not None


def test_it_is_released_on_purpose_and_only_with_the_button_up():
    latch = EmergencyStop()
    latch.report(True, 1)
    assert "still down" in latch.release(2).detail
    latch.report(False, 3)
    assert latch.release(4) is None
    assert latch.check(5) is None


def test_with_a_timeout_silence_engages_it_and_a_later_message_does_not_release_it():
    latch = EmergencyStop(100 * MS)
    assert "never heard" in latch.check(0).detail
    latch.report(False, 10 * MS)
    assert latch.check(11 * MS) is not None
    assert latch.release(12 * MS) is None
    assert latch.check(110 * MS) is None
    assert "silent" in latch.check(111 * MS).detail
    assert latch.release(112 * MS) is not None
    latch.report(False, 120 * MS)
    assert latch.check(121 * MS) is not None
    assert latch.release(122 * MS) is None
    assert latch.check(123 * MS) is None


def test_with_a_timeout_a_clock_that_went_back_engages_it():
    latch = EmergencyStop(100 * MS)
    latch.report(False, 1_000 * MS)
    assert latch.release(1_000 * MS) is None
    assert latch.check(500 * MS) is not None


@given(st.lists(st.tuples(st.sampled_from(["press", "up", "release", "check"])), max_size=30))
def test_it_is_never_open_between_a_press_and_a_release(events):
    latch, open_expected, down = EmergencyStop(), True, False
    for now_ns, (event,) in enumerate(events):
        if event in ("press", "up"):
            down = event == "press"
            latch.report(down, now_ns)
            open_expected = open_expected and not down
        elif event == "release":
            refused = latch.release(now_ns) is not None
            assert refused == down
            open_expected = open_expected or not down
        assert (latch.check(now_ns) is None) == open_expected


def test_a_position_controlled_robot_holds_and_is_never_sent_zeros():
    here = np.array([0.4, -1.2])
    held = safe_action(ControlMode.POSITION, here)
    np.testing.assert_array_equal(held, here)
    assert held is not here


def test_a_velocity_controlled_robot_gets_zeros():
    np.testing.assert_array_equal(safe_action(ControlMode.VELOCITY, np.array([1.0, 2.0])), [0, 0])


def test_an_unknown_position_is_not_held():
    with pytest.raises(ValueError, match="finite"):
        safe_action(ControlMode.POSITION, np.array([0.0, np.nan]))


def test_gripper_commands_are_sent_on_change_only():
    gripper = GripperCommander(0.0, 0.08, deadband=0.01)
    wanted = [0.04, 0.041, 0.045, 0.055, 0.055, 0.079, 0.08, 0.08, 0.2, 0.0, -1.0]
    sent = [gripper.command(w) for w in wanted]
    assert sent == [0.04, None, None, 0.055, None, 0.079, 0.08, None, None, 0.0, None]
    gripper.reset()
    assert gripper.command(0.0) == 0.0


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=20))
def test_gripper_commands_never_leave_the_range_nor_repeat(wanted):
    gripper, last = GripperCommander(-0.1, 0.7, deadband=0.05), None
    for value in wanted:
        command = gripper.command(value)
        if np.isfinite(value):
            assert not isinstance(command, Rejection)
            if command is not None:
                assert -0.1 <= command <= 0.7
                assert command != last
                last = command
        else:
            assert command.reason is Reason.CHUNK_NOT_FINITE


def test_senseless_constants_are_refused():
    with pytest.raises(ValueError, match="timeout_ns"):
        EmergencyStop(0)
    with pytest.raises(ValueError, match="rising"):
        GripperCommander(1.0, 0.0, 0.1)
    with pytest.raises(ValueError, match="deadband"):
        GripperCommander(0.0, 1.0, 0.0)
