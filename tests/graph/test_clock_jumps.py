"""A jump of the simulated clock: every node says it; the first word of a clock is no jump."""

import pytest
from graph_tools import wait_until

from sensorium.ros.convert.header import time_from_stamp

# The one that needs no weights; the watch is the same in all (sensorium/ros/diagnostics.py).
NODE = "geometry"


@pytest.fixture
def tell(graph):
    from rosgraph_msgs.msg import Clock

    publisher = graph.probe.create_publisher(Clock, "/clock", 10)

    def publish(seconds):
        publisher.publish(Clock(clock=time_from_stamp(round(seconds * 1e9))))

    return publish


def test_a_node_names_every_jump_and_counts_it_and_the_first_clock_is_none(graph, tell):
    node = graph.host(NODE, parameters={"use_sim_time": True, "threads": 1})
    graph.wait_state(node, "active")
    clock = node.node.get_clock()

    def reach(seconds):
        def told():
            tell(seconds)
            return abs(clock.now().nanoseconds - seconds * 1e9) < 1e6

        wait_until(told, f"the node's clock is not at {seconds} s")

    reach(1000.0)
    reach(1000.5)
    status = graph.status(node)
    assert "jumped" not in status.message
    assert "clock_jumps" not in status.values
    reach(1060.5)
    status = graph.status(node, lambda status: "jumped" in status.message)
    assert "the clock jumped forward by 60.0 s, to 1060.5 s" in status.message
    assert status.level == 1
    reach(1030.5)
    status = graph.status(node, lambda status: status.count("clock_jumps") == 2)
    assert "the clock jumped back by 30.0 s, to 1030.5 s" in status.message
