"""Start the nodes that a parameter file asks for (section /**/bringup)."""

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

from sensorium.bringup import LOG_LEVELS, read_plan
from sensorium.ros.launching import node_actions
from sensorium.share import parameter_file


def start_nodes(context):
    value = {
        name: LaunchConfiguration(name).perform(context)
        for name in (
            "namespace", "use_sim_time", "params_file", "autostart", "log_level", "use_respawn",
        )
    }  # fmt: skip
    plans = read_plan(
        parameter_file(value["params_file"]),
        value["namespace"],
        use_sim_time=value["use_sim_time"] == "true",
        autostart=value["autostart"] == "true",
        log_level=value["log_level"],
    )
    return node_actions(plans, respawn=value["use_respawn"] == "true")


def generate_launch_description():
    launch_directory = Path(get_package_share_directory("sensorium_ros")) / "launch"
    flag = {"choices": ["true", "false"]}
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "namespace", default_value="", description="Namespace of the robot, e.g. robot1."
            ),
            DeclareLaunchArgument(
                "use_sim_time", default_value="false", description="Take time from /clock.", **flag
            ),
            DeclareLaunchArgument(
                "params_file",
                default_value="rendered",
                description="The robot's parameter file: a path, or the name of one in config/.",
            ),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                description="Nodes configure and activate themselves; false leaves that to a "
                "lifecycle manager.",
                **flag,
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                description="Severity of the log.",
                choices=list(LOG_LEVELS),
            ),
            DeclareLaunchArgument(
                "use_respawn", default_value="false", description="Restart dead nodes.", **flag
            ),
            DeclareLaunchArgument(
                "rviz", default_value="false", description="Open RViz as well.", **flag
            ),
            OpaqueFunction(function=start_nodes),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(launch_directory / "rviz.launch.py")),
                launch_arguments={
                    "namespace": LaunchConfiguration("namespace"),
                    "use_sim_time": LaunchConfiguration("use_sim_time"),
                }.items(),
                condition=IfCondition(LaunchConfiguration("rviz")),
            ),
        ]
    )
