"""The pages of docs/nodes/ against running nodes: topics, types, QoS, services, values."""

import re
import sys
from pathlib import Path

import pytest
from graph_nodes import SMALL_RENDERED, ros_arguments
from segmentation_tools import make_checkpoint
from std_msgs.msg import String

sys.path.append(str(Path(__file__).parents[1]))
from node_pages import names, page_text, pattern, section, tables

from sensorium.bags import BagWriter, OfferedQos
from sensorium.bringup import EXECUTABLES
from sensorium.configuration import values_of
from sensorium.nodes.container import make_node
from sensorium.ros.diagnostics import Status

ARM = [*(f"joint{i}" for i in range(1, 8)), "finger_joint1"]
# Rows of a page that need another configuration than the one below.
ELSEWHERE = {
    ("geometry", "publishes"): {"~/odometry", "/tf"},
    ("geometry", "subscribes"): {"<self_filter.description_topic>"},
    ("policy", "subscribes"): {"<signals>", "<description.topic>"},
    ("policy_guard", "subscribes"): {"<description.topic>"},
    ("policy_guard", "calls"): {"<gripper.action>"},
    ("rgbd_camera", "subscribes"): {
        "<topics.color>", "<topics.color_info>", "<topics.depth>", "<topics.depth_info>", "/tf",
        "/tf_static",
    },
    ("recorder", "subscribes"): {"<chosen topics>"},
}  # fmt: skip
# What stands on the page in place of topics that the contract names.
CONTRACT = {"joint_states": "joint_states", "pictures": "camera/rgbd", "tokens": "geometry/tokens"}
RELIABILITY = {"RELIABLE": "reliable", "BEST_EFFORT": "best effort"}


def make_bag(folder):
    from rclpy.serialization import serialize_message

    with BagWriter(folder / "bag") as bag:
        bag.add_topic("/chatter", "std_msgs/msg/String", [OfferedQos()])
        bag.write("/chatter", 1_700_000_000_000_000_000, serialize_message(String(data="a")))
    return str(folder / "bag")


def parameters(folder):
    """Each node as by default, as far as it can run so."""
    weights, _ = make_checkpoint(folder / "fcclip")
    return {
        "tabletop_world": {"camera_name": "other"},
        "rgbd_camera": {f"rendered.{key}": value for key, value in SMALL_RENDERED.items()},
        "geometry": {"threads": 1},
        "segmentation": {"weights.directory": str(weights), "threads": 1},
        "semantic_cloud": {},
        "signal": {},
        "policy": {
            "checkpoint": "geo_tabletop", "contract": "contracts/tabletop.yaml", "threads": 1,
            "world_state_topic": "tabletop_world/state",
        },
        "policy_guard": {"joints": ARM, "limits.acceleration": [5.0] * len(ARM)},
        "viewer": {"port": 0},
        "recorder": {"topics": ["/nobody"], "directory": str(folder)},
        "bag_player": {"bag": make_bag(folder), "start_paused": True},
    }  # fmt: skip


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    import rclpy

    pytest.importorskip("mujoco")
    pytest.importorskip("viser")
    rclpy.init()
    made = {}
    for executable, values in parameters(tmp_path_factory.mktemp("pages")).items():
        node = make_node(
            executable, ros_arguments(executable, parameters={"autostart": False, **values})
        )
        made[executable] = node
        node.trigger_configure()
        node.trigger_activate()
        assert node.is_active, f"{executable}: {node.last_failure}"
    yield made
    for node in made.values():
        node.destroy_node()
    rclpy.try_shutdown()


def common():
    rows = tables(page_text("README"))["name"]
    return {name for row in rows for name in names(row[0])}


def full_names(node, written):
    """The names that a name on a page stands for; a parameter in <> is replaced by its value."""
    found = [written]
    for key, value in {**CONTRACT, **values_of(node.configuration)}.items():
        if f"<{key}>" in written:
            options = value if isinstance(value, list) else [value]
            found = [name.replace(f"<{key}>", str(each)) for each in options for name in found]
    return [
        name if name.startswith("/") else f"/{name.replace('~', node.get_name())}" for name in found
    ]


def documented(node, heading, part="Topics"):
    """{pattern of the full name: (name on the page, cells)} of a table, less ELSEWHERE."""
    rows = tables(section(page_text(node.get_name()), part)).get(heading, [])
    elsewhere = ELSEWHERE.get((node.get_name(), heading), ())
    return {
        pattern(full): (name, row)
        for row in rows for name in names(row[0]) if name not in elsewhere
        for full in full_names(node, name)
    }  # fmt: skip


def own(node, endpoints):
    skipped = {full for name in common() for full in full_names(node, name)}
    return {
        e.topic_name: e
        for e in endpoints
        if e.topic_name not in skipped - {"/clock", "/diagnostics"}
    }


def type_name(endpoint):
    return f"{endpoint.msg_type.__module__.partition('.')[0]}/{endpoint.msg_type.__name__}"


def qos_text(endpoint):
    profile = endpoint.qos_profile
    latched = profile.durability.name == "TRANSIENT_LOCAL"
    return f"{'latched' if latched else RELIABILITY[profile.reliability.name]} {profile.depth}"


def compare(node, live, rows):
    """Every live name has a row that fits, every row a live name; returns the pairs."""
    pairs = []
    for name, thing in live.items():
        fitting = [row for known, row in rows.items() if known.fullmatch(name)]
        assert fitting, f"{name} of {node.get_name()} is not on its page"
        pairs.append((name, thing, fitting[0]))
    for known, (written, _) in rows.items():
        assert any(map(known.fullmatch, live)), f"{node.get_name()} has no {written}"
    return pairs


@pytest.mark.parametrize("executable", EXECUTABLES)
@pytest.mark.parametrize("heading", ["publishes", "subscribes"])
def test_the_topics_of_a_page_are_those_of_the_node(nodes, executable, heading):
    node = nodes[executable]
    live = own(node, node.publishers if heading == "publishes" else node.subscriptions)
    if heading == "publishes":
        live.pop("/diagnostics")
    for name, endpoint, (_, row) in compare(node, live, documented(node, heading)):
        declared = names(row[1])
        assert not declared or declared[0] == type_name(endpoint), name
        qos = re.match(r"(reliable|best effort|latched) \d+", row[2])
        assert not qos or qos[0] == qos_text(endpoint), name


def services(node, pairs):
    skipped = {full for name in common() for full in full_names(node, name)}
    found = {}
    for name, types in pairs:
        if name in skipped:
            continue
        action, _, part = name.partition("/_action/")
        kind = types[0].replace("/srv/", "/").replace("/action/", "/")
        if part == "send_goal":
            found[action] = f"action {kind.removesuffix('_SendGoal')}"
        elif not part:
            found[name] = kind
    return found


@pytest.mark.parametrize("executable", EXECUTABLES)
@pytest.mark.parametrize("heading", ["serves", "calls"])
def test_the_services_and_actions_of_a_page_are_those_of_the_node(nodes, executable, heading):
    node = nodes[executable]
    who = node.get_name(), node.get_namespace()
    if heading == "serves":
        live = services(node, node.get_service_names_and_types_by_node(*who))
    else:
        live = services(node, node.get_client_names_and_types_by_node(*who))
    rows = documented(node, heading, "Services and actions")
    for name, kind, (_, row) in compare(node, live, rows):
        assert row[1].replace("`", "") == kind, name


@pytest.mark.parametrize("executable", EXECUTABLES)
def test_every_diagnostic_value_of_a_node_is_explained(nodes, executable):
    status = Status()
    nodes[executable]._diagnostics._fill(status)
    text = section(page_text(executable), "Diagnostics")
    rows = tables(text)["value"] + tables(page_text("README"))["value"]
    known = [pattern(name) for row in rows for name in names(row[0])]
    assert [key for key in status.values if not any(k.fullmatch(key) for k in known)] == []
