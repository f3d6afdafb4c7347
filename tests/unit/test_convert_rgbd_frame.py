"""sensorium_ros/RgbdFrame: everything present comes back, everything absent is None."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

pytest.importorskip("sensorium_ros.msg")

from sensorium.frames import RgbdFrame, pinhole
from sensorium.poses import pose_from_quaternion
from sensorium.ros.convert import ConversionError
from sensorium.ros.convert.rgbd_frame import frame_from_message, message_from_frame

DEPTHS = st.floats(2**-7, 60, width=32) | st.just(np.nan)


@st.composite
def frames(draw):
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    has_color, has_depth, has_pose = draw(st.tuples(*[st.booleans()] * 3))
    camera = draw(st.sampled_from([None, pinhole(width, height, 5.0)]))
    return RgbdFrame(
        stamp_ns=draw(st.integers(0, 2**60)),
        camera_name="wrist",
        optical_frame="wrist_optical",
        color=draw(hnp.arrays(np.uint8, (height, width, 3))) if has_color else None,
        color_camera=camera if has_color else None,
        depth_m=draw(hnp.arrays(np.float32, (height, width), elements=DEPTHS))
        if has_depth
        else None,
        depth_camera=camera if has_depth else None,
        world_frame="map" if has_pose else "",
        world_from_camera=pose_from_quaternion((1, 2, 3), (0.1, 0.2, 0.3, 0.9))
        if has_pose
        else None,
    )


def assert_equal(one, other):
    assert (one is None) == (other is None)
    if one is not None:
        np.testing.assert_array_equal(one, other)


@given(frames())
@settings(max_examples=50, deadline=None)
def test_frames_make_the_round_trip(frame):
    read = frame_from_message(message_from_frame(frame))
    assert (read.stamp_ns, read.camera_name) == (frame.stamp_ns, frame.camera_name)
    assert (read.optical_frame, read.world_frame) == (frame.optical_frame, frame.world_frame)
    assert_equal(read.color, frame.color)
    assert_equal(read.depth_m, frame.depth_m)
    for mine, theirs in (
        (read.color_camera, frame.color_camera),
        (read.depth_camera, frame.depth_camera),
    ):
        assert (mine is None) == (theirs is None)
        assert mine is None or mine.same_geometry(theirs)
    if frame.world_from_camera is None:
        assert read.world_from_camera is None
    else:
        np.testing.assert_allclose(read.world_from_camera, frame.world_from_camera, atol=1e-12)


def full_message(**options):
    return message_from_frame(
        RgbdFrame(
            stamp_ns=5,
            camera_name="wrist",
            optical_frame="wrist_optical",
            color=np.zeros((4, 6, 3), np.uint8),
            color_camera=pinhole(6, 4, 5.0),
            depth_m=np.full((4, 6), 1.5, np.float32),
            depth_camera=pinhole(6, 4, 5.0),
            world_frame="map",
            world_from_camera=np.eye(4),
        ),
        **options,
    )


def test_all_parts_carry_the_stamp_and_frame_of_the_message():
    message = full_message()
    for part in (message.color, message.color_info, message.depth, message.depth_info):
        assert part.header == message.header


def test_depth_travels_in_millimetres_when_asked():
    message = full_message(depth_encoding="16UC1")
    assert message.depth.encoding == "16UC1"
    assert (frame_from_message(message).depth_m == np.float32(1.5)).all()


def test_what_the_flags_call_absent_is_ignored_even_when_it_is_broken():
    message = full_message()
    message.has_color = message.has_depth = message.has_pose = False
    message.color.encoding = message.depth.encoding = "broken"
    message.world_from_camera.orientation.w = 0.0
    frame = frame_from_message(message)
    assert frame.color is None
    assert frame.depth_m is None
    assert frame.world_from_camera is None
    assert frame.world_frame == ""


def break_color(message):
    message.color.encoding = "yuv422"


def break_depth(message):
    message.depth.step = 1


def break_info(message):
    message.color_info.distortion_model = "mystery"


def break_pose(message):
    message.world_from_camera.orientation.w = 0.0


def break_size(message):
    message.depth_info.width = 7


def break_stamp(message):
    message.header.stamp.sec = -1


def break_name(message):
    message.camera_name = ""


def break_world(message):
    message.world_frame = ""


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (break_color, "camera 'wrist', color: encoding 'yuv422'"),
        (break_depth, "camera 'wrist', depth: step is 1"),
        (break_info, "camera 'wrist', color_info: distortion model 'mystery'"),
        (break_pose, "camera 'wrist', world_from_camera: "),
        (break_size, "camera 'wrist', frame: depth_m is 6 x 4 px but its camera is 7 x 4"),
        (break_stamp, "camera 'wrist', header: stamp is sec=-1"),
        (break_name, "camera_name is empty"),
        (break_world, "without world_frame"),
    ],
)
def test_a_broken_part_is_refused_by_name(spoil, text):
    message = full_message()
    spoil(message)
    with pytest.raises(ConversionError, match=text):
        frame_from_message(message)
