"""`sensorium up` and `sensorium replay`: what the launch files do, without `ros2 launch`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from sensorium.bringup import LOG_LEVELS, RESPAWNS, NodePlan, node_entries, read_plan, replay_plan
from sensorium.processes import ManagedProcess, supervise
from sensorium.share import parameter_file


def add_parsers(commands: Any) -> None:  # noqa: ANN401 - argparse's sub-parser type is private
    """Add the sub-commands `up` and `replay`."""
    parser = commands.add_parser("up", help="start the nodes of a parameter file")
    parser.add_argument(
        "params_file", help="path of a parameter file, or the name of a shipped one ('rendered')"
    )
    parser.add_argument("--use-sim-time", action="store_true", help="take time from /clock")
    _add_common(parser)
    parser.set_defaults(run=lambda arguments: _start(arguments, _up_plan(arguments)))
    parser = commands.add_parser("replay", help="play a bag into the nodes of a parameter file")
    parser.add_argument("bag", type=Path, help="rosbag2 directory or .mcap file")
    parser.add_argument("--params-file", default="replay", help="path or name of a shipped one")
    parser.add_argument("--rate", type=float, default=1.0, help="speed, 1.0 is real time")
    parser.add_argument("--loop", action="store_true", help="start again at the end")
    _add_common(parser)
    parser.set_defaults(run=lambda arguments: _start(arguments, _replay_plan(arguments)))


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--namespace", default="", help="namespace of the robot, e.g. robot1")
    parser.add_argument(
        "--nodes", default=(), type=node_entries, metavar="LIST",
        help="start these nodes instead of those that the file lists, with commas: "
        "camera/rgbd_camera,geometry",
    )  # fmt: skip
    parser.add_argument(
        "--no-autostart", action="store_true", help="leave the nodes unconfigured for a manager"
    )
    parser.add_argument("--log-level", default="info", choices=LOG_LEVELS)
    parser.add_argument(
        "--container", action="store_true",
        help="all nodes in one process, which hand arrays to each other in memory",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="print the commands, start nothing")


def _up_plan(arguments: argparse.Namespace) -> list[NodePlan]:
    return read_plan(
        parameter_file(arguments.params_file),
        arguments.namespace,
        nodes=arguments.nodes,
        use_sim_time=arguments.use_sim_time,
        autostart=not arguments.no_autostart,
        log_level=arguments.log_level,
    )


def _replay_plan(arguments: argparse.Namespace) -> list[NodePlan]:
    return replay_plan(
        arguments.bag,
        parameter_file(arguments.params_file),
        arguments.namespace,
        nodes=arguments.nodes,
        rate=arguments.rate,
        loop=arguments.loop,
        autostart=not arguments.no_autostart,
        log_level=arguments.log_level,
    )


def _start(arguments: argparse.Namespace, plans: list[NodePlan]) -> int:
    commands = container_command(plans) if arguments.container else node_commands(plans)
    if arguments.dry_run:
        for name, command in commands.items():
            print(name, *command)
        return 0
    environment = node_environment()
    return supervise(
        [
            ManagedProcess(name, command, environment, respawns_left=RESPAWNS)
            for name, command in commands.items()
        ]
    )


def node_commands(plans: list[NodePlan]) -> dict[str, list[str]]:
    """The command of each node's own process, by fully qualified name."""
    return {
        plan.fully_qualified_name: [
            sys.executable, "-m", f"sensorium.nodes.{plan.executable}", *plan.ros_arguments,
        ]
        for plan in plans
    }  # fmt: skip


def container_command(plans: list[NodePlan]) -> dict[str, list[str]]:
    """The one command that runs every node in one process."""
    command = [sys.executable, "-m", "sensorium.nodes.container"]
    for plan in plans:
        command += ["--node", plan.executable, *plan.ros_arguments]
    return {"container": command}


def node_environment() -> dict[str, str]:
    """Our environment with the DDS transport that large images need, unless the user set one."""
    from sensorium.ros.transport import transport_environment

    environment = dict(os.environ)
    additions, notes = transport_environment(environment)
    for note in notes:
        print(f"[sensorium] {note}", file=sys.stderr)
    environment.update(additions)
    # Without a sourced ROS (wheels only) the ament index lies in the environment's own prefix.
    environment.setdefault("AMENT_PREFIX_PATH", str(Path(sys.prefix)))
    return environment
