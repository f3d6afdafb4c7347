"""Poses from TF: missing ones are named and come back, late ones are waited for."""

import time

import numpy as np
from graph_nodes import wait_until
from graph_tools import (
    SECOND_NS,
    FrameSender,
    geometry_accounts_for,
    now_ns,
    transform,
    translation,
    wall_message,
)
from rclpy.qos import QoSProfile
from sensorium_ros.srv import SaveMap
from tf2_msgs.msg import TFMessage

from sensorium.geometry.ply import read_ply

QUICK_MAP = {"map.max_rate_hz": 1000.0, "map.fusion.min_weight": 0.1}


def test_a_frame_without_a_pose_still_gives_points_and_is_fused_once_tf_is_there(graph, tmp_path):
    node = graph.active_geometry(**QUICK_MAP, **{"map.directory": str(tmp_path)})
    sender = FrameSender(graph)
    while not sender.points:
        sender.send(wall_message(now_ns(), pose=None))
        time.sleep(0.1)
    status = graph.status(node, lambda s: s.count("received") == sender.sent)
    assert status.count("processed") + status.count("superseded") == sender.sent
    assert status.count("map.not_fused.no_pose") == status.count("processed")
    assert status.count("map.fused") == 0
    assert status.level == 1
    assert (
        "no pose of 'optical', nothing is fused: no connection between map and optical"
        in status.message
    )
    graph.static_transform("map", "base", translation(1.0, 2.0, 3.0))
    graph.static_transform("base", "optical", translation(0.0, 0.0, 0.5))
    wait_until(lambda: node.node._transforms._edges.keys() >= {"base", "optical"})
    sender.send(wall_message(now_ns(), pose=None))
    status = graph.status(node, lambda s: s.count("map.fused") == 1)
    assert status.count("received") == geometry_accounts_for(status) == sender.sent
    assert "no pose" not in status.message
    response = graph.call(SaveMap, "/geometry/save_map", SaveMap.Request(filename="wall.ply"))
    assert response.success, response.message
    # The wall is 1 m before the camera, which is 3.5 m along z: TF was applied the right way round.
    vertices = read_ply(tmp_path / "wall.ply")
    np.testing.assert_allclose(np.median(vertices["z"]), 4.5, atol=0.01)
    np.testing.assert_allclose(np.median(vertices["x"]), 1.0, atol=0.05)
    np.testing.assert_allclose(np.median(vertices["y"]), 2.0, atol=0.05)


def test_a_transform_that_is_under_way_is_waited_for(graph):
    node = graph.active_geometry(**QUICK_MAP, tf_timeout_s=5.0)
    sender = FrameSender(graph)
    sender.until_points_come()
    fused = graph.status(node, lambda s: s.count("received") == sender.sent).count("map.fused")
    tf = graph.probe.create_publisher(TFMessage, "/tf", QoSProfile(depth=100))
    wait_until(lambda: tf.get_subscription_count() > 0)
    stamp_ns = now_ns()

    def publish(at_ns):
        tf.publish(TFMessage(transforms=[transform("map", "optical", at_ns, np.eye(4))]))

    publish(stamp_ns - SECOND_NS)
    wait_until(lambda: "optical" in node.node._transforms._edges)
    sender.send(wall_message(stamp_ns, pose=None))
    time.sleep(0.3)
    publish(stamp_ns + SECOND_NS)
    status = graph.status(node, lambda s: s.count("map.fused") == fused + 1)
    assert status.count("map.not_fused.no_pose") == 0


def test_a_broken_transform_is_refused_and_the_good_one_after_it_is_used(graph):
    node = graph.active_geometry(**QUICK_MAP)
    sender = FrameSender(graph)
    sender.until_points_come()
    tf = graph.probe.create_publisher(TFMessage, "/tf", QoSProfile(depth=100))
    wait_until(lambda: tf.get_subscription_count() > 0)
    broken = transform("map", "optical", now_ns(), np.eye(4))
    broken.transform.rotation.w = 0.0
    tf.publish(TFMessage(transforms=[broken]))
    wait_until(lambda: node.node._transforms.rejected == 1, "the zero quaternion was accepted")
    sender.send(wall_message(now_ns(), pose=None))
    status = graph.status(node, lambda s: s.count("map.not_fused.no_pose") == 1)
    assert status.count("rejected_transforms") == 1, status
    stamp_ns = now_ns()
    for at_ns in (stamp_ns - SECOND_NS, stamp_ns + SECOND_NS):
        tf.publish(TFMessage(transforms=[transform("map", "optical", at_ns, np.eye(4))]))
    wait_until(lambda: "optical" in node.node._transforms._edges)
    fused = status.count("map.fused")
    sender.send(wall_message(stamp_ns, pose=None))
    graph.status(node, lambda s: s.count("map.fused") == fused + 1)


def test_a_pose_in_another_fixed_frame_is_carried_over_by_tf(graph, tmp_path):
    node = graph.active_geometry(**QUICK_MAP, **{"map.directory": str(tmp_path)}, map_frame="odom")
    sender = FrameSender(graph)
    graph.static_transform("odom", "map", translation(10.0, 0.0, 0.0))
    wait_until(lambda: "map" in node.node._transforms._edges)
    sender.until_points_come()
    graph.status(node, lambda s: s.count("map.fused") > 0)
    response = graph.call(SaveMap, "/geometry/save_map", SaveMap.Request(filename="wall.ply"))
    assert response.success, response.message
    np.testing.assert_allclose(np.median(read_ply(tmp_path / "wall.ply")["x"]), 10.0, atol=0.05)
