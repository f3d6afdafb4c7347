"""Open RViz with one of the shipped views; closing RViz ends the launch."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory("sensorium_ros"))


def view_file(name_or_path):
    """Path of a view given by path, or by the name of a shipped one."""
    shipped = SHARE / "rviz" / f"{name_or_path}.rviz"
    return str(shipped) if shipped.is_file() else name_or_path


def open_rviz(context):
    namespace = LaunchConfiguration("namespace").perform(context).strip("/")
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        namespace=namespace,
        arguments=["-d", view_file(LaunchConfiguration("rviz_config").perform(context))],
        parameters=[
            {"use_sim_time": LaunchConfiguration("use_sim_time").perform(context) == "true"}
        ],
        remappings=[
            (f"/{topic}", f"/{namespace}/{topic}") for topic in ("tf", "tf_static") if namespace
        ],
        output="screen",
    )
    closed = OnProcessExit(
        target_action=rviz, on_exit=EmitEvent(event=Shutdown(reason="RViz was closed"))
    )
    return [rviz, RegisterEventHandler(closed)]


def generate_launch_description():
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "namespace", default_value="", description="Namespace of the robot, e.g. robot1."
            ),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value="false",
                description="Take time from /clock.",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument(
                "rviz_config",
                default_value="geometry",
                description="Path of an .rviz file, or a shipped view: geometry, policy, all.",
            ),
            OpaqueFunction(function=open_rviz),
        ]
    )
