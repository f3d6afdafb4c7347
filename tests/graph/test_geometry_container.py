"""One process for all nodes hands frames over in memory; its counts are those of two processes."""

import pytest
from graph_nodes import SMALL_RENDERED, Bringup
from graph_tools import geometry_accounts_for
from sensor_msgs.msg import PointCloud2

FRAMES = 20


@pytest.mark.parametrize(
    ("options", "transport"), [((), "dds"), (("--container",), "in memory")], ids=str
)
def test_every_frame_arrives_by_dds_and_in_memory(graph, tmp_path, options, transport):
    clouds = graph.collect(PointCloud2, "/geometry/points")
    rendered = SMALL_RENDERED | {"frames": FRAMES}
    camera = {"wait_for_subscribers_s": 60.0, "rendered": rendered}
    up = graph.manage(Bringup(tmp_path, "robot", *options, camera=camera, geometry={}))
    camera = graph.status("/camera/rgbd_camera", lambda s: s.count("published") == FRAMES)
    assert camera.count("rejected") == 0
    status = graph.status("/geometry", lambda s: geometry_accounts_for(s) == FRAMES)
    assert status.values["input0.transport"] == transport
    assert status.count("received") == FRAMES
    assert status.count("rejected") == status.count("failed") == status.count("lost") == 0
    assert status.count("processed") + status.count("superseded") == FRAMES
    assert clouds[-1].header.frame_id == "camera_color_optical_frame"
    assert up.interrupt() == 0, up.log.read_text()
