"""Poses as a hint: shown to a model only while it finds the same motion by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sensorium.frames import RgbdFrame, pinhole
from sensorium.geometry.input_changes import InputChanges
from sensorium.geometry.trust import (
    PoseAgreement,
    PoseHintConfiguration,
    PoseTrust,
    pose_agreement,
    rotation_angle,
)


def turned(angle_rad, centre=(0.0, 0, 0)):
    """A pose turned about the optical axis."""
    pose = np.eye(4)
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    pose[:2, :2] = ((c, -s), (s, c))
    pose[:3, 3] = centre
    return pose


@pytest.mark.parametrize("angle", [0.0, 1e-6, 0.3, 2.0, math.pi - 1e-3])
def test_the_angle_of_a_rotation_comes_back(angle):
    assert rotation_angle(turned(angle)[:3, :3]) == pytest.approx(angle, abs=1e-9)


def test_equal_motion_agrees_whatever_the_frame_and_the_scale():
    given = np.stack((turned(0.0), turned(0.2, (1, 0, 0)), turned(0.1, (1, 1, 0))))
    elsewhere = turned(1.3, (5, 6, 7))
    predicted = elsewhere @ given
    predicted[:, :3, 3] *= 0.1
    agreement = pose_agreement(given, predicted, least_baseline_m=0.05)
    assert agreement is not None
    assert agreement.rotation_rad == pytest.approx(0.0, abs=1e-9)
    # acos has half the digits near 1.
    assert agreement.direction_rad == pytest.approx(0.0, abs=1e-6)
    assert agreement.pairs == 3


def test_differences_are_the_median_angle_over_pairs():
    # The model sees the second camera turned by 0.3 too far and moving along y instead of x.
    given = np.stack((turned(0.0), turned(0.2, (1, 0, 0))))
    predicted = np.stack((turned(0.0), turned(0.5, (0, 2, 0))))
    agreement = pose_agreement(given, predicted, least_baseline_m=0.05)
    assert agreement is not None
    assert agreement.rotation_rad == pytest.approx(0.3)
    assert agreement.direction_rad == pytest.approx(math.pi / 2)


def test_a_standing_robot_says_nothing():
    given = np.stack((turned(0.0), turned(0.0, (1e-5, 0, 0))))
    assert pose_agreement(given, given, least_baseline_m=0.05) is None
    assert pose_agreement(given[:1], given[:1], least_baseline_m=0.0) is None


AGREES = PoseAgreement(0.01, 0.1, 3)


def test_poses_are_shown_after_windows_that_agree_and_dropped_at_the_first_that_does_not():
    trust = PoseTrust(PoseHintConfiguration(windows_to_trust=2))
    assert not trust.allows
    assert trust.update(AGREES)
    assert not trust.allows
    assert trust.update(AGREES)
    assert trust.allows
    # Nothing to compare changes nothing.
    assert trust.update(None)
    assert trust.allows
    assert not trust.update(PoseAgreement(0.5, 0.1, 3))
    assert not trust.allows
    assert trust.state == (
        "dropped: given and predicted poses disagree: turns differ by 28.6 deg (allowed 5.7)"
    )
    assert not trust.update(PoseAgreement(0.01, 1.0, 3))
    assert "directions of motion differ by 57.3 deg" in trust.state
    assert trust.update(AGREES)
    assert trust.state == "not shown yet: 1 of 2 windows agree"
    trust.update(AGREES)
    assert trust.allows
    assert trust.state == "agree"
    trust.reset()
    assert not trust.allows
    assert trust.state == "not shown: no two views with given poses are 0.05 m apart"


def test_poses_are_never_shown_when_the_hint_is_off():
    trust = PoseTrust(PoseHintConfiguration(enabled=False, windows_to_trust=1))
    trust.update(AGREES)
    assert not trust.allows
    assert trust.state == "off"


CAMERA = pinhole(8, 6, 7.0)
COLOR = np.zeros((6, 8, 3), np.uint8)


def frame(name="wrist", depth=False, camera=CAMERA, pose=None):
    return RgbdFrame(
        1, name, "optical", COLOR, camera, np.ones((6, 8), np.float32) if depth else None,
        camera if depth else None, "map" if pose is not None else "", pose,
    )  # fmt: skip


def test_inputs_that_go_and_come_back_are_named():
    changes = InputChanges()
    changes.update(frame(depth=True, pose=np.eye(4)))
    assert changes.lost == ()
    changes.update(frame())
    changes.update(frame("scene", pose=np.eye(4)))
    assert changes.lost == ("camera 'wrist' no longer gives depth, pose: going on without",)
    changes.update(frame(depth=True))
    assert changes.lost == ("camera 'wrist' no longer gives pose: going on without",)
    changes.update(frame(depth=True, pose=np.eye(4)))
    assert changes.lost == ()


def test_what_never_came_is_not_lost_and_late_intrinsics_are_no_fault():
    changes = InputChanges()
    changes.update(frame("scene", camera=None))
    changes.update(frame("scene"))
    assert changes.lost == ()
    changes.update(frame("scene", camera=None))
    assert changes.lost == ("camera 'scene' no longer gives intrinsics: going on without",)
    changes.reset()
    assert changes.lost == ()
