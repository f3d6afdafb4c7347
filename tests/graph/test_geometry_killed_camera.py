"""A camera process that is killed and comes back: geometry says so and goes on by itself."""

import signal

from graph_nodes import SMALL_RENDERED
from graph_tools import geometry_accounts_for
from sensor_msgs.msg import PointCloud2

CAMERA = {
    "source": "rendered",
    **{f"rendered.{key}": value for key, value in SMALL_RENDERED.items()},
}


def test_a_killed_camera_is_reported_and_heard_again_when_it_comes_back(graph):
    geometry = graph.process("geometry", parameters={"threads": 1, "waiting_report_s": 1.0})
    camera = graph.process("rgbd_camera", namespace="camera", parameters=CAMERA)
    clouds = graph.collect(PointCloud2, "/geometry/points", depth=5)
    before = graph.status(geometry, lambda s: s.count("processed") > 5)
    assert "no output" not in before.message
    camera.kill(signal.SIGKILL)
    silent = graph.status(geometry, lambda s: "waiting for" in s.message)
    assert silent.level == 1
    assert "/camera/rgbd" in silent.message
    assert geometry.is_alive
    assert graph.state(geometry) == "active"
    clouds.clear()
    graph.process("rgbd_camera", namespace="camera", parameters=CAMERA)
    after = graph.status(geometry, lambda s: s.count("processed") > silent.count("processed") + 5)
    assert "no output" not in after.message
    assert clouds
    assert after.count("received") - geometry_accounts_for(after) in (0, 1), after
    assert after.count("rejected") == after.count("failed") == 0, after
