"""Frames out of a bag, without ROS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bag_messages import messages, write
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from sensorium.bags import BagWriter, OfferedQos
from sensorium.sources.bag import BagSource
from sensorium.sources.opening import is_bag, open_recording
from sensorium.sources.recording import RecordingSource
from sensorium.sources.source import RejectedFrame, SourceError, SourceFrame, frames

ROOT = Path(__file__).resolve().parents[2]
QOS = OfferedQos("reliable", "volatile", "keep_last", 5)
TYPE = "sensorium_ros/msg/RgbdFrame"


@pytest.fixture(scope="module")
def store():
    store = get_typestore(Stores.ROS2_HUMBLE)
    store.register(get_types_from_msg((ROOT / "msg" / "RgbdFrame.msg").read_text(), TYPE))
    return store


def image(types, header, encoding, pixels):
    data = np.frombuffer(np.ascontiguousarray(pixels).tobytes(), np.uint8)
    height, width = pixels.shape[:2]
    return types["sensor_msgs/msg/Image"](
        header=header, height=height, width=width, encoding=encoding, is_bigendian=0,
        step=len(data) // height, data=data,
    )  # fmt: skip


def serialised(store, stamp_ns, *, encoding="rgb8", focal_px=30.0, has_pose=True):
    types = store.types
    zero = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    header = types["std_msgs/msg/Header"](stamp=zero, frame_id="wrist_optical")
    color = np.arange(24 * 32 * 3, dtype=np.uint8).reshape(24, 32, 3)
    depth = np.full((24, 32), 1500, "<u2")
    depth[0] = 0
    region = types["sensor_msgs/msg/RegionOfInterest"](
        x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
    )
    info = types["sensor_msgs/msg/CameraInfo"](
        header=header, height=24, width=32, distortion_model="plumb_bob", d=np.zeros(5),
        k=np.array((focal_px, 0, 15.5, 0, focal_px, 11.5, 0, 0, 1)), r=np.eye(3).ravel(),
        p=np.zeros(12), binning_x=0, binning_y=0, roi=region,
    )  # fmt: skip
    pose = types["geometry_msgs/msg/Pose"](
        position=types["geometry_msgs/msg/Point"](x=1.0, y=2.0, z=3.0),
        orientation=types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0),
    )
    message = types[TYPE](
        header=header, camera_name="wrist", has_color=True, has_depth=True, has_pose=has_pose,
        color=image(types, header, encoding, color), color_info=info,
        depth=image(types, header, "16UC1", depth), depth_info=info,
        world_frame="map", world_from_camera=pose,
    )  # fmt: skip
    return bytes(store.serialize_cdr(message, TYPE))


def write_bag(path, content):
    with BagWriter(path) as writer:
        writer.add_topic("/wrist/rgbd", TYPE, [QOS])
        for stamp_ns, data in content:
            writer.write("/wrist/rgbd", stamp_ns, data)


def test_frames_come_back_whole(store, tmp_path):
    stamps = (1_000_000_001, 2_000_000_002)
    content = [(s, serialised(store, s, has_pose=s == stamps[0])) for s in stamps]
    write_bag(tmp_path / "bag", content)
    with open_recording(tmp_path / "bag") as source:
        assert isinstance(source, BagSource)
        assert len(source) == 2
        read = list(frames(source))
        assert source.finished
    assert all(isinstance(item, SourceFrame) for item in read)
    first, second = (item.frame for item in read)
    assert [first.stamp_ns, second.stamp_ns] == list(stamps)
    assert (first.camera_name, first.optical_frame) == ("wrist", "wrist_optical")
    np.testing.assert_array_equal(
        first.color, np.arange(24 * 32 * 3, dtype=np.uint8).reshape(24, 32, 3)
    )
    assert np.isnan(first.depth_m[0]).all()
    np.testing.assert_allclose(first.depth_m[1:], 1.5)
    assert first.color_camera.K[0, 0] == 30.0
    assert first.color_camera.is_rectified
    np.testing.assert_array_equal(first.world_from_camera[:3, 3], (1, 2, 3))
    assert (second.world_frame, second.world_from_camera) == ("", None)


def test_bad_frames_are_rejected_one_by_one_and_unknown_intrinsics_stay_unknown(store, tmp_path):
    content = [
        (1, serialised(store, 1, encoding="mono8")),
        (2, serialised(store, 2, focal_px=0.0)),
    ]
    write_bag(tmp_path / "bag", content)
    with BagSource(tmp_path / "bag") as source:
        bad, good = list(frames(source))
    assert isinstance(bad, RejectedFrame)
    assert (bad.reason, bad.stamp_ns) == ("unusable", 1)
    assert "encoding 'mono8'" in bad.detail
    assert good.frame.color_camera is None


def test_a_bag_without_frames_is_refused_with_what_it_holds(tmp_path):
    write(tmp_path / "bag", messages(3))
    with pytest.raises(SourceError, match=r"/chatter \(std_msgs/msg/String\)"):
        open_recording(tmp_path / "bag")
    with pytest.raises(SourceError, match="does not exist"):
        open_recording(tmp_path / "nowhere")


def test_a_folder_of_images_is_no_bag(tmp_path):
    (tmp_path / "camera-intrinsics.txt").write_text("90 0 55\n0 90 41\n0 0 1\n")
    assert not is_bag(tmp_path)
    with pytest.raises(SourceError):
        open_recording(tmp_path)
    assert RecordingSource.live is False
