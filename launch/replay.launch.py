"""Play a rosbag2 recording into the nodes of a parameter file, all on the bag's time."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from sensorium.bringup import LOG_LEVELS, replay_plan
from sensorium.ros.launching import node_actions
from sensorium.share import parameter_file


def start_nodes(context):
    value = {
        name: LaunchConfiguration(name).perform(context)
        for name in (
            "bag", "rate", "loop", "namespace", "params_file", "autostart", "log_level",
        )
    }  # fmt: skip
    plans = replay_plan(
        Path(value["bag"]).expanduser(),
        parameter_file(value["params_file"]),
        value["namespace"],
        rate=float(value["rate"]),
        loop=value["loop"] == "true",
        autostart=value["autostart"] == "true",
        log_level=value["log_level"],
    )
    return node_actions(plans)


def generate_launch_description():
    launch_directory = Path(get_package_share_directory("sensorium_ros")) / "launch"
    flag = {"choices": ["true", "false"]}
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="rosbag2 directory or .mcap file to play."),
            DeclareLaunchArgument(
                "rate", default_value="1.0", description="Speed; 1.0 is real time."
            ),
            DeclareLaunchArgument(
                "loop", default_value="false", description="Start again at the end.", **flag
            ),
            DeclareLaunchArgument(
                "namespace", default_value="", description="Namespace of the robot, e.g. robot1."
            ),
            DeclareLaunchArgument(
                "params_file",
                default_value="replay",
                description="The robot's parameter file: a path, or the name of one in config/.",
            ),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                description="Nodes configure and activate themselves.",
                **flag,
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                description="Severity of the log.",
                choices=list(LOG_LEVELS),
            ),
            DeclareLaunchArgument(
                "rviz", default_value="false", description="Open RViz as well.", **flag
            ),
            OpaqueFunction(function=start_nodes),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(launch_directory / "rviz.launch.py")),
                launch_arguments={
                    "namespace": LaunchConfiguration("namespace"),
                    "use_sim_time": "true",
                }.items(),
                condition=IfCondition(LaunchConfiguration("rviz")),
            ),
        ]
    )
