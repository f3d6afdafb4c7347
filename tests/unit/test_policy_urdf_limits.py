"""Limits are read from a URDF by joint name; what is missing or cannot be commanded is named."""

import numpy as np
import pytest

from sensorium.policy.limits import LimitsError
from sensorium.policy.urdf import limits_from_urdf

URDF = """<?xml version="1.0"?>
<robot name="arm">
  <joint name="lift" type="prismatic"><limit lower="0.0" upper="0.4" velocity="0.2"/></joint>
  <joint name="turn" type="continuous"><limit velocity="2.5" effort="9"/></joint>
  <joint name="bend" type="revolute"><limit upper="1.5" velocity="2" effort="9"/></joint>
  <joint name="slow" type="revolute"><limit lower="-1" upper="1" effort="9"/></joint>
  <joint name="bare" type="revolute"/>
  <joint name="base" type="fixed"/>
  <joint name="left" type="prismatic"><limit upper="1" velocity="1"/><mimic joint="lift"/></joint>
</robot>"""
ACCELERATION = dict.fromkeys(["lift", "turn", "bend", "slow", "bare", "base", "left", "gone"], 3.0)


def test_limits_come_in_command_order_and_continuous_joints_have_no_bounds():
    limits = limits_from_urdf(URDF, ["turn", "lift", "bend"], ACCELERATION)
    assert limits.names == ("turn", "lift", "bend")
    np.testing.assert_array_equal(limits.lower, [-np.inf, 0.0, 0.0])
    np.testing.assert_array_equal(limits.upper, [np.inf, 0.4, 1.5])
    np.testing.assert_array_equal(limits.velocity, [2.5, 0.2, 2.0])
    np.testing.assert_array_equal(limits.acceleration, [3.0, 3.0, 3.0])


@pytest.mark.parametrize(
    ("joint", "text"),
    [
        ("gone", "'gone' is not in the robot description"),
        ("base", "'fixed'"),
        ("left", "mimics"),
        ("slow", "velocity"),
        ("bare", "lower"),
    ],
)
def test_a_joint_that_cannot_be_guarded_is_refused_by_name(joint, text):
    with pytest.raises(LimitsError, match=text) as refusal:
        limits_from_urdf(URDF, ["turn", joint], ACCELERATION)
    assert f"'{joint}'" in str(refusal.value)


def test_a_missing_acceleration_limit_is_asked_for():
    with pytest.raises(LimitsError, match="'lift' has no acceleration limit"):
        limits_from_urdf(URDF, ["lift"], {})


def test_text_that_is_no_urdf_is_refused():
    with pytest.raises(LimitsError, match="no XML"):
        limits_from_urdf("<robot", ["lift"], ACCELERATION)
