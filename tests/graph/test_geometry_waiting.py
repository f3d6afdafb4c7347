"""A node without input says what it waits for: no publisher, or one with incompatible QoS."""

from graph_nodes import wait_until
from graph_tools import FrameSender, geometry_accounts_for, now_ns, wall_message
from sensorium_ros.msg import RgbdFrame as RgbdFrameMessage

from sensorium.ros.qos import qos_profile


def test_a_topic_without_publisher_is_named(graph):
    node = graph.active_geometry(waiting_report_s=0.5)
    status = graph.status(node, lambda s: "waiting for" in s.message)
    assert status.level == 1
    assert "/camera/rgbd: no publisher" in status.message
    sender = FrameSender(graph)
    sender.until_points_come()
    sender.send()
    status = graph.status(node, lambda s: s.count("received") == sender.sent)
    assert geometry_accounts_for(status) == sender.sent


def test_a_publisher_that_says_nothing_is_named_with_its_qos(graph):
    node = graph.active_geometry(waiting_report_s=0.5)
    graph.publisher(RgbdFrameMessage, "/camera/rgbd")
    status = graph.status(node, lambda s: "1 publisher(s)" in s.message)
    assert "/probe (reliable, volatile); nothing received yet" in status.message


def test_incompatible_qos_is_named_and_a_compatible_publisher_is_heard(graph):
    node = graph.active_geometry(waiting_report_s=0.5, qos="reliable")
    deaf = graph.publisher(RgbdFrameMessage, "/camera/rgbd", qos="best_effort", subscribers=0)
    deaf.publish(wall_message(now_ns()))
    status = graph.status(node, lambda s: "incompatible QoS" in s.message)
    assert status.level == 2
    assert status.count("received") == 0
    assert "RELIABILITY" in status.message
    assert "set this node's qos parameter" in status.message
    sender = FrameSender(graph)
    sender.until_points_come()
    heard = graph.status(node, lambda s: s.count("received") == sender.sent)
    assert geometry_accounts_for(heard) == sender.sent
    assert "incompatible QoS" in heard.message  # that publisher is still there
    graph.probe.destroy_publisher(deaf)
    graph.status(node, lambda s: "incompatible QoS" not in s.message)


def test_qos_overrides_let_the_same_node_hear_a_best_effort_publisher(graph):
    name = "qos_overrides./camera/rgbd.subscription.reliability"
    node = graph.active_geometry(qos="reliable", **{name: "best_effort"})
    frames = graph.probe.create_publisher(
        RgbdFrameMessage, "/camera/rgbd", qos_profile("best_effort")
    )
    wait_until(lambda: frames.get_subscription_count() == 1)
    frames.publish(wall_message(now_ns()))
    status = graph.status(node, lambda s: s.count("received") == 1)
    assert "incompatible" not in status.message
