"""`sensorium up`: the nodes of a parameter file as processes that end together and come back."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from graph_tools import Graph, wait_until
from sensor_msgs.msg import PointCloud2

FILE = {
    "/**/bringup": {"ros__parameters": {"nodes": ["camera/rgbd_camera", "geometry"]}},
    "/**/rgbd_camera": {
        "ros__parameters": {
            "source": "rendered",
            "rendered": {"width_px": 64, "height_px": 48, "focal_px": 52.0, "rate_hz": 5.0},
        }
    },
    "/**/geometry": {"ros__parameters": {"rgbd_topics": ["camera/rgbd"], "threads": 1}},
}


def children_of(pid):
    """Process ids of every live descendant."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            child = int(path.parent.name)
            found += [child, *children_of(child)]
    return found


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def command_of(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")


@pytest.fixture
def up(tmp_path):
    parameters = tmp_path / "robot.yaml"
    parameters.write_text(yaml.safe_dump(FILE))
    started = []

    def start(*arguments):
        with (tmp_path / "up.log").open("wb") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "sensorium.cli", "up", str(parameters), *arguments],
                    stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                )
            )  # fmt: skip
        return started[-1]

    yield start
    for process in started:
        for pid in [*children_of(process.pid), process.pid]:
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def graph(ros, tmp_path):
    with Graph(tmp_path) as graph:
        yield graph


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_parent_alone_ends_every_process_with_exit_code_0(up, graph, signal_number):
    points = graph.collect(PointCloud2, "/geometry/points")
    process = up()
    wait_until(lambda: points, "points")
    children = children_of(process.pid)
    assert len(children) == 2
    process.send_signal(signal_number)
    assert process.wait(30) == 0
    wait_until(lambda: not any(map(is_running, children)), "the end of every child")


def test_when_the_parent_is_killed_outright_its_nodes_end_by_themselves(up, graph):
    points = graph.collect(PointCloud2, "/geometry/points")
    parent = up()
    wait_until(lambda: points, "points")
    children = children_of(parent.pid)
    assert len(children) == 2
    parent.kill()
    wait_until(lambda: not any(map(is_running, children)), "nodes outlive their parent")


def test_a_killed_node_is_started_again_and_works_again(up, graph):
    points = graph.collect(PointCloud2, "/geometry/points")
    process = up()
    wait_until(lambda: points, "points")
    (victim,) = [pid for pid in children_of(process.pid) if "nodes.geometry" in command_of(pid)]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: not is_running(victim), "the end of the victim")
    time.sleep(0.5)  # what the dead node had sent is received by now
    before = len(points)
    wait_until(lambda: len(points) > before, "points of the second life")


def test_a_robot_s_namespace_reaches_nodes_topics_and_transforms(up, graph):
    points = graph.collect(PointCloud2, "/robot1/geometry/points")
    up("--namespace", "robot1", "--container")
    wait_until(lambda: points, "points")
    topics = dict(graph.probe.get_topic_names_and_types())
    assert "/robot1/camera/rgbd" in topics
    assert "/robot1/tf" in topics
    assert "/tf" not in topics
    absolute = {"/rosout", "/parameter_events", "/diagnostics", "/clock"}
    assert [t for t in topics if not t.startswith("/robot1/") and t not in absolute] == []


def test_a_file_that_says_nothing_to_start_is_refused_by_name(tmp_path):
    (tmp_path / "empty.yaml").write_text("/**/geometry: {ros__parameters: {}}\n")
    result = subprocess.run(
        [sys.executable, "-m", "sensorium.cli", "up", str(tmp_path / "empty.yaml")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert result.returncode == 2
    assert "does not say what to start" in result.stderr
