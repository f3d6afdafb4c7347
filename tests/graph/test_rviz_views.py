"""Every topic that a shipped RViz view shows is published by our nodes, with that type and QoS."""

from pathlib import Path

import pytest
import yaml
from graph_nodes import ros_arguments
from segmentation_tools import make_checkpoint

from sensorium.bringup import read_plan
from sensorium.nodes.container import make_node

ROOT = Path(__file__).resolve().parents[2]
TYPES = {
    "rviz_default_plugins/PointCloud2": "sensor_msgs/msg/PointCloud2",
    "rviz_default_plugins/Image": "sensor_msgs/msg/Image",
    "rviz_default_plugins/MarkerArray": "visualization_msgs/msg/MarkerArray",
    "rviz_default_plugins/RobotModel": "std_msgs/msg/String",
}
TOPIC_KEYS = ("Topic", "Description Topic")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    import rclpy

    weights, _ = make_checkpoint(tmp_path_factory.mktemp("fcclip"))
    others = {
        "segmentation": {"weights.directory": str(weights), "threads": 1},
        "semantic_cloud": {},
        "tabletop_world": {},
    }

    rclpy.init()
    nodes = []
    for plan in read_plan(ROOT / "config" / "rendered.yaml", autostart=False):
        nodes.append(make_node(plan.executable, plan.ros_arguments))
    for executable, parameters in others.items():
        arguments = ros_arguments(executable, parameters={"autostart": False, **parameters})
        nodes.append(make_node(executable, arguments))
    for node in nodes:
        node.trigger_configure()
        assert not node.last_failure
    topics = {}
    for node in nodes:
        for topic, types in node.get_publisher_names_and_types_by_node(
            node.get_name(), node.get_namespace()
        ):
            profile = node.get_publishers_info_by_topic(topic)[0].qos_profile
            topics[topic] = (types[0], profile)
    yield topics
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()


@pytest.mark.parametrize("view", sorted((ROOT / "rviz").glob("*.rviz")), ids=lambda p: p.stem)
def test_every_display_finds_its_topic(view, published):
    displays = yaml.safe_load(view.read_text())["Visualization Manager"]["Displays"]
    shown = [
        (display["Class"], display[key]) for display in displays for key in TOPIC_KEYS
        if key in display
    ]  # fmt: skip
    assert shown
    for display_class, display_topic in shown:
        topic = display_topic["Value"]
        assert not topic.startswith("/"), "relative, so that the view works in a namespace"
        message_type, profile = published[f"/{topic}"]
        assert message_type == TYPES[display_class]
        wants_latched = display_topic["Durability Policy"] == "Transient Local"
        assert wants_latched == (profile.durability.name == "TRANSIENT_LOCAL")
        assert profile.reliability.name == "RELIABLE"
