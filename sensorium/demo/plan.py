"""What a demonstration starts: a parameter file of its own, nodes, and a request to the session."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from sensorium.bringup import NodePlan, read_plan
from sensorium.configuration import build
from sensorium.demo.bag_inputs import bag_inputs
from sensorium.demo.folder import OutputFolder
from sensorium.demo.recorded import RecordedTopics
from sensorium.demo.session import SessionRequest
from sensorium.share import parameter_file
from sensorium.sources import RecordingConfiguration, RenderedConfiguration
from sensorium.sources.random_scene import random_scene
from sensorium.sources.recording import RecordingSource
from sensorium.sources.scene import Scene

_BAG_SUFFIXES = (".mcap", ".db3", ".zstd")
_MAP_FILE = "map.ply"
# Fast DDS takes UDP ports from 7400 on, 250 per domain; the first process listens here.
_FIRST_PORT, _PORTS_PER_DOMAIN = 7410, 250
_HIGHEST_DOMAIN = 101


class RecordingError(ValueError):
    """A recording that cannot be demonstrated; the text says what is taken."""


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """One demonstration.

    Attributes:
        source: what is shown, in words.
        nodes: the nodes in the order of activation.
        request: for the session process.
        topics: what is judged afterwards.
        scene: the exact scene, or None for recordings.
        voxel_size_m: of the map.
        conditions: parameters that explain the numbers.
    """

    source: str
    nodes: tuple[NodePlan, ...]
    request: SessionRequest
    topics: RecordedTopics
    scene: Scene | None
    voxel_size_m: float
    conditions: dict[str, Any]


def make_plan(
    folder: OutputFolder, recording: Path | None, most_frames: int, params_file: str = ""
) -> DemoPlan:
    """Write the parameter file into the folder and return what to start.

    Args:
        folder: the output folder.
        recording: folder of images, bag directory or bag file; None renders a scene.
        most_frames: a longer recording is ended after about so many frames.
        params_file: path or name of a parameter file in place of "demo" or, for bags, "demo_bag".

    Raises:
        RecordingError: there is no such recording.
        ValueError: the source refuses it; the text names the remedy.
    """
    if recording is None:
        return _rendered(folder, _parameters(params_file or "demo"))
    path = recording.expanduser().absolute()
    if not path.exists():
        raise RecordingError(f"there is no recording at '{path}'; check the path")
    is_bag = path.suffix in _BAG_SUFFIXES or (
        path.is_dir() and ((path / "metadata.yaml").exists() or any(path.glob("*.mcap")))
    )
    if is_bag:
        return _bag(folder, _parameters(params_file or "demo_bag"), path, most_frames)
    parameters = _parameters(params_file or "demo")
    if not params_file:
        # The shipped model knows rendered rooms, not what somebody recorded.
        _section(parameters, "geometry")["backend"] = "sensor"
    return _image_folder(folder, parameters, path, most_frames)


def _rendered(folder: OutputFolder, parameters: dict[str, Any]) -> DemoPlan:
    values = _flat(_section(parameters, "rgbd_camera")["rendered"])
    rendered = build(RenderedConfiguration, values)
    return _with_camera(
        folder, parameters, rendered.frames,
        f"rendered room, seed {rendered.seed}: {rendered.frames} frames "
        f"{rendered.width_px} x {rendered.height_px} at {rendered.rate_hz:g} Hz, with the noise "
        "and holes of a depth camera",
        random_scene(rendered.seed, rendered.scene),
    )  # fmt: skip


def _image_folder(
    folder: OutputFolder, parameters: dict[str, Any], path: Path, most_frames: int
) -> DemoPlan:
    camera = _section(parameters, "rgbd_camera")
    camera["source"] = "recording"
    camera["recording"]["folder"] = str(path)
    with RecordingSource(build(RecordingConfiguration, _flat(camera["recording"]))) as source:
        count, layout = len(source), source.layout
    frames = min(count, most_frames)
    return _with_camera(
        folder, parameters, frames,
        f"recording {path} ({layout} layout): {_of(frames, count)}", None,
    )  # fmt: skip


def _with_camera(
    folder: OutputFolder, parameters: dict[str, Any], frames: int, source: str, scene: Scene | None
) -> DemoPlan:
    nodes = _written(folder, parameters)
    by_executable = {plan.executable: plan.fully_qualified_name for plan in nodes}
    camera = by_executable["rgbd_camera"]
    request = SessionRequest(
        tuple(plan.fully_qualified_name for plan in nodes), by_executable["geometry"], camera, "",
        by_executable["recorder"], camera.rpartition("/")[0] + "/rgbd", frames, _MAP_FILE,
    )  # fmt: skip
    return _plan(source, nodes, request, scene, parameters)


def _bag(
    folder: OutputFolder, parameters: dict[str, Any], path: Path, most_frames: int
) -> DemoPlan:
    inputs = bag_inputs(path)
    frames = min(inputs.frames, most_frames)
    player = _section(parameters, "bag_player")
    player["bag"] = str(path)
    player["topics"] = list(inputs.replayed)
    if frames < inputs.frames:
        player["duration_s"] = inputs.duration_s * frames / inputs.frames
    geometry = _section(parameters, "geometry")
    geometry["map_frame"] = inputs.map_frame
    rgbd_topic = inputs.rgbd_topic
    started = parameters["/**/bringup"]["ros__parameters"]["nodes"]
    camera = ""
    if inputs.driver is not None:
        driver = inputs.driver
        started.append("camera/rgbd_camera")
        camera, rgbd_topic = "/camera/rgbd_camera", "/camera/rgbd"
        parameters["/**/rgbd_camera"] = {
            "ros__parameters": {
                "source": "topics",
                "topics": {
                    "color": driver.color, "color_info": driver.color_info,
                    "depth": driver.depth, "depth_info": driver.depth_info, "qos": "reliable",
                },
            }
        }  # fmt: skip
    geometry["rgbd_topics"] = [rgbd_topic]
    started.append("bag_player")
    plans = _written(folder, parameters)
    nodes = [_with_bag_s_time(plan) for plan in plans]
    by_executable = {plan.executable: plan.fully_qualified_name for plan in nodes}
    request = SessionRequest(
        tuple(plan.fully_qualified_name for plan in nodes), by_executable["geometry"], camera,
        by_executable["bag_player"], by_executable["recorder"], rgbd_topic, frames, _MAP_FILE,
    )  # fmt: skip
    return _plan(
        f"bag {path}: {_of(frames, inputs.frames)} of {camera or rgbd_topic}",
        nodes, request, None, parameters,
    )  # fmt: skip


def _with_bag_s_time(plan: NodePlan) -> NodePlan:
    simulated = plan.executable != "bag_player"
    return replace(plan, parameters={**plan.parameters, "use_sim_time": simulated})


def _plan(
    source: str,
    nodes: list[NodePlan],
    request: SessionRequest,
    scene: Scene | None,
    parameters: dict[str, Any],
) -> DemoPlan:
    voxel_size_m = float(_section(parameters, "geometry")["map"]["fusion"]["voxel_size_m"])
    namespace = request.rgbd_topic.rpartition("/")[0]
    topics = RecordedTopics(
        _section(parameters, "geometry")["map_frame"], request.rgbd_topic,
        f"{request.geometry}/points", f"{request.geometry}/depth",
        f"{namespace}/ground_truth/depth", f"{namespace}/color/image_raw",
    )  # fmt: skip
    conditions = {
        name.removeprefix("/**/"): section["ros__parameters"]
        for name, section in parameters.items()
    }
    return DemoPlan(source, tuple(nodes), request, topics, scene, voxel_size_m, conditions)


def free_domain(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that keep a run to itself; none where the user chose a domain.

    The domain is one in which no other process of this machine listens, and discovery does not
    leave the machine.
    """
    if environ.get("ROS_DOMAIN_ID"):
        return {}
    chosen = random.sample(range(1, _HIGHEST_DOMAIN + 1), _HIGHEST_DOMAIN)
    domain = next((number for number in chosen if _is_silent(number)), chosen[0])
    variables = {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    if environ.get("ROS_DISTRO") == "humble":
        # Humble knows only this one; later distributions warn about it.
        variables["ROS_LOCALHOST_ONLY"] = "1"
    return variables


def _is_silent(domain: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", _FIRST_PORT + _PORTS_PER_DOMAIN * domain))
        except OSError:
            return False
    return True


def _parameters(name_or_path: str) -> dict[str, Any]:
    parameters: dict[str, Any] = yaml.safe_load(parameter_file(name_or_path).read_text())
    return parameters


def _section(parameters: dict[str, Any], node: str) -> dict[str, Any]:
    section: dict[str, Any] = parameters[f"/**/{node}"]["ros__parameters"]
    return section


def _written(folder: OutputFolder, parameters: dict[str, Any]) -> list[NodePlan]:
    """Write the parameter file with the folder's paths; returns the nodes in order."""
    _section(parameters, "recorder")["directory"] = str(folder.path)
    _section(parameters, "geometry")["map"]["directory"] = str(folder.path)
    path = folder.file("parameters.yaml")
    text = "# What this run started; `sensorium up` takes it too.\n"
    path.write_text(text + yaml.safe_dump(parameters, sort_keys=False))
    # The session owns the lifecycle: it knows when everybody listens.
    return read_plan(path, autostart=False)


def _flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def _of(frames: int, available: int) -> str:
    return (
        f"{frames} frames" if frames == available else f"the first {frames} of {available} frames"
    )
