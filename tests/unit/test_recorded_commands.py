"""What a recording says was commanded at a moment, as a trajectory controller would follow it."""

import numpy as np
import pytest

from sensorium.policy.commands import CommandRefused, RecordedCommands

MS = 1_000_000
SOURCES = ("/arm", "/gripper")


@pytest.fixture
def commands():
    return RecordedCommands(("a", "b"), SOURCES, 200 * MS)


def test_between_points_a_trajectory_is_a_straight_line_and_then_it_rests(commands):
    commands.add_trajectory(
        "/arm", 1000 * MS, 1000 * MS, ("b", "a"), (100 * MS, 300 * MS), ((1.0, 5.0), (2.0, 7.0))
    )
    np.testing.assert_allclose(commands.at(1200 * MS), (6.0, 1.5))
    np.testing.assert_allclose(commands.at(9000 * MS), (7.0, 2.0))


def test_the_command_for_a_moment_was_given_before_it(commands):
    commands.add_trajectory("/arm", 1000 * MS, 0, ("a", "b"), (100 * MS,), ((1.0, 1.0),))
    commands.add_trajectory("/arm", 1100 * MS, 0, ("a", "b"), (100 * MS,), ((3.0, 3.0),))
    assert commands.at(1000 * MS) is None
    np.testing.assert_allclose(commands.at(1100 * MS), (1.0, 1.0))
    # From where the command was to the new point.
    np.testing.assert_allclose(commands.at(1150 * MS), (2.0, 2.0))


def test_a_trajectory_without_points_holds(commands):
    commands.add_trajectory("/arm", 1000 * MS, 0, ("a", "b"), (0, 100 * MS), ((0.0, 0), (1, 1)))
    commands.add_trajectory("/arm", 1050 * MS, 0, (), (), ())
    np.testing.assert_allclose(commands.at(1500 * MS), (0.5, 0.5))


def test_a_lone_point_for_now_is_the_command_from_now_on(commands):
    commands.add_trajectory("/arm", 1000 * MS, 0, ("a", "b"), (0,), ((4.0, 5.0),))
    np.testing.assert_allclose(commands.at(1001 * MS), (4.0, 5.0))


def test_each_joint_comes_from_the_first_topic_that_names_it(commands):
    commands.add_positions("/gripper", 1000 * MS, ("a", "b"), (9.0, 1.0))
    commands.add_positions("/gripper", 1100 * MS, ("a", "b"), (9.0, 2.0))
    commands.add_trajectory("/arm", 900 * MS, 0, ("a",), (1 * MS,), ((4.0,),))
    np.testing.assert_allclose(commands.at(1050 * MS), (4.0, 1.5))


def test_joint_states_are_interpolated_over_no_gap_and_never_extrapolated(commands):
    for stamp in (1000 * MS, 1500 * MS):
        commands.add_positions("/gripper", stamp, ("a", "b"), (1.0, 1.0))
    assert commands.at(1500 * MS) is not None
    assert commands.at(1200 * MS) is None
    assert commands.at(1501 * MS) is None
    assert commands.at(999 * MS) is None


@pytest.mark.parametrize(
    ("stamp", "offsets", "positions", "text"),
    [
        (0, (1, 2), ((1.0, 2.0), (np.nan, 1.0)), "not finite"),
        (0, (2, 2), ((1.0, 2.0), (1.0, 1.0)), "does not rise"),
        (0, (1,), ((1.0,),), "one position for each of a, b"),
        (500 * MS, (100 * MS,), ((1.0, 2.0),), "in the past, the last one by 0.400 s"),
    ],
)
def test_what_no_controller_follows_is_refused(commands, stamp, offsets, positions, text):
    with pytest.raises(CommandRefused, match=text):
        commands.add_trajectory("/arm", 1000 * MS, stamp, ("a", "b"), offsets, positions)
    assert commands.at(2000 * MS) is None
