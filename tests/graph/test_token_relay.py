"""Tokens changed on the way: the rows of the policy's table that spoil geometry."""

import numpy as np
import pytest
from graph_nodes import Spinning, wait_until
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from sensorium_ros.msg import TokensInfo

from sensorium.ros.convert.header import stamp_from_time
from sensorium.ros.convert.pointcloud import (
    cloud_from_points,
    field_from_cloud,
    points_from_cloud,
)
from sensorium.ros.token_relay import TokenRelay

STAMP_NS = 5_000_000_000


def handed_on(graph, change):
    node = Node("relay")
    TokenRelay(node, "given", "changed", change)
    graph.manage(Spinning(node))
    tokens = graph.collect(PointCloud2, "/changed")
    infos = graph.collect(TokensInfo, "/changed_info", qos="transient_local")
    random = np.random.default_rng(0)
    points = random.random((4, 5, 3)).astype(np.float32)
    features = random.random((4, 5, 7)).astype(np.float32)
    confidence = random.random((4, 5)).astype(np.float32)
    given = graph.publisher(PointCloud2, "/given")
    info = graph.publisher(TokensInfo, "/given_info", qos="transient_local")
    info.publish(TokensInfo(backend="sensor", rows=4, columns=5))
    message = cloud_from_points(
        points, STAMP_NS, "camera", confidence=confidence, features=features
    )

    def arrived():
        given.publish(message)
        return tokens and infos

    wait_until(arrived, "the relay hands nothing on")
    assert infos[-1].backend == "sensor"
    got = tokens[-1]
    assert (stamp_from_time(got.header.stamp), got.header.frame_id) == (STAMP_NS, "camera")
    np.testing.assert_array_equal(field_from_cloud(got, "feature"), features)
    return points, points_from_cloud(got)


def test_shuffled_tokens_have_the_same_positions_at_other_places(graph):
    points, got = handed_on(graph, "shuffled")
    assert not np.array_equal(got, points)
    order = np.lexsort(points.reshape(-1, 3).T)
    other = np.lexsort(got.reshape(-1, 3).T)
    np.testing.assert_array_equal(got.reshape(-1, 3)[other], points.reshape(-1, 3)[order])


def test_an_empty_bank_has_no_position(graph):
    assert np.isnan(handed_on(graph, "empty")[1]).all()


def test_another_change_is_refused(graph):
    with pytest.raises(ValueError, match="shuffled"):
        TokenRelay(None, "given", "changed", "rotated")
