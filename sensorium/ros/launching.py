"""Launch actions of planned nodes, for the launch files (needs `launch` and `launch_ros`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from sensorium.bringup import NodePlan
from sensorium.ros.transport import transport_environment

_RESPAWN_DELAY_S = 2.0


def node_actions(plans: Sequence[NodePlan], *, respawn: bool = False) -> list[Any]:
    """Return the actions that set the DDS transport and start each node.

    Args:
        plans: what to start.
        respawn: start a node again when it ends by itself.
    """
    from launch.actions import LogInfo, SetEnvironmentVariable
    from launch_ros.actions import Node
    from launch_ros.parameter_descriptions import ParameterValue

    variables, notes = transport_environment(dict(os.environ))
    actions: list[Any] = [LogInfo(msg=f"sensorium: {note}") for note in notes]
    actions += [SetEnvironmentVariable(name, value) for name, value in variables.items()]
    for plan in plans:
        files = [] if plan.params_file is None else [str(plan.params_file)]
        # launch_ros reads a bare string as YAML, which would turn a bag called 2024 into a number.
        parameters = {
            name: ParameterValue(value, value_type=str) if isinstance(value, str) else value
            for name, value in plan.parameters.items()
        }
        actions.append(
            Node(
                package="sensorium_ros",
                executable=plan.executable,
                name=plan.name,
                # Relative, so that a PushRosNamespace of an including launch file applies.
                namespace=plan.namespace.strip("/"),
                parameters=[*files, parameters],
                remappings=plan.remappings,
                arguments=["--ros-args", *plan.log_arguments],
                output="screen",
                respawn=respawn,
                respawn_delay=_RESPAWN_DELAY_S,
            )
        )
    return actions
