"""Start the nodes that a parameter file asks for (section /**/bringup)."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from sensorium.bringup import RESPAWNS, node_entries, read_plan
from sensorium.ros.launching import (
    common_arguments,
    node_actions,
    rviz_action,
    values_of_arguments,
)
from sensorium.share import parameter_file


def start_nodes(context):
    value = values_of_arguments(
        context, "namespace", "nodes", "use_sim_time", "params_file", "autostart", "log_level",
        "use_respawn",
    )  # fmt: skip
    plans = read_plan(
        parameter_file(value["params_file"]),
        value["namespace"],
        nodes=node_entries(value["nodes"]),
        use_sim_time=value["use_sim_time"] == "true",
        autostart=value["autostart"] == "true",
        log_level=value["log_level"],
    )
    return node_actions(plans, respawn=value["use_respawn"] == "true")


def generate_launch_description():
    return LaunchDescription(
        [
            *common_arguments("rendered"),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value="false",
                description="Take time from /clock.",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument(
                "use_respawn",
                default_value="true",
                description=f"Start a node again when it ends by itself, up to {RESPAWNS} times.",
                choices=["true", "false"],
            ),
            OpaqueFunction(function=start_nodes),
            rviz_action(LaunchConfiguration("use_sim_time")),
        ]
    )
