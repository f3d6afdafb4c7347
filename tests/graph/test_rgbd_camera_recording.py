"""Recordings through the camera node: frames that are not whole are refused one by one."""

import cv2
import numpy as np
import pytest
from graph_nodes import wait_until
from graph_tools import HEIGHT_PX, WIDTH_PX
from sensor_msgs.msg import CameraInfo, Image
from sensorium_ros.msg import RgbdFrame as RgbdFrameMessage
from tf2_msgs.msg import TFMessage

from sensorium.ros.convert.rgbd_frame import frame_from_message

FRAMES = 6


@pytest.fixture
def folder(tmp_path):
    """A 7-Scenes folder of six frames: a wall that comes 100 mm nearer with each."""
    folder = tmp_path / "recording"
    folder.mkdir()
    (folder / "camera-intrinsics.txt").write_text("140 0 79.5\n0 140 59.5\n0 0 1\n")
    for number in range(FRAMES):
        write_frame(folder, number)
    return folder


def write_frame(folder, number):
    stem = folder / f"frame-{number:06d}"
    depth = np.full((HEIGHT_PX, WIDTH_PX), 2000 - 100 * number, np.uint16)
    color = np.full((HEIGHT_PX, WIDTH_PX, 3), 40 * number, np.uint8)
    cv2.imwrite(f"{stem}.depth.png", depth)
    cv2.imwrite(f"{stem}.color.png", color)
    pose = np.eye(4)
    pose[2, 3] = 0.1 * number
    np.savetxt(f"{stem}.pose.txt", pose)


def play(graph, folder, **parameters):
    return graph.host(
        "rgbd_camera",
        parameters={
            "source": "recording",
            "recording.folder": str(folder),
            "recording.rate_hz": 20.0,
            "wait_for_subscribers_s": 30.0,
            **parameters,
        },
    )


def ended(status):
    return status.count("published") + status.count("rejected") == FRAMES


@pytest.mark.parametrize(
    ("spoil", "reason", "text"),
    [
        (lambda stem: stem.with_suffix(".pose.txt").unlink(), "pose_missing", "has no pose"),
        (
            lambda stem: stem.with_suffix(".pose.txt").write_text("1 0 0\n"),
            "pose_invalid",
            "frame-000003",
        ),
        (
            lambda stem: np.savetxt(stem.with_suffix(".pose.txt"), np.full((4, 4), np.nan)),
            "pose_invalid",
            "pose of",
        ),
        (lambda stem: stem.with_suffix(".depth.png").unlink(), "depth_missing", "no depth image"),
        (
            lambda stem: stem.with_suffix(".depth.png").write_bytes(b"no png"),
            "depth_unreadable",
            "16-bit PNG",
        ),
        (
            lambda stem: cv2.imwrite(f"{stem}.depth.png", np.ones((60, 80), np.uint16)),
            "size_mismatch",
            "80 x 60 px",
        ),
    ],
    ids=["no_pose", "short_pose", "nan_pose", "no_depth", "broken_depth", "other_size"],
)
def test_a_frame_that_is_not_whole_is_refused_and_the_rest_is_published(
    graph, folder, spoil, reason, text
):
    spoil(folder / "frame-000003")
    frames = graph.collect(RgbdFrameMessage, "/rgbd")
    node = play(graph, folder)
    status = graph.status(node, ended)
    assert status.count(f"rejected.{reason}") == 1, status
    assert status.count("published") == FRAMES - 1
    assert status.level == 1
    assert f"rejected ({reason}): " in status.message
    assert text in status.message
    wait_until(lambda: len(frames) == FRAMES - 1, lambda: f"only {len(frames)} frames came")
    depths = [float(np.nanmedian(frame_from_message(frame).depth_m)) for frame in frames]
    np.testing.assert_allclose(depths, [2.0, 1.9, 1.8, 1.6, 1.5], atol=1e-6)


def test_poses_images_and_infos_of_a_recording_reach_the_standard_topics(graph, folder):
    frames = graph.collect(RgbdFrameMessage, "/rgbd")
    depths = graph.collect(Image, "/depth/image_rect_raw")
    infos = graph.collect(CameraInfo, "/depth/camera_info")
    colors = graph.collect(Image, "/color/image_raw")
    transforms = graph.collect(TFMessage, "/tf")
    node = play(graph, folder, **{"recording.loop": True})
    topics = {"frames": frames, "depths": depths, "infos": infos, "colors": colors}
    wait_until(
        lambda: transforms and all(len(list_) >= FRAMES for list_ in topics.values()),
        lambda: {name: len(list_) for name, list_ in topics.items()},
    )
    # Colour is not registered to this depth and its intrinsics are unknown: apart, uncalibrated.
    assert not frames[-1].has_color
    assert frames[-1].world_frame == "map"
    edge = transforms[-1].transforms[0]
    assert (edge.header.frame_id, edge.child_frame_id) == ("map", "camera_depth_optical_frame")
    assert infos[-1].k[0] == 140.0
    assert (infos[-1].width, infos[-1].height) == (WIDTH_PX, HEIGHT_PX)
    assert colors[-1].header.frame_id == "camera_color_optical_frame"
    stamps = [frame.header.stamp.sec * 10**9 + frame.header.stamp.nanosec for frame in frames]
    assert np.diff(stamps).min() > 0, "a loop goes on in time"
    assert graph.status(node).count("rejected") == 0


def test_a_folder_that_is_not_there_fails_configure_until_the_parameter_is_right(graph, folder):
    node = play(graph, folder / "elsewhere")
    status = graph.status(node, lambda s: "configure failed" in s.message)
    assert "elsewhere' does not exist" in status.message
    assert status.level == 2
    assert graph.state(node) == "unconfigured"
    assert graph.set(node, "recording.folder", str(folder)).successful
    assert graph.change(node, "configure")
    frames = graph.collect(RgbdFrameMessage, "/rgbd")
    assert graph.change(node, "activate")
    status = graph.status(node, ended)
    assert "failed" not in status.message
    wait_until(lambda: len(frames) == FRAMES)


def test_a_file_that_vanishes_while_the_recording_plays_costs_one_frame(graph, folder):
    frames = graph.collect(RgbdFrameMessage, "/rgbd")
    node = play(graph, folder, **{"recording.rate_hz": 4.0})
    wait_until(lambda: frames, "nothing is played")
    (folder / "frame-000004.depth.png").unlink()
    status = graph.status(node, ended)
    assert (status.count("rejected"), status.count("published")) == (1, FRAMES - 1)
    assert "frame-000004" in status.message


def test_an_error_nobody_foresaw_costs_one_frame_and_is_counted(graph, folder):
    node = play(graph, folder, autostart=False)
    assert graph.change(node, "configure")
    source = node.node._source
    read, calls = source.read, []

    def read_with_a_bug(timeout_s):
        calls.append(timeout_s)
        result = read(timeout_s)
        if len(calls) == 3:
            raise RuntimeError("nobody foresaw this")
        return result

    source.read = read_with_a_bug
    frames = graph.collect(RgbdFrameMessage, "/rgbd")
    assert graph.change(node, "activate")
    status = graph.status(node, ended)
    assert status.count("rejected.failed") == 1
    assert "nobody foresaw this" in status.message
    wait_until(lambda: len(frames) == FRAMES - 1, lambda: f"only {len(frames)} frames came")


def test_a_recording_starts_anew_when_the_node_is_activated_again(graph, folder):
    frames = graph.collect(RgbdFrameMessage, "/rgbd")
    node = play(graph, folder)
    wait_until(lambda: len(frames) == FRAMES)
    assert graph.change(node, "deactivate")
    assert graph.change(node, "activate")
    wait_until(lambda: len(frames) == 2 * FRAMES)
    stamps = [frame.header.stamp.sec * 10**9 + frame.header.stamp.nanosec for frame in frames]
    assert np.diff(stamps).min() > 0
