"""Play a rosbag2 recording into the nodes of a parameter file, all on the bag's time."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction

from sensorium.bringup import node_entries, replay_plan
from sensorium.ros.launching import (
    common_arguments,
    node_actions,
    rviz_action,
    values_of_arguments,
)
from sensorium.share import parameter_file


def start_nodes(context):
    value = values_of_arguments(
        context, "bag", "rate", "loop", "namespace", "nodes", "params_file", "autostart",
        "log_level",
    )  # fmt: skip
    plans = replay_plan(
        Path(value["bag"]).expanduser(),
        parameter_file(value["params_file"]),
        value["namespace"],
        nodes=node_entries(value["nodes"]),
        rate=float(value["rate"]),
        loop=value["loop"] == "true",
        autostart=value["autostart"] == "true",
        log_level=value["log_level"],
    )
    return node_actions(plans)


def generate_launch_description():
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="rosbag2 directory or .mcap file to play."),
            DeclareLaunchArgument(
                "rate", default_value="1.0", description="Speed; 1.0 is real time."
            ),
            DeclareLaunchArgument(
                "loop",
                default_value="false",
                description="Start again at the end.",
                choices=["true", "false"],
            ),
            *common_arguments("replay"),
            OpaqueFunction(function=start_nodes),
            rviz_action("true"),
        ]
    )
