"""The robot is kept out of the map: URDF from robot_description, link poses from TF."""

import numpy as np
import pytest
from graph_nodes import wait_until
from graph_tools import (
    HEIGHT_PX,
    WIDTH_PX,
    FrameSender,
    geometry_accounts_for,
    now_ns,
    translation,
    wall,
)
from sensorium_ros.srv import SaveMap
from std_msgs.msg import String

from sensorium.geometry.ply import read_ply
from sensorium.ros.convert.rgbd_frame import message_from_frame
from sensorium.ros.qos import qos_profile

URDF = """<robot name="arm"><link name="hand"><collision><geometry><sphere radius="0.15"/>
</geometry></collision></link></robot>"""
MESH = """<robot name="arm"><link name="hand"><collision><geometry>
<mesh filename="package://arm/hand.stl"/></geometry></collision></link></robot>"""


@pytest.fixture
def node(graph, tmp_path):
    return graph.active_geometry(
        **{
            "self_filter.enabled": True,
            "map.directory": str(tmp_path),
            "map.max_rate_hz": 1000.0,
            "map.fusion.min_weight": 0.1,
        }
    )


def describe(graph, urdf):
    publisher = graph.probe.create_publisher(
        String, "/robot_description", qos_profile("transient_local")
    )
    publisher.publish(String(data=urdf))
    return publisher


def hand_before_a_wall():
    """A wall at 2 m and, in the middle of the image, something at 1 m: 0.14 m to each side."""
    frame = wall(now_ns(), distance_m=2.0)
    frame.depth_m[HEIGHT_PX // 2 - 10 : HEIGHT_PX // 2 + 10, WIDTH_PX // 2 - 10 :][:, :20] = 1.0
    return message_from_frame(frame)


def map_depths(graph, folder):
    response = graph.call(SaveMap, "/geometry/save_map", SaveMap.Request(filename="map.ply"))
    assert response.success, response.message
    return np.array(read_ply(folder / "map.ply")["z"])


def test_nothing_is_fused_until_the_robot_and_its_pose_are_known_and_then_all_but_the_robot(
    graph, node, tmp_path
):
    sender = FrameSender(graph)
    sender.until_points_come()
    status = graph.status(node, lambda s: s.count("map.not_fused.robot_pose") > 0)
    assert status.count("map.fused") == 0
    assert "self-filter: no robot description has arrived on 'robot_description'" in status.message
    describe(graph, URDF)
    status = graph.status(node, lambda s: "no robot description" not in s.message)
    before = status.count("map.not_fused.robot_pose")
    sender.send(hand_before_a_wall())
    status = graph.status(node, lambda s: s.count("map.not_fused.robot_pose") == before + 1)
    assert status.count("map.fused") == 0
    assert (
        "self-filter: a link has no pose, nothing is fused: no connection between optical"
        in status.message
    )
    graph.static_transform("optical", "hand", translation(0.0, 0.0, 1.0))
    wait_until(lambda: "hand" in node.node._transforms._edges, "no transform came")
    sender.send(hand_before_a_wall())
    status = graph.status(node, lambda s: s.count("map.fused") == 1)
    assert status.count("received") == geometry_accounts_for(status) == sender.sent
    assert "self-filter" not in status.message
    z = map_depths(graph, tmp_path)
    assert z.min() > 1.8
    assert np.median(z) == pytest.approx(2.0, abs=0.01)


def test_without_the_filter_the_same_hand_is_in_the_map(graph, tmp_path):
    node = graph.active_geometry(
        **{
            "map.directory": str(tmp_path),
            "map.max_rate_hz": 1000.0,
            "map.fusion.min_weight": 0.1,
        }
    )
    sender = FrameSender(graph)
    for _ in range(3):
        sender.send(hand_before_a_wall())
    graph.status(node, lambda s: s.count("map.fused") > 0)
    assert map_depths(graph, tmp_path).min() < 1.1


@pytest.mark.parametrize(
    ("urdf", "text"),
    [("<robot", "URDF"), ('<!DOCTYPE x [<!ENTITY a "b">]><robot/>', "entities")],
)
def test_a_broken_robot_description_is_named_and_a_good_one_after_it_is_used(
    graph, node, urdf, text
):
    description = describe(graph, urdf)
    status = graph.status(node, lambda s: text in s.message)
    assert "self-filter: " in status.message
    graph.static_transform("optical", "hand", translation(0.0, 0.0, 1.0))
    description.publish(String(data=URDF))
    sender = FrameSender(graph)
    sender.until_points_come()
    status = graph.status(node, lambda s: s.count("map.fused") > 0)
    assert text not in status.message


def test_a_mesh_that_cannot_be_covered_is_named(graph, node):
    describe(graph, MESH)
    status = graph.status(node, lambda s: "hand" in s.message)
    assert status.level == 1
    assert "mesh" in status.message
