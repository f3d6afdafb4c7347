"""The topics of a running camera driver as an RGB-D source: joined, rectified, registered."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from sensorium.configuration import ConfigurationError, parameter
from sensorium.frames import CameraModel, FrameError, RgbdFrame
from sensorium.rectification import rectified_camera, rectified_color, rectified_depth
from sensorium.registration import register_depth_to_color
from sensorium.ros.convert.camera_info import camera_from_info, is_calibrated
from sensorium.ros.convert.compressed import color_from_compressed, depth_from_compressed
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.header import stamp_from_time
from sensorium.ros.convert.image import color_from_image, depth_from_image
from sensorium.ros.diagnostics import Status
from sensorium.ros.inputs import MonitoredSubscription, resolved_topic
from sensorium.ros.qos import INPUT_QOS, QOS_NAMES, qos_profile
from sensorium.ros.stamps import StampGuard, StampVerdict
from sensorium.ros.sync import Synchronizer
from sensorium.ros.tf import TransformBuffer, TransformError
from sensorium.sources.source import ClosedOnExit, FrameNames, RejectedFrame, SourceFrame

_INFO_DEPTH = 5
# For transforms between the two cameras that move and are under way.
_TF_TIMEOUT_S = 0.1


@dataclass(frozen=True)
class TopicsConfiguration:
    """Parameters of the topic source."""

    color: str = parameter("color/image_raw", "colour image topic; empty for a depth-only camera")
    color_info: str = parameter("color/camera_info", "CameraInfo of the colour image")
    depth: str = parameter("depth/image_rect_raw", "depth image topic; empty for a colour camera")
    depth_info: str = parameter("depth/camera_info", "CameraInfo of the depth image")
    compressed: bool = parameter(
        False, "the images are sensor_msgs/CompressedImage (JPEG, PNG; compressedDepth PNG)"
    )
    qos: str = parameter(INPUT_QOS, "QoS of the subscriptions", choices=QOS_NAMES)
    sync_policy: str = parameter(
        "approximate", "how colour and depth are joined", choices=("exact", "approximate")
    )
    sync_slop_s: float = parameter(
        0.016, "largest difference of colour and depth stamps; below half a frame [s]",
        minimum=0.0, maximum=1.0,
    )  # fmt: skip

    @property
    def image_topics(self) -> dict[str, str]:
        """The image topics in use by kind ("color", "depth")."""
        topics = {"color": self.color, "depth": self.depth}
        return {kind: topic for kind, topic in topics.items() if topic}


def check_topics(node: Node, configuration: TopicsConfiguration) -> None:
    """Check the topic names before anything is subscribed.

    Raises:
        ConfigurationError: a name that is none, or no image topic at all.
    """
    if not configuration.image_topics:
        raise ConfigurationError(
            "parameters 'topics.color' and 'topics.depth' are both empty: name at least one"
        )
    for kind, topic in configuration.image_topics.items():
        resolved_topic(node, f"topics.{kind}", topic)
        resolved_topic(node, f"topics.{kind}_info", getattr(configuration, f"{kind}_info"))


class TopicSource(ClosedOnExit):
    """Joins a driver's topics into frames; the newest complete set waits to be read.

    Args:
        node: the node on which to subscribe.
        configuration: topics and synchronisation.
        names: the camera's name; frame ids come from the messages.
        transforms: where the pose of the depth camera in the colour camera is looked up when their
            frames differ.
    """

    live = True

    def __init__(
        self,
        node: Node,
        configuration: TopicsConfiguration,
        names: FrameNames,
        transforms: TransformBuffer,
    ) -> None:
        self._configuration = configuration
        self._names = names
        self._transforms = transforms
        self._infos: dict[str, CameraInfo] = {}
        self._condition = threading.Condition()
        self._newest: dict[str, Any] | None = None
        self._closed = False
        self._guards: dict[str, StampGuard] = {}
        self.superseded = self.disordered = self.clock_restarts = 0
        image_topics = configuration.image_topics
        slop_s = configuration.sync_slop_s if configuration.sync_policy == "approximate" else 0.0
        self._sync = (
            Synchronizer(tuple(image_topics), self._store, round(slop_s * 1e9))
            if len(image_topics) > 1
            else None
        )
        image_type = CompressedImage if configuration.compressed else Image
        info_topics = {"color": configuration.color_info, "depth": configuration.depth_info}
        self.inputs: dict[str, MonitoredSubscription] = {}
        for kind, topic in image_topics.items():
            self.inputs[kind] = MonitoredSubscription(
                node, image_type, topic, partial(self._take, kind),
                qos_profile(configuration.qos),
            )  # fmt: skip
            self.inputs[f"{kind}_info"] = MonitoredSubscription(
                node, CameraInfo, info_topics[kind], partial(self._take_info, kind),
                qos_profile(configuration.qos, _INFO_DEPTH),
            )  # fmt: skip

    @property
    def finished(self) -> bool:
        """True after close()."""
        return self._closed

    @property
    def status(self) -> str:
        """Which image has no partner, and by how much they miss each other; "" when all is well."""
        if self._sync is None or self._sync.counts.matched or not self._sync.counts.unmatched:
            return ""
        gap = self._sync.best_gap_ns
        best = "unknown" if gap is None else f"{gap / 1e6:.1f} ms"
        return (
            f"colour and depth never matched: best gap {best}, allowed "
            f"{self._configuration.sync_slop_s * 1e3:.1f} ms (topics.sync_slop_s)"
        )

    def describe(self, status: Status) -> None:
        """Add the inputs and the synchronisation to a status."""
        for kind, source in self.inputs.items():
            source.describe(status, kind)
        status.value("superseded", self.superseded)
        status.value("disordered", self.disordered)
        status.value("clock_restarts", self.clock_restarts)
        if self._sync is not None:
            counts = self._sync.counts
            for name in ("matched", "unmatched", "held"):
                status.value(f"sync.{name}", getattr(counts, name))
            if self._sync.best_gap_ns is not None:
                status.value("sync.best_gap_ms", self._sync.best_gap_ns / 1e6)

    def read(self, timeout_s: float) -> SourceFrame | RejectedFrame | None:
        """Return the newest set as a frame, a rejected frame, or None after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        with self._condition:
            while self._newest is None:
                remaining = deadline - time.monotonic()
                if self._closed or remaining <= 0:
                    return None
                self._condition.wait(remaining)
            images, self._newest = self._newest, None
        message = next(iter(images.values()))
        stamp_ns: int | None = None
        try:
            stamp_ns = stamp_from_time(message.header.stamp)
            return SourceFrame(self._frame(images, stamp_ns))
        except (ConversionError, FrameError) as error:
            return RejectedFrame(stamp_ns, message.header.frame_id, "unusable", str(error))
        except TransformError as error:
            return RejectedFrame(
                stamp_ns, message.header.frame_id, "not_registered",
                f"depth cannot be registered to colour: {error}; publish the transform between "
                "the two optical frames, or use the driver's aligned depth",
            )  # fmt: skip

    def close(self) -> None:
        """Destroy the subscriptions."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        for source in self.inputs.values():
            source.close()
        self.inputs = {}

    def _take(self, kind: str, message: Any) -> None:  # noqa: ANN401 - Image or CompressedImage
        stamp = message.header.stamp
        stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        verdict = self._guards.setdefault(kind, StampGuard()).check(stamp_ns)
        if verdict is StampVerdict.REJECT:
            self.disordered += 1
            return
        if verdict is StampVerdict.RESTART:
            # The other topic starts anew as well: it must not be measured by its old stamps.
            self._guards = {kind: self._guards[kind]}
            self._transforms.clear()
            self.clock_restarts += 1
            if self._sync is not None:
                self._sync.reset()
        if self._sync is None:
            self._store({kind: message})
        else:
            self._sync.add(kind, stamp_ns, message)

    def _take_info(self, kind: str, message: CameraInfo) -> None:
        self._infos[kind] = message

    def _store(self, images: dict[str, Any]) -> None:
        with self._condition:
            self.superseded += self._newest is not None
            self._newest = images
            self._condition.notify_all()

    def _frame(self, images: dict[str, Any], stamp_ns: int) -> RgbdFrame:
        color = depth_m = color_camera = depth_camera = None
        compressed = self._configuration.compressed
        frame_id = ""
        if "depth" in images:
            message = images["depth"]
            depth_m = (depth_from_compressed if compressed else depth_from_image)(message)
            raw_camera = self._camera("depth")
            depth_camera = rectified_camera(raw_camera)
            depth_m = rectified_depth(depth_m, raw_camera)
            frame_id = message.header.frame_id
        if "color" in images:
            message = images["color"]
            color = (color_from_compressed if compressed else color_from_image)(message)
            raw_camera = self._camera("color")
            color_camera = rectified_camera(raw_camera)
            color = rectified_color(color, raw_camera)
            if depth_m is not None and depth_camera is not None:
                same_frame = frame_id == message.header.frame_id
                if not (same_frame and depth_camera.same_geometry(color_camera)):
                    color_from_depth = self._transforms.lookup(
                        message.header.frame_id, frame_id, stamp_ns, _TF_TIMEOUT_S
                    )
                    depth_m = register_depth_to_color(
                        depth_m, depth_camera, color_camera, color_from_depth
                    )
                    depth_camera = color_camera
            frame_id = message.header.frame_id
        return RgbdFrame(
            stamp_ns=stamp_ns, camera_name=self._names.camera_name, optical_frame=frame_id,
            color=color, color_camera=color_camera, depth_m=depth_m, depth_camera=depth_camera,
        )  # fmt: skip

    def _camera(self, kind: str) -> CameraModel:
        topic = getattr(self._configuration, f"{kind}_info")
        message = self._infos.get(kind)
        if message is None:
            raise ConversionError(f"no CameraInfo of {kind} has arrived on '{topic}'")
        if not is_calibrated(message):
            raise ConversionError(
                f"the CameraInfo on '{topic}' is uncalibrated (K[0] = 0): calibrate the camera"
            )
        return camera_from_info(message)
