"""The lifecycle of a geometry node while frames flow: no frame goes uncounted, nothing is stuck."""

import time

from graph_nodes import wait_until
from graph_tools import FrameStream, geometry_accounts_for
from sensor_msgs.msg import PointCloud2


def test_frames_flow_through_every_transition_and_the_counts_add_up(graph):
    node = graph.active_geometry()
    points = graph.collect(PointCloud2, "/geometry/points")
    with FrameStream(graph):
        for _ in range(2):
            seen = len(points)
            wait_until(lambda seen=seen: len(points) > seen + 2, "no points while active")
            assert graph.change(node, "deactivate")
            assert graph.state(node) == "inactive"
            idle = graph.status(node)
            assert idle.count("received") == geometry_accounts_for(idle), idle
            time.sleep(0.2)
            later = graph.status(node)
            assert later.count("received") == idle.count("received"), "received while inactive"
            assert "waiting for" not in later.message
            assert graph.change(node, "cleanup")
            assert graph.state(node) == "unconfigured"
            assert graph.change(node, "configure")
            assert graph.change(node, "activate")
        seen = len(points)
        wait_until(lambda: len(points) > seen + 2, "no points after the last activation")
    status = graph.status(node, lambda s: s.count("received") == geometry_accounts_for(s))
    assert status.count("rejected") == status.count("failed") == status.count("lost") == 0, status


def test_transitions_that_do_not_apply_are_refused_and_change_nothing(graph):
    node = graph.active_geometry()
    assert not graph.change(node, "configure")
    assert not graph.change(node, "activate")
    assert not graph.change(node, "cleanup")
    assert graph.state(node) == "active"


def test_after_a_cleanup_map_services_are_gone_and_come_back_with_configure(graph):
    node = graph.active_geometry()

    def services():
        return {name for name, _ in graph.probe.get_service_names_and_types()}

    wait_until(lambda: "/geometry/save_map" in services())
    assert graph.change(node, "deactivate")
    assert graph.change(node, "cleanup")
    wait_until(lambda: "/geometry/save_map" not in services())
    assert graph.change(node, "configure")
    wait_until(lambda: {"/geometry/save_map", "/geometry/reset"} <= services())
