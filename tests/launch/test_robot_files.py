"""The parameter file of a robot: it holds every node's parameters, any subset of them starts."""

import importlib
from itertools import combinations
from pathlib import Path

import launch_double
import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from sensorium.bringup import BringupError, node_entries, read_plan, replay_plan
from sensorium.cli import main
from sensorium.cli.up import node_commands
from sensorium.configuration import ConfigurationError, build, values_of

ROOT = Path(__file__).resolve().parents[2]
COMMON = ("geometry", "segmentation", "semantic_cloud", "signal", "recorder", "viewer")
ACTING = (*COMMON, "policy", "policy_guard")
# What can be started from each file; a rendered room has no arm that a policy could move.
ROBOTS = {
    "realsense": ("camera/rgbd_camera", *ACTING),
    "two_cameras": ("wrist/rgbd_camera", "scene/rgbd_camera", *ACTING),
    "rendered": ("camera/rgbd_camera", *COMMON),
    "replay": ACTING,
    "everything": ("tabletop_world", *ACTING),
}


def content_of(robot):
    return yaml.safe_load((ROOT / "config" / f"{robot}.yaml").read_text())


def section_of(robot, node):
    """The parameters that a file gives a node, by ROS's rule for the name `/**/node`."""
    content = content_of(robot)
    parts = node.split("/")
    for start in range(len(parts)):
        key = "/**/" + "/".join(parts[start:])
        if key in content:
            return content[key]["ros__parameters"]
    return None


def flat(section, prefix=""):
    for name, value in section.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


@pytest.mark.parametrize("robot", ROBOTS)
def test_a_robot_file_holds_the_parameters_of_every_node_that_it_can_start(robot):
    for node in ROBOTS[robot]:
        section = section_of(robot, node)
        assert section, f"{robot}.yaml says nothing to {node}"
        module = importlib.import_module(f"sensorium.nodes.{node.rpartition('/')[2]}")
        build(module.Configuration, dict(flat(section)))


@pytest.mark.parametrize("robot", ROBOTS)
def test_a_robot_file_has_no_section_that_no_node_of_it_reads(robot):
    sections = set(content_of(robot)) - {"/**/bringup"}
    if robot == "replay":
        sections.remove("/**/bag_player")  # which replay_plan adds
    read = {key for key in sections for node in ROBOTS[robot] if f"/{node}".endswith(key[3:])}
    assert read == sections


@pytest.mark.parametrize("robot", ROBOTS)
def test_a_robot_file_says_how_to_start_it_and_others_of_its_nodes(robot):
    head = (ROOT / "config" / f"{robot}.yaml").read_text().partition("/**/bringup:")[0]
    assert f"params_file:={robot}" in head
    assert f"sensorium up {robot}" in head
    assert "--nodes" in head
    assert "nodes:=" in head


@pytest.mark.parametrize("robot", ROBOTS)
def test_any_subset_of_the_nodes_starts(robot):
    path = ROOT / "config" / f"{robot}.yaml"
    for size in range(1, len(ROBOTS[robot]) + 1):
        for chosen in combinations(ROBOTS[robot], size):
            names = [plan.fully_qualified_name for plan in read_plan(path, nodes=chosen)]
            assert names == [f"/{node}" for node in chosen]
            assert list(node_commands(read_plan(path, nodes=chosen))) == names


def test_ros2_launch_takes_the_same_subset(monkeypatch):
    launch_double.install(monkeypatch)
    monkeypatch.setattr(
        "ament_index_python.packages.get_package_share_directory", lambda _: str(ROOT)
    )
    spec = importlib.util.spec_from_file_location(
        "bringup_launch", ROOT / "launch/bringup.launch.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    actions = launch_double.evaluate(
        module.generate_launch_description(),
        {"params_file": "two_cameras", "nodes": "scene/rgbd_camera, signal"},
    )
    nodes = [action.named for action in actions if isinstance(action, launch_double.Node)]
    names = [(node["namespace"], node["name"]) for node in nodes]
    assert names == [("scene", "rgbd_camera"), ("", "signal")]


def test_sensorium_up_takes_it_with_commas(capsys):
    assert main(["up", "realsense", "--nodes", "camera/rgbd_camera, recorder", "--dry-run"]) == 0
    started = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert started == ["/camera/rgbd_camera", "/recorder"]


def test_a_replay_takes_a_subset_too(tmp_path):
    plans = replay_plan(tmp_path, ROOT / "config/replay.yaml", nodes=("segmentation",))
    assert [plan.executable for plan in plans] == ["segmentation", "bag_player"]


def test_a_subset_names_executables_that_exist():
    assert node_entries(" geometry , wrist/rgbd_camera,") == ("geometry", "wrist/rgbd_camera")
    with pytest.raises(BringupError, match=r"cannot start 'geometri'.*geometry"):
        read_plan(ROOT / "config/realsense.yaml", nodes=("geometri",))


@pytest.mark.parametrize("node", ACTING)
def test_an_unknown_key_and_a_wrong_type_are_refused_by_every_node(node):
    configuration = importlib.import_module(f"sensorium.nodes.{node}").Configuration
    with pytest.raises(ConfigurationError, match="unknown parameter 'no_such_thing'"):
        build(configuration, {"no_such_thing": 1})
    for name in values_of(configuration()):
        with pytest.raises(ConfigurationError, match=name):
            build(configuration, {name: {"a": "mapping"}})
