"""Parameters of a running geometry node: unknown and bad ones at start, changes at run time."""

import numpy as np
import pytest
from graph_nodes import wait_until
from graph_tools import FrameSender
from sensorium_ros.srv import SaveMap
from std_srvs.srv import Trigger

from sensorium.geometry.ply import read_ply

QUICK_MAP = {"map.max_rate_hz": 1000.0, "map.fusion.min_weight": 0.1}


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"map.fusion.voxel_size": 0.01}, "did you mean 'map.fusion.voxel_size_m'"),
        ({"backend": "magic"}, "parameter 'backend' is 'magic'; allowed is one of 'sensor'"),
        ({"qos_depth": 0}, "parameter 'qos_depth' is 0; allowed is 1 to 100"),
        ({"rgbd_topics": [""]}, "'rgbd_topics' is '', which is no topic name"),
        ({"rgbd_topics": ["camera one"]}, "'camera one', which is no topic name"),
        ({"rgbd_topics": ["a/rgbd", "/a/rgbd"]}, "names a topic twice"),
        ({"rgbd_topics": []}, "name at least one topic"),
        ({"map.filters.min_range_m": 9.0}, "min_range_m = 9 is not below max_range_m = 5"),
        ({"device": "cuda"}, "cuda"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_bad_parameter_leaves_the_node_alive_unconfigured_and_saying_why(graph, parameters, text):
    node = graph.host("geometry", parameters={"threads": 1, **parameters})
    status = graph.status(node, lambda s: "failed" in s.message)
    assert status.level == 2
    assert "configure failed: " in status.message
    assert text in status.message
    assert graph.state(node) == "unconfigured"


def test_a_process_with_bad_parameters_stays_alive_and_configures_once_they_are_right(graph):
    node = graph.process("geometry", parameters={"threads": 1, "qos": "magic", "map.enabled": 5})
    status = graph.status(node, lambda s: "configure failed" in s.message)
    assert "parameter 'qos' is 'magic'" in status.message
    assert "parameter 'map.enabled' is 5; allowed is true or false" in status.message
    assert node.is_alive
    assert graph.state(node) == "unconfigured"
    assert graph.set(node, "qos", "reliable").successful
    assert graph.set(node, "map.enabled", False).successful
    assert graph.change(node, "configure")
    assert graph.change(node, "activate")
    sender = FrameSender(graph)
    sender.until_points_come()
    status = graph.status(node, lambda s: s.count("received") == sender.sent)
    assert "failed:" not in status.message
    assert node.stop() == 0


def test_changes_at_run_time_are_applied_or_refused_with_the_reason(graph, tmp_path):
    node = graph.active_geometry(**QUICK_MAP, **{"map.directory": str(tmp_path)})
    sender = FrameSender(graph)
    sender.until_points_come()
    graph.status(node, lambda s: s.count("map.fused") > 0)
    # The wall at 1 m is 160 / 140 m wide; only x above 0.2 m shall be kept.
    whole = saved(graph, tmp_path)
    assert whole["x"].min() < -0.5
    refused = graph.set(node, "map.filters.crop.min_m", [0.2, -5.0])
    assert not refused.successful
    assert "must be three numbers" in refused.reason
    refused = graph.set(node, "map.filters.crop.min_m", [9.0, -5.0, -5.0])
    assert not refused.successful
    assert "not below crop.max_m" in refused.reason
    refused = graph.set(node, "map.filters.max_range_m", 0.05)
    assert not refused.successful
    refused = graph.set(node, "map.fusion.voxel_size_m", 0.01)
    assert not refused.successful
    assert "fixed while the node is configured" in refused.reason
    assert graph.set(node, "map.filters.crop.min_m", [0.2, -5.0, -5.0]).successful
    assert graph.set(node, "map.filters.crop.enabled", True).successful
    assert graph.call(Trigger, "/geometry/reset", Trigger.Request()).success
    fused = graph.status(node).count("map.fused")
    sender.send()
    graph.status(node, lambda s: s.count("map.fused") == fused + 1)
    cropped = saved(graph, tmp_path)
    assert cropped["x"].min() > 0.17
    assert cropped["x"].max() == pytest.approx(whole["x"].max(), abs=0.02)


def saved(graph, folder):
    response = graph.call(SaveMap, "/geometry/save_map", SaveMap.Request(filename="map.ply"))
    assert response.success, response.message
    vertices = read_ply(folder / "map.ply")
    assert len(vertices["x"]) == response.points > 100
    return {name: np.array(values) for name, values in vertices.items()}


def test_tf_timeout_can_be_changed_while_the_node_runs(graph):
    node = graph.active_geometry()
    assert graph.set(node, "tf_timeout_s", 0.5).successful
    wait_until(lambda: node.node.configuration.tf_timeout_s == 0.5)
    refused = graph.set(node, "tf_timeout_s", 50.0)
    assert not refused.successful
    assert node.node.configuration.tf_timeout_s == 0.5
