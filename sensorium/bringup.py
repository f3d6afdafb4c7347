"""What to start: read from the robot's parameter file, used by `sensorium up` and the launch files.

A parameter file is an ordinary ROS parameter file. The section ``/**/bringup`` lists the nodes::

    /**/bringup:
      ros__parameters:
        nodes: ["wrist/rgbd_camera", "scene/rgbd_camera", "geometry"]

Each entry is ``[namespace/]executable[:name]``. Whoever starts the file may name other nodes: it
may hold parameters of more nodes than it lists. One reader for both ways of starting is what keeps
them equal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

EXECUTABLES = (
    "bag_player",
    "geometry",
    "policy",
    "policy_guard",
    "recorder",
    "rgbd_camera",
    "segmentation",
    "semantic_cloud",
    "signal",
    "tabletop_world",
    "viewer",
)
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
# How often a node that ended by itself is started again.
RESPAWNS = 3

_ENTRY = re.compile(r"^(?:(?P<namespace>[A-Za-z_][\w/]*)/)?(?P<executable>\w+)(?::(?P<name>\w+))?$")
_NAMESPACE = re.compile(r"^/?([A-Za-z_]\w*(/[A-Za-z_]\w*)*)?$")


class BringupError(ValueError):
    """A parameter file or argument that cannot be started from; the text says what is allowed."""


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node to be started.

    Attributes:
        executable: file name in ``lib/sensorium_ros`` and module in ``sensorium.nodes``.
        name: node name.
        namespace: absolute namespace, e.g. "/robot1/wrist"; "/" is the root.
        robot_namespace: the robot's own namespace, "" for the root; its transforms live there.
        params_file: the robot's parameter file, or None.
        parameters: parameters set beside the file.
        log_level: severity of the node's log.
    """

    executable: str
    name: str
    namespace: str
    robot_namespace: str
    params_file: Path | None
    parameters: dict[str, bool | float | str]
    log_level: str

    @property
    def fully_qualified_name(self) -> str:
        """Namespace and name, e.g. "/robot1/geometry"."""
        return f"{self.namespace.rstrip('/')}/{self.name}"

    @property
    def remappings(self) -> list[tuple[str, str]]:
        """Topics that get other names: as in Nav2, each robot has a transform tree of its own."""
        if not self.robot_namespace:
            return []
        return [(f"/{topic}", f"{self.robot_namespace}/{topic}") for topic in ("tf", "tf_static")]

    @property
    def log_arguments(self) -> list[str]:
        """The ROS arguments that set the severity of this node's log only."""
        logger = self.fully_qualified_name[1:].replace("/", ".")
        return ["--log-level", f"{logger}:={self.log_level}"]

    @property
    def ros_arguments(self) -> list[str]:
        """The arguments that give a node its names, parameters and log level."""
        arguments = ["--ros-args", "-r", f"__node:={self.name}", "-r", f"__ns:={self.namespace}"]
        for old, new in self.remappings:
            arguments += ["-r", f"{old}:={new}"]
        if self.params_file is not None:
            arguments += ["--params-file", str(self.params_file)]
        for name, value in self.parameters.items():
            # JSON is YAML with every string quoted, so a path may hold any character.
            arguments += ["-p", f"{name}:={json.dumps(value)}"]
        return [*arguments, *self.log_arguments]


def read_plan(
    params_file: Path,
    namespace: str = "",
    *,
    nodes: Sequence[str] = (),
    use_sim_time: bool = False,
    autostart: bool = True,
    log_level: str = "info",
) -> list[NodePlan]:
    """Return the nodes that a parameter file asks for.

    Args:
        params_file: the robot's parameter file.
        namespace: of the robot, "" for the root.
        nodes: entries to be started in place of those that the file lists; empty for those.
        use_sim_time: the nodes take time from /clock.
        autostart: the nodes configure and activate themselves.
        log_level: one of LOG_LEVELS.

    Raises:
        BringupError: unreadable file, no ``/**/bringup`` section, an unknown executable, a name
            used twice, an invalid namespace or log level.
    """
    robot = _robot_namespace(namespace, log_level)
    plans = []
    for entry in list(nodes) or _entries(params_file):
        match = _ENTRY.match(entry)
        if match is None or match["executable"] not in EXECUTABLES:
            raise BringupError(
                f"{params_file}: cannot start '{entry}'; write [namespace/]executable[:name] with "
                f"an executable of {', '.join(EXECUTABLES)}"
            )
        inner = f"/{match['namespace']}" if match["namespace"] else ""
        plans.append(
            NodePlan(
                executable=match["executable"],
                name=match["name"] or match["executable"],
                namespace=robot + inner or "/",
                robot_namespace=robot,
                params_file=params_file,
                parameters={"use_sim_time": use_sim_time, "autostart": autostart},
                log_level=log_level,
            )
        )
    names = [plan.fully_qualified_name for plan in plans]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BringupError(
            f"{params_file}: {', '.join(twice)} would run twice; give one another name "
            "([namespace/]executable:name)"
        )
    return plans


def replay_plan(
    bag: Path,
    params_file: Path,
    namespace: str = "",
    *,
    nodes: Sequence[str] = (),
    rate: float = 1.0,
    loop: bool = False,
    autostart: bool = True,
    log_level: str = "info",
) -> list[NodePlan]:
    """Return a bag player and the nodes of `params_file`, which take their time from the bag.

    Raises:
        BringupError: as :func:`read_plan`, or the bag does not exist.
    """
    if not bag.exists():
        raise BringupError(f"there is no bag at {bag}; give a rosbag2 directory or an .mcap file")
    robot = _robot_namespace(namespace, log_level)
    player = NodePlan(
        executable="bag_player",
        name="bag_player",
        namespace=robot or "/",
        robot_namespace=robot,
        params_file=params_file,
        # The player is the source of /clock and must not wait for it.
        parameters={
            "use_sim_time": False,
            "autostart": autostart,
            "bag": str(bag.resolve()),
            "rate": float(rate),
            "loop": loop,
        },
        log_level=log_level,
    )
    listeners = read_plan(
        params_file, namespace, nodes=nodes, use_sim_time=True, autostart=autostart,
        log_level=log_level,
    )  # fmt: skip
    if any(plan.executable == "bag_player" for plan in listeners):
        raise BringupError(f"{params_file} starts a bag_player of its own; remove it for a replay")
    return [*listeners, player]


def _robot_namespace(namespace: str, log_level: str) -> str:
    if not _NAMESPACE.match(namespace):
        raise BringupError(f"namespace '{namespace}' is not a ROS name such as 'robot1'")
    if log_level not in LOG_LEVELS:
        raise BringupError(f"log_level '{log_level}' is not one of {', '.join(LOG_LEVELS)}")
    return "/" + namespace.strip("/") if namespace.strip("/") else ""


def node_entries(text: str) -> tuple[str, ...]:
    """Return the entries of a list with commas, e.g. "camera/rgbd_camera, geometry"."""
    return tuple(entry.strip() for entry in text.split(",") if entry.strip())


def _entries(params_file: Path) -> list[str]:
    try:
        content: Any = yaml.safe_load(params_file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise BringupError(f"cannot read parameter file {params_file}: {error}") from error
    section = content.get("/**/bringup") if isinstance(content, dict) else None
    entries = (section or {}).get("ros__parameters", {}).get("nodes")
    if not isinstance(entries, list) or not entries or not all(isinstance(e, str) for e in entries):
        raise BringupError(
            f"{params_file} does not say what to start: add a section '/**/bringup' with "
            'ros__parameters: {nodes: ["camera/rgbd_camera", "geometry"]}'
        )
    return entries
