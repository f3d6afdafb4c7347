"""`sensorium view`: the live page of a running graph."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from sensorium.bringup import LOG_LEVELS, NodePlan
from sensorium.cli.up import node_commands, node_environment
from sensorium.processes import ManagedProcess, supervise
from sensorium.share import parameter_file
from sensorium.viewer.server import ViewerServer


def add_parsers(commands: Any) -> None:  # noqa: ANN401 - argparse's sub-parser type is private
    """Add the sub-command `view`."""
    parser = commands.add_parser(
        "view", help="show a running graph in a web page; prints the page's address"
    )
    parser.add_argument("--params-file", default="viewer", help="path or name of a shipped one")
    parser.add_argument("--namespace", default="", help="namespace of the robot, e.g. robot1")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to serve the page on (default: %(default)s, "
        "this machine only)",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=int, default=8090, help="port of the page (default: %(default)s)"
    )
    parser.add_argument("--use-sim-time", action="store_true", help="take time from /clock")
    parser.add_argument("--log-level", default="warn", choices=LOG_LEVELS)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        # What would keep the node from serving the page is said here, before anything runs.
        ViewerServer(arguments.host, arguments.port).close()
    except ImportError as error:
        print(f"sensorium view: {error}", file=sys.stderr)
        return 2
    plan = _plan(arguments)
    (command,) = node_commands([plan]).values()
    return supervise([ManagedProcess(plan.fully_qualified_name, command, node_environment())])


def _plan(arguments: argparse.Namespace) -> NodePlan:
    namespace = arguments.namespace.strip("/")
    parameters: dict[str, bool | float | str] = {
        "autostart": True, "use_sim_time": arguments.use_sim_time, "host": arguments.host,
        "port": arguments.port,
    }  # fmt: skip
    return NodePlan(
        executable="viewer",
        name="viewer",
        namespace=f"/{namespace}",
        robot_namespace=f"/{namespace}" if namespace else "",
        params_file=parameter_file(arguments.params_file),
        parameters=parameters,
        log_level=arguments.log_level,
    )
