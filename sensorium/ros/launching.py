"""What the launch files share (needs `launch` and `launch_ros`): arguments, nodes, RViz."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from typing import Any

from sensorium.bringup import LOG_LEVELS, RESPAWNS, NodePlan
from sensorium.ros.transport import transport_environment
from sensorium.share import share_directory

_RESPAWN_DELAY_S = 2.0


def common_arguments(default_params_file: str) -> list[Any]:
    """Return the arguments that bring-up and replay have in common.

    Args:
        default_params_file: name of the parameter file in config/ that is taken unless given.
    """
    from launch.actions import DeclareLaunchArgument

    return [
        DeclareLaunchArgument(
            "namespace", default_value="", description="Namespace of the robot, e.g. robot1."
        ),
        DeclareLaunchArgument(
            "params_file",
            default_value=default_params_file,
            description="The robot's parameter file: a path, or the name of one in config/.",
        ),
        DeclareLaunchArgument(
            "nodes",
            default_value="",
            description="Start these nodes instead of those that the file lists, with commas: "
            "camera/rgbd_camera,geometry.",
        ),
        DeclareLaunchArgument(
            "autostart",
            default_value="true",
            description="Nodes configure and activate themselves; false leaves that to a "
            "lifecycle manager.",
            choices=["true", "false"],
        ),
        DeclareLaunchArgument(
            "log_level",
            default_value="info",
            description="Severity of the log.",
            choices=list(LOG_LEVELS),
        ),
        DeclareLaunchArgument(
            "rviz",
            default_value="false",
            description="Open RViz as well.",
            choices=["true", "false"],
        ),
    ]


def rviz_action(use_sim_time: Any) -> Any:  # noqa: ANN401 - text or a substitution
    """Return the action that opens RViz when the argument `rviz` is true."""
    from launch.actions import IncludeLaunchDescription
    from launch.conditions import IfCondition
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    from launch.substitutions import LaunchConfiguration

    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(share_directory() / "launch" / "rviz.launch.py")),
        launch_arguments={
            "namespace": LaunchConfiguration("namespace"),
            "use_sim_time": use_sim_time,
        }.items(),
        condition=IfCondition(LaunchConfiguration("rviz")),
    )


def values_of_arguments(context: Any, *names: str) -> dict[str, str]:  # noqa: ANN401
    """Return the values of launch arguments as text."""
    from launch.substitutions import LaunchConfiguration

    return {name: LaunchConfiguration(name).perform(context) for name in names}


def node_actions(plans: Sequence[NodePlan], *, respawn: bool = False) -> list[Any]:
    """Return the actions that set the DDS transport and start each node.

    Args:
        plans: what to start.
        respawn: start a node again when it ends by itself, up to ``RESPAWNS`` times. Humble's
            launch knows no such bound and says so.
    """
    from launch.actions import LogInfo, SetEnvironmentVariable
    from launch_ros.actions import Node
    from launch_ros.parameter_descriptions import ParameterValue

    variables, notes = transport_environment(dict(os.environ))
    respawning: dict[str, Any] = {"respawn": respawn, "respawn_delay": _RESPAWN_DELAY_S}
    if _launch_bounds_respawns():
        respawning["respawn_max_retries"] = RESPAWNS
    elif respawn:
        notes = [
            *notes, "this version of launch starts a dead node again without end; "
            "use_respawn:=false turns it off",
        ]  # fmt: skip
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
                **respawning,
            )
        )
    return actions


def _launch_bounds_respawns() -> bool:
    """Whether `launch` knows respawn_max_retries (Iron and later)."""
    from launch.actions import ExecuteProcess

    return any(
        "respawn_max_retries" in inspect.signature(kind.__init__).parameters
        for kind in ExecuteProcess.__mro__
    )
