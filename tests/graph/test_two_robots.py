"""Two robots on one machine: everything of each lies under its namespace, TF included."""

import pytest
from graph_nodes import SMALL_RENDERED, Bringup, wait_until
from sensor_msgs.msg import PointCloud2
from tf2_msgs.msg import TFMessage

WIDTHS_PX = {"robot1": 160, "robot2": 200}


def start(name, folder):
    rendered = SMALL_RENDERED | {"width_px": WIDTHS_PX[name]}
    return Bringup(folder, name, "--namespace", name, camera={"rendered": rendered}, geometry={})


@pytest.mark.slow
def test_two_robots_with_the_same_nodes_keep_to_themselves(graph, tmp_path):
    clouds = {name: graph.collect(PointCloud2, f"/{name}/geometry/points") for name in WIDTHS_PX}
    transforms = {
        topic: graph.collect(TFMessage, topic) for topic in ("/tf", "/robot1/tf", "/robot2/tf")
    }
    robots = {name: graph.manage(start(name, tmp_path)) for name in WIDTHS_PX}
    statuses = {
        name: graph.status(f"/{name}/geometry", lambda s: s.count("processed") > 5)
        for name in robots
    }
    for name, width_px in WIDTHS_PX.items():
        wait_until(lambda name=name: clouds[name], f"no points of {name}")
        assert {cloud.width for cloud in clouds[name]} == {width_px}
        assert statuses[name].values["input0.topic"] == f"/{name}/camera/rgbd"
        assert statuses[name].count("rejected") == statuses[name].count("failed") == 0
        assert statuses[name].count("map.fused") > 0
        wait_until(lambda name=name: transforms[f"/{name}/tf"], f"no TF of {name}")
    assert not transforms["/tf"]
    topics = {topic for topic, _ in graph.probe.get_topic_names_and_types()}
    shared = {topic for topic in topics if not topic.startswith(("/robot1/", "/robot2/"))}
    # /tf and the robots' own names aside, only what ROS itself and the probe have is shared.
    assert shared <= {"/diagnostics", "/parameter_events", "/rosout", "/tf", "/clock"}, shared
    # Ctrl-C for one robot ends its processes and leaves the other one working.
    assert robots["robot1"].interrupt() == 0, robots["robot1"].log.read_text()
    wait_until(lambda: not graph.probe.get_publishers_info_by_topic("/robot1/geometry/points"))
    at_end = graph.status("/robot2/geometry")
    later = graph.status(
        "/robot2/geometry", lambda s: s.count("processed") > at_end.count("processed") + 5
    )
    assert later.count("rejected") == later.count("failed") == later.count("lost") == 0
    assert robots["robot2"].interrupt() == 0, robots["robot2"].log.read_text()
