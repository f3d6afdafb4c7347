"""More frames than can be worked off: the newest is used, and every other one is counted."""

import pytest
from graph_nodes import wait_until
from graph_tools import FrameSender, geometry_accounts_for, now_ns, wall_message

BURST = 200


@pytest.mark.parametrize("qos", ["reliable", "best_effort"])
def test_of_a_burst_the_newest_frame_is_used_and_the_rest_is_superseded_or_lost(graph, qos):
    node = graph.active_geometry(qos="reliable" if qos == "reliable" else "sensor_data")
    sender = FrameSender(graph, qos=qos)
    sender.until_points_come()
    for _ in range(BURST):
        sender.send(wall_message(now_ns()))
    # Keep-last transports overwrite what was not fetched in time, reliable ones too; what was lost
    # shows when the next frame has come.
    last = wall_message(now_ns())
    sender.send(last)
    wait_until(
        lambda: sender.points[-1].header.stamp == last.header.stamp, "the newest is not used"
    )
    status = graph.status(node, lambda s: geometry_accounts_for(s) + s.count("lost") == sender.sent)
    assert status.count("superseded") > 0, status
    assert status.count("rejected") == status.count("failed") == 0
