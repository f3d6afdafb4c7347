"""Several nodes in one process: one GPU context, arrays handed over in memory.

Started by ``sensorium up --container``; each ``--node NAME`` is followed by that node's own ROS
arguments.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from sensorium.bringup import EXECUTABLES
from sensorium.ros.lifecycle import ManagedNode
from sensorium.ros.running import run


def split_nodes(arguments: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return (executable, its ROS arguments) for each ``--node``.

    Raises:
        ValueError: no node, an unknown executable, arguments before the first ``--node``, or a
            policy together with its guards.
    """
    nodes: list[tuple[str, list[str]]] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--node":
            executable = next(remaining, "")
            if executable not in EXECUTABLES:
                raise ValueError(f"--node '{executable}': allowed are {', '.join(EXECUTABLES)}")
            nodes.append((executable, []))
        elif not nodes:
            raise ValueError(f"unexpected argument '{argument}' before the first --node")
        else:
            nodes[-1][1].append(argument)
    if not nodes:
        raise ValueError("nothing to run: give --node NAME [ROS arguments] for each node")
    if {"policy", "policy_guard"} <= {executable for executable, _ in nodes}:
        raise ValueError(
            "policy and policy_guard in one process: inference could hold the guards up; start "
            "them without --container"
        )
    return nodes


def make_node(executable: str, ros_arguments: list[str]) -> ManagedNode[Any]:
    """Make one node with its own names and parameters."""
    module = importlib.import_module(f"sensorium.nodes.{executable}")
    node: ManagedNode[Any] = module.make_node(cli_args=ros_arguments, use_global_arguments=False)
    return node


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the nodes until SIGINT or SIGTERM."""
    try:
        requested = split_nodes(sys.argv[1:] if arguments is None else arguments)
    except ValueError as error:
        sys.exit(f"container: {error}")
    run([functools.partial(make_node, *each) for each in requested], arguments=[])


if __name__ == "__main__":
    main()
