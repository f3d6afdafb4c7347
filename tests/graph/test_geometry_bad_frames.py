"""Frames that cannot be used are refused one by one, counted by reason, and named in words."""

import numpy as np
import pytest
from graph_nodes import wait_until
from graph_tools import (
    CAMERA,
    HEIGHT_PX,
    SECOND_NS,
    WIDTH_PX,
    FrameSender,
    geometry_accounts_for,
    now_ns,
    wall,
    wall_message,
)
from sensor_msgs.msg import CameraInfo

from sensorium.frames import pinhole
from sensorium.ros.convert.camera_info import info_from_camera
from sensorium.ros.convert.image import image_from_color, image_from_depth
from sensorium.ros.convert.rgbd_frame import message_from_frame


def with_depth(message, depth_m, encoding="32FC1"):
    message.depth = image_from_depth(
        depth_m.astype(np.float32), now_ns(), message.header.frame_id, encoding
    )


def all_nan(message):
    with_depth(message, np.full((HEIGHT_PX, WIDTH_PX), np.nan))


def all_zero_millimetres(message):
    with_depth(message, np.zeros((HEIGHT_PX, WIDTH_PX)), "16UC1")


def zero_negative_and_infinite(message):
    depth = np.zeros((HEIGHT_PX, WIDTH_PX))
    depth[::2], depth[:, ::3] = -1.0, np.inf
    with_depth(message, depth)


def unknown_depth_encoding(message):
    message.depth.encoding = "8UC1"


def unknown_color_encoding(message):
    message.color.encoding = "yuv422"


def info_of_another_size(message):
    info = info_from_camera(pinhole(320, 240, 280.0), now_ns(), "optical")
    message.depth_info = info


def color_of_another_size(message):
    message.color = image_from_color(np.zeros((60, 80, 3), np.uint8), now_ns(), "optical")
    message.color_info = info_from_camera(pinhole(80, 60, 70.0), now_ns(), "optical")


def truncated_depth(message):
    message.depth.data = message.depth.data[:1000]


def no_depth_info(message):
    message.depth_info = CameraInfo()


def uncalibrated(message):
    message.depth_info.k[0] = 0.0


def negative_focal_length(message):
    message.depth_info.k[0] = -140.0


def nan_intrinsics(message):
    message.depth_info.k[2] = np.nan


def distorted(message):
    for info in (message.color_info, message.depth_info):
        info.distortion_model, info.d = "plumb_bob", [0.1, 0.0, 0.0, 0.0, 0.0]


def metres_that_are_millimetres(message):
    with_depth(message, np.full((HEIGHT_PX, WIDTH_PX), 1000.0))


def pose_without_rotation(message):
    message.world_from_camera.orientation.w = 0.0


def pose_with_nan(message):
    message.world_from_camera.position.x = np.nan


def pose_without_frame(message):
    message.world_frame = ""


def camera_without_name(message):
    message.camera_name = ""


def impossible_nanoseconds(message):
    message.header.stamp.nanosec = 2 * SECOND_NS


def no_image_at_all(message):
    message.has_color = message.has_depth = False


def color_alone(message):
    message.has_depth = False


@pytest.mark.parametrize(
    ("spoil", "reason", "text"),
    [
        (all_nan, "no_valid_depth", "no valid depth pixel"),
        (all_zero_millimetres, "no_valid_depth", "no valid depth pixel"),
        (zero_negative_and_infinite, "no_valid_depth", "no valid depth pixel"),
        (unknown_depth_encoding, "unusable", "encoding '8UC1' is no depth image"),
        (unknown_color_encoding, "unusable", "encoding 'yuv422' is no colour image"),
        (info_of_another_size, "unusable", "160 x 120 px but its camera is 320 x 240 px"),
        (color_of_another_size, "unusable", "register depth to colour first"),
        (truncated_depth, "unusable", "truncated"),
        (no_depth_info, "incomplete", "needs depth with its intrinsics"),
        (uncalibrated, "incomplete", "needs depth with its intrinsics"),
        (negative_focal_length, "unusable", "uncalibrated"),
        (nan_intrinsics, "unusable", "non-finite"),
        (distorted, "distorted", "rectified images"),
        (metres_that_are_millimetres, "depth_unit", "look like millimetres"),
        (pose_without_rotation, "unusable", "world_from_camera"),
        (pose_with_nan, "unusable", "world_from_camera"),
        (pose_without_frame, "unusable", "name the frame"),
        (camera_without_name, "unusable", "camera_name is empty"),
        (impossible_nanoseconds, "unusable", "nanosec must be below"),
        (no_image_at_all, "empty", "neither colour nor depth"),
        (color_alone, "incomplete", "needs depth with its intrinsics"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_frame_is_refused_by_name_and_the_next_good_one_is_used(graph, spoil, reason, text):
    node = graph.active_geometry()
    sender = FrameSender(graph)
    sender.until_points_come()
    for count in range(1, 4):
        message = wall_message(now_ns())
        spoil(message)
        sender.send(message)
        # One at a time: of two that wait, the newer would supersede the older.
        wait_until(lambda count=count: node.node._rejections.total == count, "not refused")
    sender.points.clear()
    sender.send()
    wait_until(lambda: sender.points, "no points after the bad frames")
    status = graph.status(
        node, lambda s: s.count("received") == geometry_accounts_for(s) == sender.sent
    )
    assert status.count(f"rejected.{reason}") == status.count("rejected") == 3, status
    assert status.count("processed") == sender.sent - 3
    assert status.level == 1, status
    assert f"rejected ({reason}): " in status.message
    assert text in status.message


def test_pixels_without_depth_are_nan_in_the_cloud_and_do_not_spoil_their_neighbours(graph):
    graph.active_geometry()
    sender = FrameSender(graph)
    sender.until_points_come()
    points = sender.points
    frame = wall(now_ns(), distance_m=1.5)
    frame.depth_m[:, : WIDTH_PX // 2] = np.nan
    frame.depth_m[:10], frame.depth_m[10:20], frame.depth_m[20:30] = 0, -1, np.inf
    message = message_from_frame(frame)
    sender.send(message)
    wait_until(lambda: points[-1].header.stamp == message.header.stamp, "no points")
    cloud = points[-1]
    assert (cloud.height, cloud.width, cloud.header.frame_id) == (HEIGHT_PX, WIDTH_PX, "optical")
    xyz = np.ndarray(
        (cloud.height, cloud.width, 3), np.float32, bytes(cloud.data),
        strides=(cloud.row_step, cloud.point_step, 4),
    )  # fmt: skip
    valid = np.zeros((HEIGHT_PX, WIDTH_PX), bool)
    valid[30:, WIDTH_PX // 2 :] = True
    np.testing.assert_array_equal(np.isfinite(xyz).all(axis=2), valid)
    v, u = np.nonzero(valid)
    rays = np.linalg.inv(CAMERA.K) @ np.stack((u, v, np.ones_like(u)))
    np.testing.assert_allclose(xyz[valid], 1.5 * rays.T, atol=1e-5)
