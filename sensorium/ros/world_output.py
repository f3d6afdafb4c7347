"""What a simulated world publishes: the topics of a robot, the clock, and the episode."""

from __future__ import annotations

from array import array

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from sensorium_ros.msg import SignalBlock, WorldState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from sensorium.frames import CameraModel, RgbdFrame
from sensorium.ros.convert.header import header, time_from_stamp
from sensorium.ros.convert.pose import stamped_transform
from sensorium.ros.qos import LATCHED_QOS, overriding_options, qos_profile
from sensorium.ros.rgbd_output import RgbdOutput
from sensorium.tabletop.arm import ARM_JOINTS, BASE_LINK, FINGER_JOINTS, link_poses
from sensorium.tabletop.force import (
    CONTACT_CLASSES,
    FORCE_CHANNELS,
    FORCE_FRAME,
    FORCE_UNITS,
    ForceBlock,
)
from sensorium.tabletop.world import Observation, TabletopWorld

_STATE_DEPTH = 50
_ONE_PER_CLASS = np.eye(len(CONTACT_CLASSES), dtype=np.float32)


class WorldOutput:
    """Publishes a tabletop world.

    Topics: ``<camera>/rgbd`` and the images beside it (see :class:`RgbdOutput`), ``joint_states``,
    ``robot_description`` (latched), ``~/state``, ``~/force``, ``~/contact_truth``, ``/clock``,
    ``/tf``.

    Args:
        node: the node.
        urdf: the arm.
        camera_name: name of the camera and of the namespace of its topics.
        qos: profile of the images.
        publish_tf: publish camera and links of the arm on /tf.
        publish_clock: publish /clock.
    """

    def __init__(
        self,
        node: Node,
        urdf: str,
        camera_name: str,
        qos: QoSProfile,
        *,
        publish_tf: bool,
        publish_clock: bool,
    ) -> None:
        self._node = node
        self._camera_name = camera_name
        self._rgbd = RgbdOutput(node, qos, publish_tf=publish_tf, prefix=f"{camera_name}/")
        reliable = qos_profile("reliable", _STATE_DEPTH)
        self._joints = node.create_publisher(
            JointState, "joint_states", reliable, qos_overriding_options=overriding_options()
        )
        self._state = node.create_publisher(WorldState, "~/state", reliable)
        self._force = node.create_publisher(SignalBlock, "~/force", reliable)
        self._contact = node.create_publisher(SignalBlock, "~/contact_truth", reliable)
        self._description = node.create_publisher(
            String, "robot_description", qos_profile(LATCHED_QOS)
        )
        self._clock = (
            node.create_publisher(Clock, "/clock", QoSProfile(depth=10)) if publish_clock else None
        )
        self._tf = node.create_publisher(TFMessage, "/tf", 100) if publish_tf else None
        self._description.publish(String(data=urdf))
        self.observations = 0

    def close(self) -> None:
        """Destroy the publishers."""
        self._rgbd.close()
        for publisher in (
            self._joints, self._state, self._force, self._contact, self._description, self._clock,
            self._tf,
        ):  # fmt: skip
            if publisher is not None:
                self._node.destroy_publisher(publisher)

    def state(self, world: TabletopWorld) -> None:
        """Publish clock, joint states, links, episode and the forces since the last call."""
        simulation, stamp_ns = world.simulation, world.now_ns
        if self._clock is not None:
            self._clock.publish(Clock(clock=time_from_stamp(stamp_ns)))
        fingers = simulation.fingers_m
        if self._tf is not None:
            transforms: list[TransformStamped] = [
                stamped_transform(pose, stamp_ns, parent, child)
                for parent, child, pose in link_poses(simulation.arm_rad, fingers)
            ]
            self._tf.publish(TFMessage(transforms=transforms))
        self._joints.publish(
            JointState(
                header=header(stamp_ns, BASE_LINK),
                name=[*ARM_JOINTS, *FINGER_JOINTS],
                position=[*simulation.arm_rad.tolist(), *fingers.tolist()],
                velocity=[*simulation.arm_velocity.tolist(), *simulation.finger_velocity.tolist()],
            )
        )
        force = world.take_force()
        if force is not None:
            self._publish_force(force)
        episode = world.episode
        self._state.publish(
            WorldState(
                header=header(stamp_ns, BASE_LINK),
                episode=episode.number,
                seed=episode.seed,
                task=episode.task.name,
                instruction=episode.instruction,
                step=world.steps,
                max_steps=world.options.max_steps,
                success=world.success,
                done=world.done,
            )
        )

    def _publish_force(self, force: ForceBlock) -> None:
        rate_hz = 1e9 / force.period_ns
        about = header(force.stamp_ns, FORCE_FRAME)
        self._force.publish(
            SignalBlock(
                header=about, rate_hz=rate_hz, channel_names=FORCE_CHANNELS, units=FORCE_UNITS,
                samples=array("f", force.samples.tobytes()),
            )
        )  # fmt: skip
        self._contact.publish(
            SignalBlock(
                header=about, rate_hz=rate_hz, channel_names=CONTACT_CLASSES,
                samples=array("f", _ONE_PER_CLASS[force.contact].tobytes()),
            )
        )  # fmt: skip

    def observation(self, observation: Observation) -> None:
        """Publish what the camera sees."""
        height_px, width_px = observation.depth_m.shape
        camera = CameraModel(width_px, height_px, observation.intrinsics)
        self._rgbd.publish(
            RgbdFrame(
                stamp_ns=observation.stamp_ns,
                camera_name=self._camera_name,
                optical_frame=f"{self._camera_name}_color_optical_frame",
                color=observation.rgb,
                color_camera=camera,
                depth_m=observation.depth_m,
                depth_camera=camera,
                world_frame=BASE_LINK,
                world_from_camera=observation.base_from_camera,
            )
        )
        self.observations += 1
