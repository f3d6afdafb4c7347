"""RGB-D frames out of a node: standard topics, the RgbdFrame message, TF, and in memory."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from sensorium_ros.msg import RgbdFrame as RgbdFrameMessage

from sensorium.frames import CameraModel, RgbdFrame
from sensorium.ros.convert.camera_info import info_from_camera
from sensorium.ros.convert.header import header
from sensorium.ros.convert.image import image_from_color, image_from_depth, image_from_labels
from sensorium.ros.convert.pose import stamped_transform
from sensorium.ros.convert.rgbd_frame import message_from_frame
from sensorium.ros.intra import BUS
from sensorium.ros.qos import overriding_options

_SETTLE_S = 0.5
_POLL_S = 0.02


class RgbdOutput:
    """Publishes the frames of one camera under the node's namespace.

    Topics: ``rgbd``; ``color/image_raw`` and ``color/camera_info``;
    ``aligned_depth_to_color/image_raw`` and ``/camera_info`` for depth registered to colour, or
    ``depth/image_rect_raw`` and ``depth/camera_info`` for depth in its own frame; /tf when asked.
    A message is only made when somebody listens.

    Args:
        node: the node.
        qos: profile of the image topics.
        publish_tf: publish the camera's pose in its world frame on /tf.
        only_rgbd: publish the RgbdFrame alone: the images come from a driver that publishes them.
        prefix: put before the names of the topics, e.g. "camera/".
    """

    def __init__(
        self,
        node: Node,
        qos: QoSProfile,
        *,
        publish_tf: bool,
        only_rgbd: bool = False,
        prefix: str = "",
    ) -> None:
        self._node = node
        self._qos = qos
        self._publishers = {
            topic: node.create_publisher(
                message_type,
                prefix + topic,
                qos,
                qos_overriding_options=overriding_options(),
            )
            for topic, message_type in (
                ("rgbd", RgbdFrameMessage),
                ("color/image_raw", Image),
                ("color/camera_info", CameraInfo),
                ("aligned_depth_to_color/image_raw", Image),
                ("aligned_depth_to_color/camera_info", CameraInfo),
                ("depth/image_rect_raw", Image),
                ("depth/camera_info", CameraInfo),
            )
            if topic == "rgbd" or not only_rgbd
        }
        self._tf = None
        if publish_tf:
            from tf2_msgs.msg import TFMessage

            self._tf = node.create_publisher(TFMessage, "/tf", 100)
        self._topic = self._publishers["rgbd"].topic_name
        BUS.offer(self._topic)
        self.published = 0

    def close(self) -> None:
        """Destroy the publishers."""
        BUS.withdraw(self._topic)
        for publisher in (*self._publishers.values(), self._tf):
            if publisher is not None:
                self._node.destroy_publisher(publisher)

    def publish(self, frame: RgbdFrame, color_apart: RgbdFrame | None = None) -> None:
        """Publish a frame.

        Args:
            frame: colour and depth on one grid, or one of them alone.
            color_apart: the colour image of the moment when it is on a grid of its own.

        Raises:
            ConversionError: a stamp that ROS cannot hold.
        """
        if self._tf is not None and frame.world_from_camera is not None:
            self._publish_tf(frame)
        BUS.publish(self._topic, frame)
        if self._wanted("rgbd"):
            self._publishers["rgbd"].publish(message_from_frame(frame))
        self.published += 1
        registered = frame.color is not None
        color = frame if registered else color_apart
        if color is not None and color.color is not None:
            self._image(color, "color/image_raw", image_from_color, color.color)
            self._info(color, "color/camera_info", color.color_camera)
        if frame.depth_m is not None:
            group, image = (
                ("aligned_depth_to_color", "image_raw")
                if registered
                else ("depth", "image_rect_raw")
            )
            self._image(frame, f"{group}/{image}", image_from_depth, frame.depth_m)
            self._info(frame, f"{group}/camera_info", frame.depth_camera)

    def wait_for_subscriber(self, wait_s: float, running: threading.Event) -> None:
        """Wait up to `wait_s` until somebody listens to frames or images, or `running` is cleared.

        So that a recording is not begun before those who want it have found it.
        """
        deadline_s = time.monotonic() + wait_s
        images = [topic for topic in self._publishers if not topic.endswith("camera_info")]
        while running.is_set() and time.monotonic() < deadline_s:
            if BUS.has_receiver(self._topic):
                return
            if any(self._wanted(topic) for topic in images):
                # A subscriber is matched a little later on its own side; best effort would lose
                # what is published before.
                time.sleep(_SETTLE_S)
                return
            time.sleep(_POLL_S)

    def _wanted(self, topic: str) -> bool:
        publisher = self._publishers.get(topic)
        return publisher is not None and bool(publisher.get_subscription_count() > 0)

    def _image(self, frame: RgbdFrame, topic: str, convert: Any, pixels: NDArray[Any]) -> None:  # noqa: ANN401
        if self._wanted(topic):
            self._publishers[topic].publish(convert(pixels, frame.stamp_ns, frame.optical_frame))

    def _info(self, frame: RgbdFrame, topic: str, camera: CameraModel | None) -> None:
        if not self._wanted(topic):
            return
        if camera is None:
            # K[0] = 0 is how ROS says that the camera is not calibrated.
            message = CameraInfo(header=header(frame.stamp_ns, frame.optical_frame))
        else:
            message = info_from_camera(camera, frame.stamp_ns, frame.optical_frame)
        self._publishers[topic].publish(message)

    def _publish_tf(self, frame: RgbdFrame) -> None:
        from tf2_msgs.msg import TFMessage

        assert self._tf is not None  # noqa: S101
        assert frame.world_from_camera is not None  # noqa: S101
        transform = stamped_transform(
            frame.world_from_camera, frame.stamp_ns, frame.world_frame, frame.optical_frame
        )
        self._tf.publish(TFMessage(transforms=[transform]))


class GroundTruthOutput:
    """Publishes what only a renderer knows, under ``ground_truth/``.

    Topics: ``depth`` (32FC1 [m]), ``class_ids`` and ``instance_ids`` (mono8 or mono16).
    """

    def __init__(self, node: Node, qos: QoSProfile) -> None:
        self._node = node
        self._publishers = {
            name: node.create_publisher(Image, f"ground_truth/{name}", qos)
            for name in ("depth", "class_ids", "instance_ids")
        }

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def publish(
        self,
        frame: RgbdFrame,
        depth_m: NDArray[np.float32],
        class_ids: NDArray[np.uint8],
        instance_ids: NDArray[np.uint16],
    ) -> None:
        """Publish the truth of a frame under its stamp and frame id."""
        for name, pixels, convert in (
            ("depth", depth_m, image_from_depth),
            ("class_ids", class_ids, image_from_labels),
            ("instance_ids", instance_ids, image_from_labels),
        ):
            publisher = self._publishers[name]
            if publisher.get_subscription_count() > 0:
                publisher.publish(convert(pixels, frame.stamp_ns, frame.optical_frame))
