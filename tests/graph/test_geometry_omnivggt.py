"""Geometry by OmniVGGT over DDS: what comes out, inputs that go and come back, failures."""

import hashlib
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from graph_nodes import wait_until
from graph_tools import FrameSender, geometry_accounts_for, now_ns, translation, wall_message
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Image, PointCloud2
from sensorium_ros.msg import RgbdFrame as RgbdFrameMessage
from sensorium_ros.msg import TokensInfo

sys.path.append(str(Path(__file__).parents[1] / "unit"))
from omnivggt_backends import save_small_weights

from sensorium.ros.convert.header import stamp_from_time
from sensorium.ros.convert.image import depth_from_image

PARAMETERS = {
    "backend": "omnivggt",
    "omnivggt.input_width_px": 56,
    "omnivggt.input_height_px": 42,
    "omnivggt.window_views": 3,
    "omnivggt.keyframes.parallax": 0.0,
    "map.max_rate_hz": 1000.0,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture
def geometry(graph, weights):
    def start(**parameters):
        return graph.active_geometry(
            **PARAMETERS, **{"omnivggt.weights": str(weights), **parameters}
        )

    return start


def frame(*, color=True, depth=True, intrinsics=True, **options):
    message = wall_message(now_ns(), **options)
    message.has_color, message.has_depth = color, depth
    if not intrinsics:
        message.color_info.k[0] = message.depth_info.k[0] = 0.0
    return message


def processed(graph, node, sender, **options):
    """Send one frame; returns the status once it was worked off, and nothing failed or was lost."""
    sender.send(frame(**options))
    status = graph.status(
        node, lambda s: s.count("received") == geometry_accounts_for(s) == sender.sent
    )
    assert status.count("failed") == status.count("rejected") == 0, status
    return status


def newest(messages):
    return max(list(messages), key=lambda message: stamp_from_time(message.header.stamp))


def test_points_depth_and_tokens_come_out_and_the_weights_are_named(graph, geometry, weights):
    geometry()
    infos = graph.collect(TokensInfo, "/geometry/tokens_info", qos="transient_local")
    depths = graph.collect(Image, "/geometry/depth")
    tokens = graph.collect(PointCloud2, "/geometry/tokens")
    sender = FrameSender(graph)

    def everything_came():
        message = frame()
        # The lower half has no depth: it is filled.
        data = np.frombuffer(bytes(message.depth.data), np.uint8).copy()
        data[len(data) // 2 :] = 0
        message.depth.data = data.tobytes()
        sender.send(message)
        time.sleep(0.1)
        return sender.points and depths and tokens and infos

    wait_until(everything_came)
    info = infos[-1]
    assert (info.backend, info.rows, info.columns, info.channels) == ("omnivggt", 3, 4, 64)
    assert (info.window_views, info.hints) == (3, ["depth", "intrinsics", "poses"])
    assert info.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    depth = depth_from_image(newest(depths))
    np.testing.assert_allclose(depth[:59], 1.0)
    assert np.isfinite(depth).all()
    cloud = newest(tokens)
    assert (cloud.height, cloud.width, cloud.header.frame_id) == (3, 4, "optical")
    feature = next(field for field in cloud.fields if field.name == "feature")
    assert feature.count == 64


def test_depth_that_goes_and_returns_is_named_and_the_node_goes_on(graph, geometry):
    node = geometry()
    sender = FrameSender(graph)
    sender.until_points_come()
    before = graph.status(node, lambda s: s.count("processed") > 0)
    assert before.values["scale.source"] == "depth"
    gone = "camera 'camera' no longer gives depth"
    status = processed(graph, node, sender, depth=False)
    assert status.level == 1
    assert gone in status.message
    assert status.values["missing"] == "camera 'camera' gives no depth image"
    # Views with depth are still in the window.
    assert status.values["scale.source"] == "depth"
    for _ in range(3):
        status = processed(graph, node, sender, depth=False)
    # None is left, and a camera that stands still has no baseline either.
    assert status.values["scale.source"] == "none"
    assert "nothing gives metres" in status.message
    wait_until(lambda: newest(sender.points).header.frame_id == "optical_unscaled")
    status = processed(graph, node, sender)
    assert gone not in status.message
    assert "nothing gives metres" not in status.message
    wait_until(lambda: newest(sender.points).header.frame_id == "optical")


def test_without_tf_the_pose_comes_from_images_and_with_it_never(graph, geometry):
    node = geometry(**{"omnivggt.odometry.enabled": True, "tf_timeout_s": 0.0})
    odometry = graph.collect(Odometry, "/geometry/odometry")
    sender = FrameSender(graph)
    wait_until(
        lambda: node.node._odometry._odometry.get_subscription_count() > 0, "nobody is heard"
    )
    sender.until_points_come()
    status = processed(graph, node, sender, pose=None)
    assert "no longer gives pose" in status.message
    assert "nothing is fused" in status.message
    message = wait_until(lambda: odometry)[0]
    assert (message.header.frame_id, message.child_frame_id) == ("visual_odom", "optical")
    covariance = np.reshape(message.pose.covariance, (6, 6))
    assert (np.diag(covariance) > 0).all()
    np.testing.assert_allclose(covariance, covariance.T, atol=1e-12)
    assert message.twist.covariance[0] == -1.0
    status = processed(graph, node, sender, pose=translation(1.0, 0.0, 0.0))
    assert "no longer gives pose" not in status.message
    assert len(odometry) == 1


def test_colour_alone_without_tf_gives_a_path_that_says_it_is_not_metric(graph, geometry):
    node = geometry(**{"omnivggt.odometry.enabled": True, "tf_timeout_s": 0.0})
    odometry = graph.collect(Odometry, "/geometry/odometry")
    sender = FrameSender(graph)

    def came():
        sender.send(frame(depth=False, pose=None, intrinsics=False))
        time.sleep(0.1)
        return odometry and sender.points

    wait_until(came)
    message = newest(odometry)
    assert message.header.frame_id == "visual_odom_unscaled"
    assert message.child_frame_id == "optical_unscaled"
    assert newest(sender.points).header.frame_id == "optical_unscaled"
    status = graph.status(node, lambda s: s.count("received") == geometry_accounts_for(s))
    assert status.count("map.fused") == 0
    assert "nothing gives metres" in status.message
    # Intrinsics come late, then everything.
    for options in ({"depth": False, "pose": None}, {"pose": None}, {}):
        status = processed(graph, node, sender, **options)
    assert status.level == 0, status
    assert status.values["scale.source"] == "depth"


def test_two_cameras_share_one_window(graph, geometry):
    node = geometry(rgbd_topics=["wrist/rgbd", "scene/rgbd"])
    for name in ("wrist", "scene"):
        publisher = graph.publisher(RgbdFrameMessage, f"/{name}/rgbd")
        publisher.publish(frame(camera_name=name, frame_id=f"{name}_optical"))
        graph.status(node, lambda s, n=name: s.count("processed") == (1 if n == "wrist" else 2))
    status = graph.status(node, lambda s: s.values.get("input1.window.cameras") == "2")
    assert status.values["input1.window.views"] == "2"


def test_out_of_memory_is_an_error_with_its_text_and_the_node_can_be_configured_again(
    graph, geometry, monkeypatch
):
    node = geometry()
    sender = FrameSender(graph)
    sender.until_points_come()

    def full(*_arguments, **_keywords):
        raise MemoryError

    monkeypatch.setattr(node.node._backend._window._model, "aggregate", full)
    sender.send(frame())
    graph.wait_state(node, "unconfigured")
    status = graph.status(node, lambda s: "out of memory" in s.message)
    assert status.level == 2
    assert "processing failed: out of memory on cpu with 3 views of 42x56" in status.message
    assert "lower capacity or image size" in status.message
    assert graph.change(node, "configure")
    assert graph.change(node, "activate")
    sender.points.clear()
    sender.until_points_come()


def truncated(weights, folder):
    path = folder / "cut.safetensors"
    path.write_bytes(weights.read_bytes()[:-100])
    return {"omnivggt.weights": str(path)}, "truncated"


def pickled(_weights, folder):
    path = folder / "weights.pt"
    path.write_bytes(b"\x80\x04.")
    return {"omnivggt.weights": str(path)}, "is a pickle"


def unknown(_weights, _folder):
    return {"omnivggt.weights": "omnivggt-smal"}, "no weights called 'omnivggt-smal'"


def over_budget(weights, _folder):
    values = {"omnivggt.memory_budget_mib": 1, "omnivggt.window_views": 64}
    return {"omnivggt.weights": str(weights), **values}, "the budget is 1 MiB"


@pytest.mark.parametrize("case", [truncated, pickled, unknown, over_budget])
def test_what_cannot_be_loaded_leaves_the_node_unconfigured_and_saying_why(
    graph, weights, tmp_path, case
):
    parameters, text = case(weights, tmp_path)
    node = graph.host("geometry", parameters={"threads": 1, **PARAMETERS, **parameters})
    failure = wait_until(lambda: node.node.last_failure, "it configured")
    assert text in failure
    status = graph.status(node, lambda s: text in s.message)
    assert status.level == 2
    assert graph.state(node) == "unconfigured"


def test_out_of_memory_while_configuring_is_an_error_transition(graph, weights, monkeypatch):
    def full(*_arguments, **_keywords):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    monkeypatch.setattr("sensorium.geometry.omnivggt_window.OmniVGGTWindow._predict", full)
    parameters = {"threads": 1, **PARAMETERS, "omnivggt.weights": str(weights)}
    node = graph.host("geometry", parameters=parameters)
    failure = wait_until(lambda: node.node.last_failure, "it configured")
    assert "configure failed: out of memory on cpu with 3 views" in failure
    graph.wait_state(node, "unconfigured")
    monkeypatch.undo()
    assert graph.change(node, "configure")
    assert graph.state(node) == "inactive"
