"""The topics of a camera driver become RgbdFrames: joined, registered, or refused by name."""

import numpy as np
import pytest
from graph_nodes import wait_until
from graph_tools import CAMERA, HEIGHT_PX, SECOND_NS, WIDTH_PX, now_ns, translation
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from sensorium_ros.msg import RgbdFrame as RgbdFrameMessage

from sensorium.frames import pinhole
from sensorium.ros.convert.camera_info import info_from_camera
from sensorium.ros.convert.compressed import compressed_from_color, compressed_from_depth
from sensorium.ros.convert.image import image_from_color, image_from_depth
from sensorium.ros.convert.rgbd_frame import frame_from_message

MS = 1_000_000
COLOR = np.tile(np.linspace(20, 230, WIDTH_PX)[None, :, None], (HEIGHT_PX, 1, 3)).astype(np.uint8)
DEPTH_M = np.tile(np.linspace(0.5, 2.0, HEIGHT_PX)[:, None], (1, WIDTH_PX)).astype(np.float32)
DEPTH_M[:5] = np.nan
DEPTH_CAMERA = pinhole(120, 90, 100.0)


class Driver:
    """A camera driver: publishes images and CameraInfos on topics of their own."""

    def __init__(self, graph, node, *, compressed=False, qos="reliable"):
        self._node = node.node
        image_type = CompressedImage if compressed else Image
        self.color = graph.publisher(image_type, "/color/image_raw", qos)
        self.color_info = graph.publisher(CameraInfo, "/color/camera_info", qos)
        self.depth = graph.publisher(image_type, "/depth/image_rect_raw", qos)
        self.depth_info = graph.publisher(CameraInfo, "/depth/camera_info", qos)
        self.sent = 0

    def infos(self, color_camera=CAMERA, depth_camera=CAMERA):
        self.color_info.publish(info_from_camera(color_camera, now_ns(), "optical"))
        self.depth_info.publish(info_from_camera(depth_camera, now_ns(), "optical"))

    def images(
        self, color_ns, depth_ns=None, *, encoding="32FC1", depth_m=DEPTH_M, frame="optical"
    ):
        depth_ns = color_ns if depth_ns is None else depth_ns
        self.depth.publish(image_from_depth(depth_m, depth_ns, frame, encoding))
        self.color.publish(image_from_color(COLOR, color_ns, "optical"))
        self.sent += 1
        # The node asks for sensor data: more than five at once would be lost on purpose.
        inputs = self._node._source.inputs
        wait_until(
            lambda: all(inputs[kind].received == self.sent for kind in ("color", "depth")),
            lambda: {kind: source.explain() for kind, source in inputs.items()},
        )


@pytest.fixture
def camera(graph):
    def make(**parameters):
        node = graph.host("rgbd_camera", parameters={"source": "topics", **parameters})
        graph.wait_state(node, "active")
        return node

    return make


def infos_arrived(node):
    wait_until(lambda: len(node.node._source._infos) == 2, "no CameraInfo came")


def accounted(driver):
    """Of each pair that was sent: published, rejected, superseded, or dropped without partner."""
    return lambda status: (
        driver.sent
        == sum(
            (
                status.count("published"),
                status.count("rejected"),
                status.count("superseded"),
                (status.count("sync.unmatched") + status.count("disordered")) // 2,
            )
        )
    )


@pytest.mark.parametrize(("encoding", "policy"), [("16UC1", "exact"), ("32FC1", "approximate")])
def test_raw_images_become_frames(graph, camera, encoding, policy):
    node = camera(**{"topics.sync_policy": policy, "camera_name": "wrist"})
    frames = graph.collect(RgbdFrameMessage, "/rgbd")
    driver = Driver(graph, node)
    driver.infos()
    infos_arrived(node)
    start_ns = now_ns()
    for number in range(1, 4):
        driver.images(start_ns + number * SECOND_NS // 30, encoding=encoding)
        wait_until(lambda number=number: len(frames) == number, "no frame")
    frame = frame_from_message(frames[-1])
    assert (frame.camera_name, frame.optical_frame) == ("wrist", "optical")
    assert frame.stamp_ns == start_ns + 3 * SECOND_NS // 30
    assert frame.world_from_camera is None
    np.testing.assert_array_equal(frame.color, COLOR)
    np.testing.assert_allclose(frame.depth_m, DEPTH_M, atol=0.00051 if encoding == "16UC1" else 0)
    assert frame.depth_camera.same_geometry(CAMERA)
    status = graph.status(node, accounted(driver))
    assert (status.count("published"), status.count("rejected"), status.count("lost")) == (3, 0, 0)


def test_compressed_images_become_frames(graph, camera):
    node = camera(**{"topics.compressed": True})
    frames = graph.collect(RgbdFrameMessage, "/rgbd")
    driver = Driver(graph, node, compressed=True)
    driver.infos()
    infos_arrived(node)
    stamp_ns = now_ns()
    driver.color.publish(compressed_from_color(COLOR, stamp_ns, "optical"))
    driver.depth.publish(compressed_from_depth(DEPTH_M, stamp_ns, "optical"))
    wait_until(lambda: frames, "no frame")
    frame = frame_from_message(frames[0])
    assert np.abs(frame.color.astype(int) - COLOR).mean() < 3
    np.testing.assert_allclose(frame.depth_m, DEPTH_M, atol=0.00051)
    broken = compressed_from_depth(DEPTH_M, stamp_ns + MS, "optical")
    broken.data = broken.data[:200]
    driver.depth.publish(broken)
    driver.color.publish(compressed_from_color(COLOR, stamp_ns + MS, "optical"))
    status = graph.status(node, lambda s: s.count("rejected.unusable") == 1)
    assert "rejected (unusable): " in status.message
    driver.color.publish(compressed_from_color(COLOR, stamp_ns + 2 * MS, "optical"))
    driver.depth.publish(compressed_from_depth(DEPTH_M, stamp_ns + 2 * MS, "optical"))
    wait_until(lambda: len(frames) == 2, "not recovered")


def test_without_camera_info_frames_are_refused_until_it_comes(graph, camera):
    node = camera()
    frames = graph.collect(RgbdFrameMessage, "/rgbd")
    driver = Driver(graph, node)
    stamp_ns = now_ns()
    driver.images(stamp_ns)
    status = graph.status(node, lambda s: s.count("rejected.unusable") == 1)
    assert "no CameraInfo of depth has arrived on 'depth/camera_info'" in status.message
    uncalibrated = info_from_camera(CAMERA, stamp_ns, "optical")
    uncalibrated.k[0] = 0.0
    driver.color_info.publish(uncalibrated)
    driver.depth_info.publish(uncalibrated)
    infos_arrived(node)
    driver.images(stamp_ns + MS)
    status = graph.status(node, lambda s: s.count("rejected.unusable") == 2)
    assert "the CameraInfo on 'depth/camera_info' is uncalibrated (K[0] = 0)" in status.message
    driver.infos()
    wait_until(lambda: node.node._source._infos["depth"].k[0] > 0)
    wait_until(lambda: node.node._source._infos["color"].k[0] > 0)
    driver.images(stamp_ns + 2 * MS)
    wait_until(lambda: len(frames) == 1, "not recovered")
    status = graph.status(node, accounted(driver))
    assert (status.count("published"), status.count("rejected")) == (1, 2)


def bad_encoding(driver, stamp_ns):
    image = image_from_depth(DEPTH_M, stamp_ns, "optical")
    image.encoding = "64FC1"
    driver.depth.publish(image)


def bad_size(driver, stamp_ns):
    driver.depth.publish(image_from_depth(DEPTH_M[:60, :80], stamp_ns, "optical"))


def truncated(driver, stamp_ns):
    image = image_from_depth(DEPTH_M, stamp_ns, "optical")
    image.data = image.data[:100]
    driver.depth.publish(image)


@pytest.mark.parametrize(
    ("publish_bad_depth", "text"),
    [
        (bad_encoding, "encoding '64FC1' is no depth image"),
        (bad_size, "80 x 60 px"),
        (truncated, "truncated"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_image_is_refused_by_name_and_the_next_pair_is_used(
    graph, camera, publish_bad_depth, text
):
    node = camera()
    frames = graph.collect(RgbdFrameMessage, "/rgbd")
    driver = Driver(graph, node)
    driver.infos()
    infos_arrived(node)
    stamp_ns = now_ns()
    publish_bad_depth(driver, stamp_ns)
    driver.color.publish(image_from_color(COLOR, stamp_ns, "optical"))
    driver.sent += 1
    status = graph.status(node, lambda s: s.count("rejected.unusable") == 1)
    assert "rejected (unusable): " in status.message
    assert text in status.message
    driver.images(stamp_ns + SECOND_NS // 30)
    wait_until(lambda: len(frames) == 1, "not recovered")
    graph.status(node, accounted(driver))


def test_depth_of_another_camera_is_registered_when_tf_is_known_and_refused_before(graph, camera):
    node = camera()
    frames = graph.collect(RgbdFrameMessage, "/rgbd")
    driver = Driver(graph, node)
    driver.infos(depth_camera=DEPTH_CAMERA)
    infos_arrived(node)
    stamp_ns = now_ns()
    flat = np.full((90, 120), 1.0, np.float32)
    flat[40:50, 55:65] = 0.8
    driver.images(stamp_ns, depth_m=flat, frame="depth_optical")
    status = graph.status(node, lambda s: s.count("rejected.not_registered") == 1)
    assert "depth cannot be registered to colour: no connection between optical" in status.message
    assert "depth_optical" in status.message
    # The colour camera sits 50 mm to the right of the depth camera and 100 mm behind it.
    graph.static_transform("optical", "depth_optical", translation(-0.05, 0.0, 0.1))
    wait_until(lambda: node.node._transforms._edges, "no transform came")
    driver.images(stamp_ns + SECOND_NS // 30, depth_m=flat, frame="depth_optical")
    wait_until(lambda: frames, "not recovered")
    frame = frame_from_message(frames[0])
    assert frame.depth_camera.same_geometry(CAMERA)
    assert frame.optical_frame == "optical"
    assert np.nanmax(frame.depth_m) == pytest.approx(1.1)
    # The near square: its middle is at x = (59.5 - 59.5) / 100 * 0.8 - 0.05 before the camera.
    v, u = np.nonzero(frame.depth_m < 1.0)
    assert np.nanmedian(frame.depth_m[v, u]) == pytest.approx(0.9)
    assert u.mean() == pytest.approx(79.5 - 0.05 * 140 / 0.9, abs=1.0)
    assert v.mean() == pytest.approx(59.5, abs=1.0)
    graph.status(node, accounted(driver))


def test_near_stamps_are_joined_approximately_and_far_ones_reported_with_their_gap(graph, camera):
    node = camera(**{"topics.sync_slop_s": 0.01, "waiting_report_s": 0.5})
    frames = graph.collect(RgbdFrameMessage, "/rgbd")
    driver = Driver(graph, node)
    driver.infos()
    infos_arrived(node)
    start_ns = now_ns()
    period_ns = 100 * MS
    for number in range(4):
        driver.images(start_ns + number * period_ns, start_ns + number * period_ns + 20 * MS)
    status = graph.status(node, lambda s: "never matched" in s.message)
    assert "best gap 20.0 ms, allowed 10.0 ms (topics.sync_slop_s)" in status.message
    for number in range(4, 9):
        driver.images(start_ns + number * period_ns, start_ns + number * period_ns + 5 * MS)
    wait_until(lambda: frames, "not recovered")
    status = graph.status(node, lambda s: s.count("published") + s.count("superseded") >= 4)
    assert "never matched" not in status.message
    assert frame_from_message(frames[0]).stamp_ns % period_ns == start_ns % period_ns
    received = status.count("color.received") + status.count("depth.received")
    assert received == 2 * driver.sent
    parts = ("disordered", "sync.matched", "sync.unmatched", "sync.held")
    assert received == sum(status.count(part) for part in parts), status


def test_exact_synchronisation_joins_equal_stamps_only(graph, camera):
    node = camera(**{"topics.sync_policy": "exact"})
    frames = graph.collect(RgbdFrameMessage, "/rgbd")
    driver = Driver(graph, node)
    driver.infos()
    infos_arrived(node)
    start_ns = now_ns()
    for number in range(6):
        stamp_ns = start_ns + number * 100 * MS
        driver.images(stamp_ns, stamp_ns + (0 if number % 2 else 1))
    status = graph.status(node, lambda s: s.count("published") + s.count("superseded") == 3)
    assert status.count("sync.unmatched") == 6
    wait_until(lambda: len(frames) == status.count("published"))
    assert {frame_from_message(frame).stamp_ns - start_ns for frame in frames} <= {
        100 * MS, 300 * MS, 500 * MS,
    }  # fmt: skip


def test_a_driver_whose_clock_starts_anew_is_followed(graph, camera):
    node = camera()
    frames = graph.collect(RgbdFrameMessage, "/rgbd")
    driver = Driver(graph, node)
    driver.infos()
    infos_arrived(node)
    start_ns = now_ns()
    for number in range(3):
        driver.images(start_ns + number * 33 * MS)
        wait_until(lambda number=number: len(frames) == number + 1, "no frame")
    # A single pair half a second late is out of order; one of an hour ago is another clock.
    driver.images(start_ns - SECOND_NS // 2)
    status = graph.status(node, lambda s: s.count("disordered") == 2)
    assert status.count("published") == 3
    for number in range(3):
        driver.images(start_ns - 3600 * SECOND_NS + number * 33 * MS)
        wait_until(lambda number=number: len(frames) == number + 4, "the new clock is refused")
    status = graph.status(node, accounted(driver))
    assert status.count("published") == 6
    assert status.count("clock_restarts") == 1


@pytest.mark.parametrize(("given", "missing"), [("color", "depth"), ("depth", "color")])
def test_one_image_without_the_other_is_not_published_and_the_silent_topic_is_named(
    graph, camera, given, missing
):
    node = camera(**{"waiting_report_s": 0.5})
    publisher = graph.publisher(
        Image, "/color/image_raw" if given == "color" else "/depth/image_rect_raw"
    )
    stamp_ns = now_ns()
    image = (
        image_from_color(COLOR, stamp_ns, "optical")
        if given == "color"
        else image_from_depth(DEPTH_M, stamp_ns, "optical")
    )
    publisher.publish(image)
    status = graph.status(
        node, lambda s: s.count(f"{given}.received") == 1 and "waiting for" in s.message
    )
    topic = {"color": "/color/image_raw", "depth": "/depth/image_rect_raw"}[missing]
    assert f"{topic}: no publisher" in status.message
    assert status.count("published") == 0


def test_a_depth_camera_without_colour_works_alone(graph, camera):
    node = camera(**{"topics.color": ""})
    frames = graph.collect(RgbdFrameMessage, "/rgbd")
    depth = graph.publisher(Image, "/depth/image_rect_raw")
    info = graph.publisher(CameraInfo, "/depth/camera_info")
    info.publish(info_from_camera(CAMERA, now_ns(), "optical"))
    wait_until(lambda: node.node._source._infos)
    depth.publish(image_from_depth(DEPTH_M, now_ns(), "optical"))
    wait_until(lambda: frames, "no frame")
    assert (frames[0].has_color, frames[0].has_depth) == (False, True)


def test_a_driver_with_incompatible_qos_is_named(graph, camera):
    deaf = camera(**{"topics.qos": "reliable", "waiting_report_s": 0.5})
    graph.publisher(Image, "/color/image_raw", "best_effort", subscribers=0)
    status = graph.status(deaf, lambda s: "incompatible QoS" in s.message)
    assert status.level == 2
    assert "/color/image_raw" in status.message


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"topics.color": "", "topics.depth": ""}, "name at least one"),
        ({"topics.color": "color image"}, "'color image', which is no topic name"),
    ],
)
def test_bad_topics_fail_configure(graph, parameters, text):
    node = graph.host("rgbd_camera", parameters={"source": "topics", **parameters})
    status = graph.status(node, lambda s: "configure failed" in s.message)
    assert text in status.message
    assert graph.state(node) == "unconfigured"
