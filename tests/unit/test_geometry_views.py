"""The validator of views and the window."""

import dataclasses

import numpy as np
import pytest

from sensorium.frames import CameraModel, RgbdFrame, pinhole
from sensorium.geometry.views import ViewRefused, ViewValidator
from sensorium.geometry.window import ViewWindow

CAMERA = pinhole(32, 24, 30.0)
DISTORTED = CameraModel(32, 24, CAMERA.K, "plumb_bob", (0.1, 0, 0, 0, 0))


def view(**changes) -> RgbdFrame:
    frame = RgbdFrame(
        stamp_ns=100,
        camera_name="wrist",
        optical_frame="wrist_optical",
        color=np.zeros((24, 32, 3), np.uint8),
        depth_m=np.ones((24, 32), np.float32),
        depth_camera=CAMERA,
        world_frame="map",
        world_from_camera=np.eye(4),
    )
    return dataclasses.replace(frame, **changes)


def filled(value) -> np.ndarray:
    return np.full((24, 32), value, np.float32)


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"color": None, "depth_m": None, "depth_camera": None}, "empty", "connect"),
        ({"stamp_ns": -1}, "negative_stamp", "-1 ns"),
        ({"stamp_ns": 100}, "stamp_repeated", "100 ns"),
        ({"stamp_ns": 50}, "stamp_backwards", "reset"),
        ({"optical_frame": "other"}, "frame_changed", "'other'"),
        ({"world_frame": "odom"}, "world_frame_changed", "'odom'"),
        ({"depth_camera": DISTORTED}, "distorted", "rectif"),
        ({"color_camera": DISTORTED, "depth_m": None, "depth_camera": None}, "distorted", "colour"),
        ({"depth_m": filled(np.nan)}, "no_valid_depth", "NaN"),
        ({"depth_m": filled(0)}, "no_valid_depth", "zero"),
        ({"depth_m": filled(np.inf)}, "no_valid_depth", "infinite"),
        ({"depth_m": filled(1500)}, "depth_unit", "millimetres"),
    ],
)
def test_a_refusal_names_rule_and_remedy_and_leaves_no_trace(changes, reason, words):
    validator = ViewValidator()
    validator.checked(view(stamp_ns=100))
    with pytest.raises(ViewRefused, match=words) as refusal:
        validator.checked(view(**{"stamp_ns": 200, **changes}))
    assert refusal.value.reason == reason
    assert reason in ViewValidator.REASONS
    assert "'wrist'" in str(refusal.value)
    validator.checked(view(stamp_ns=101))


def test_views_of_several_cameras_interleave_and_each_keeps_its_own_time():
    validator = ViewValidator()
    validator.checked(view(stamp_ns=100))
    validator.checked(view(stamp_ns=40, camera_name="scene", optical_frame="scene_optical"))
    validator.checked(view(stamp_ns=41, camera_name="scene", optical_frame="scene_optical"))
    validator.checked(view(stamp_ns=101))


def test_after_a_reset_time_and_frames_may_start_anew():
    validator = ViewValidator()
    validator.checked(view(stamp_ns=100))
    validator.reset()
    validator.checked(view(stamp_ns=5, optical_frame="other", world_frame="odom"))


def test_a_single_valid_pixel_is_enough():
    depth = filled(np.nan)
    depth[3, 5] = 1.0
    frame = view(depth_m=depth)
    assert ViewValidator().checked(frame) is frame


def test_a_backend_that_can_do_without_depth_gets_the_colour_of_a_blind_view():
    validator = ViewValidator(needs_depth=False)
    usable = validator.checked(view(depth_m=filled(np.nan)))
    assert usable.depth_m is None
    assert usable.depth_camera is None
    assert usable.color is not None
    with pytest.raises(ViewRefused):
        validator.checked(view(stamp_ns=200, depth_m=filled(np.nan), color=None))


def test_a_fast_camera_does_not_push_a_slow_one_out_of_the_window():
    window = ViewWindow(4)
    window.add(view(camera_name="scene", stamp_ns=1))
    left = [window.add(view(stamp_ns=stamp)) for stamp in range(2, 9)]
    assert [(kept.camera_name, kept.stamp_ns) for kept in window] == [
        ("scene", 1), ("wrist", 6), ("wrist", 7), ("wrist", 8),
    ]  # fmt: skip
    assert [gone.stamp_ns for gone in left if gone is not None] == [2, 3, 4, 5]
    window.clear()
    assert len(window) == 0


def test_with_more_cameras_than_places_the_oldest_view_leaves():
    window = ViewWindow(2)
    for stamp, name in enumerate("abcd"):
        window.add(view(camera_name=name, stamp_ns=stamp))
    assert [kept.camera_name for kept in window] == ["c", "d"]
    with pytest.raises(ValueError, match="at least 1"):
        ViewWindow(0)
