"""The launch files against the package: what they name exists, `sensorium up` starts the same."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
import launch_double

from sensorium.bringup import EXECUTABLES, RESPAWNS, NodePlan, read_plan, replay_plan
from sensorium.cli import up
from sensorium.configuration import build

ROOT = Path(__file__).resolve().parents[2]
PARAMETER_FILES = sorted((ROOT / "config").glob("*.yaml"))
CONVENTIONAL = {"namespace", "use_sim_time", "params_file", "autostart", "log_level", "rviz"}


@pytest.fixture
def load(monkeypatch):
    launch_double.install(monkeypatch)
    import ament_index_python.packages as index

    monkeypatch.setattr(index, "get_package_share_directory", lambda _: str(ROOT))

    def load_file(name):
        path = ROOT / "launch" / f"{name}.launch.py"
        spec = importlib.util.spec_from_file_location(f"launch_file_{name}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.generate_launch_description()

    return load_file


def launched_nodes(actions):
    return [action.named for action in actions if isinstance(action, launch_double.Node)]


@pytest.mark.parametrize("name", ["bringup", "replay", "rviz"])
def test_every_argument_has_a_description(load, name):
    for declared in launch_double.arguments_of(load(name)):
        assert declared.named["description"].endswith(".")


def test_bringup_has_the_conventional_arguments(load):
    names = {declared.name for declared in launch_double.arguments_of(load("bringup"))}
    assert names >= CONVENTIONAL


@pytest.mark.parametrize("executable", sorted(EXECUTABLES))
def test_every_executable_exists_and_is_executable(executable):
    script = ROOT / "scripts" / executable
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/usr/bin/env python3\n")
    module = importlib.import_module(f"sensorium.nodes.{executable}")
    assert callable(module.make_node)
    assert callable(module.main)


@pytest.mark.parametrize("path", PARAMETER_FILES, ids=lambda path: path.stem)
def test_every_parameter_in_a_shipped_file_is_known_and_allowed(path):
    plans = {plan.fully_qualified_name: plan for plan in read_plan(path)}
    for key, section in yaml.safe_load(path.read_text()).items():
        if key == "/**/bringup":
            continue
        (name,) = [name for name in plans if name.endswith(key.removeprefix("/**"))] or [None]
        executable = plans[name].executable if name else key.rsplit("/", 1)[-1]
        module = importlib.import_module(f"sensorium.nodes.{executable}")
        build(module.Configuration, flatten(section["ros__parameters"]))


def flatten(section, prefix=""):
    flat = {}
    for name, value in section.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


@pytest.mark.parametrize("namespace", ["", "robot1", "fleet/robot2"])
@pytest.mark.parametrize("path", PARAMETER_FILES, ids=lambda path: path.stem)
def test_bringup_and_sensorium_up_start_the_same_nodes_with_the_same_parameters(
    load, path, namespace
):
    given = {"params_file": str(path), "namespace": namespace, "use_sim_time": "true"}
    nodes = launched_nodes(launch_double.evaluate(load("bringup"), given))
    plans = read_plan(path, namespace, use_sim_time=True)
    assert_same(nodes, plans)


def test_replay_and_sensorium_replay_start_the_same_nodes_on_the_bag_s_time(load, tmp_path):
    bag = tmp_path / "a bag"
    bag.mkdir()
    given = {"bag": str(bag), "rate": "2.0", "loop": "true", "namespace": "robot1"}
    nodes = launched_nodes(launch_double.evaluate(load("replay"), given))
    params_file = ROOT / "config" / "replay.yaml"
    plans = replay_plan(bag, params_file, "robot1", rate=2.0, loop=True)
    assert_same(nodes, plans)
    sim_time = {node["executable"]: node["parameters"][-1]["use_sim_time"] for node in nodes}
    assert sim_time.pop("bag_player") is False
    assert sim_time
    assert all(sim_time.values())


def assert_same(nodes: list[dict], plans: list[NodePlan]):
    commands = up.node_commands(plans)
    assert len(nodes) == len(plans) == len(commands)
    for node, plan in zip(nodes, plans, strict=True):
        namespace = f"/{node['namespace']}"
        command = " ".join(commands[f"{namespace.rstrip('/')}/{node['name']}"])
        assert f"-m sensorium.nodes.{node['executable']} " in command
        assert f"__node:={node['name']}" in command
        assert f"__ns:={namespace} " in command
        file, parameters = node["parameters"]
        assert f"--params-file {file}" in command
        assert parameters == plan.parameters
        for name, value in plan.parameters.items():
            text = f'"{value}"' if isinstance(value, str) else str(value).lower()
            assert f"-p {name}:={text}" in command
        for old, new in node["remappings"]:
            assert f"-r {old}:={new}" in command
        assert " ".join(node["arguments"][1:]) in command


def test_an_unknown_choice_is_refused(load):
    with pytest.raises(ValueError, match="log_level"):
        launch_double.evaluate(load("bringup"), {"log_level": "loud"})


def test_dead_nodes_are_started_again_a_bounded_number_of_times(load):
    for node in launched_nodes(launch_double.evaluate(load("bringup"), {})):
        assert (node["respawn"], node["respawn_max_retries"]) == (True, RESPAWNS)
    given = {"use_respawn": "false"}
    assert not any(
        node["respawn"] for node in launched_nodes(launch_double.evaluate(load("bringup"), given))
    )


def test_a_bag_that_has_been_played_is_not_played_again(load, tmp_path):
    (tmp_path / "bag.mcap").touch()
    actions = launch_double.evaluate(load("replay"), {"bag": str(tmp_path / "bag.mcap")})
    assert not any(node["respawn"] for node in launched_nodes(actions))


def test_a_launch_without_a_bound_for_respawns_says_so(load, monkeypatch):
    description = load("bringup")
    monkeypatch.setattr(sys.modules["launch.actions"], "ExecuteProcess", launch_double.Recorded)
    actions = launch_double.evaluate(description, {})
    assert not any("respawn_max_retries" in node for node in launched_nodes(actions))
    said = [action.named["msg"] for action in actions if "msg" in action.named]
    assert any("again without end; use_respawn:=false" in text for text in said)
