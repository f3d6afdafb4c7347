"""Stamps that go backwards: single ones are refused, a clock that starts anew is followed."""

import pytest
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
from tf2_msgs.msg import TFMessage


@pytest.mark.parametrize(
    ("shift_ns", "reason"),
    [(0, "stamp_repeated"), (-1, "stamp_backwards"), (-SECOND_NS // 2, "stamp_backwards")],
)
def test_a_single_stamp_that_is_not_newer_is_refused(graph, shift_ns, reason):
    node = graph.active_geometry()
    sender = FrameSender(graph)
    sender.until_points_come()
    stamp_ns = now_ns()
    seen = len(sender.points)
    sender.send(wall_message(stamp_ns))
    wait_until(lambda: len(sender.points) == seen + 1)
    sender.send(wall_message(stamp_ns + shift_ns))
    wait_until(lambda: node.node._rejections.total == 1, "not refused")
    sender.send(wall_message(stamp_ns + 1))
    wait_until(lambda: len(sender.points) == seen + 2, "not recovered")
    status = graph.status(node, lambda s: s.count("received") == sender.sent)
    assert geometry_accounts_for(status) == sender.sent
    assert (status.count(f"rejected.{reason}"), status.count("clock_restarts")) == (1, 0)
    assert f"rejected ({reason}): view of camera 'camera'" in status.message


def test_a_clock_that_starts_anew_is_followed_and_counted_each_time(graph):
    node = graph.active_geometry()
    sender = FrameSender(graph)
    sender.until_points_come()
    for restart in range(1, 3):
        for number in range(3):
            seen = len(sender.points)
            sender.send(wall_message((100 - 10 * restart) * SECOND_NS + number * SECOND_NS // 10))
            wait_until(lambda seen=seen: len(sender.points) > seen, "refused after the restart")
        status = graph.status(node, lambda s: s.count("received") == sender.sent)
        assert status.count("clock_restarts") == restart
        assert geometry_accounts_for(status) == sender.sent
        assert status.count("rejected") == 0


def test_after_a_restart_of_the_clock_no_transform_of_the_time_before_is_used(graph):
    node = graph.active_geometry(**{"map.max_rate_hz": 1000.0, "tf_timeout_s": 5.0})
    sender = FrameSender(graph)
    sender.until_points_come()
    tf = graph.probe.create_publisher(TFMessage, "/tf", QoSProfile(depth=100))
    wait_until(lambda: tf.get_subscription_count() > 0)

    def show_at(stamp_ns, x_m):
        for stamp in (stamp_ns - SECOND_NS, stamp_ns + SECOND_NS):
            tf.publish(
                TFMessage(transforms=[transform("map", "optical", stamp, translation(x_m, 0, 0))])
            )

    # Ten seconds are not enough for the transform buffer to see the jump by itself.
    start_ns = now_ns()
    show_at(start_ns, 0.0)
    sender.send(wall_message(start_ns, pose=None))
    known = graph.status(node, lambda s: s.count("received") == sender.sent)
    assert known.count("map.not_fused.no_pose") == 0
    restart_ns = start_ns - 5 * SECOND_NS
    sender.send(wall_message(restart_ns, pose=None))
    graph.status(node, lambda s: s.count("clock_restarts") == 1)
    sender.send(wall_message(restart_ns + 4 * SECOND_NS + SECOND_NS // 2, pose=None))
    status = graph.status(
        node, lambda s: s.count("received") == geometry_accounts_for(s) == sender.sent
    )
    # Both frames since the restart lie in a time for which only the old clock had transforms.
    assert status.count("map.not_fused.no_pose") == 2, status
    fused = status.count("map.fused")
    later_ns = restart_ns + 6 * SECOND_NS
    show_at(later_ns, 3.0)
    sender.send(wall_message(later_ns, pose=None))
    status = graph.status(node, lambda s: s.count("map.fused") == fused + 1)
    assert "no pose" not in status.message
