"""Meaning on geometry: labelled points, and objects in the world that keep their identity."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from std_srvs.srv import Trigger

from sensorium.configuration import parameter
from sensorium.objects.configuration import ObjectsConfiguration
from sensorium.objects.keeper import KnownWorld, ObjectKeeper
from sensorium.poses import Float64
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.labelled_view import view_from_messages
from sensorium.ros.diagnostics import Diagnostics, Durations, RateMonitor, Rejections, Status
from sensorium.ros.inputs import WaitingReport, resolved_topic
from sensorium.ros.joined_input import JoinedInput, JoinedPicture
from sensorium.ros.lifecycle import ManagedNode
from sensorium.ros.object_query import ObjectQuery
from sensorium.ros.objects_output import ObjectsOutput
from sensorium.ros.qos import OUTPUT_QOS, QOS_NAMES, qos_profile
from sensorium.ros.running import run
from sensorium.ros.tf import TransformBuffer, TransformError, TransformListener
from sensorium.ros.worker import NewestOnlyWorker


@dataclass(frozen=True)
class Configuration:
    """Parameters of the node."""

    cloud: str = parameter(
        "geometry/points", "Topic of organised clouds; relative to the node's namespace."
    )
    segmentation: str = parameter(
        "segmentation", "Name of the segmentation node that sees the same pictures; relative to "
        "the node's namespace.",
    )  # fmt: skip
    map_frame: str = parameter("map", "Fixed frame of the objects; its z axis points up.")
    tf_timeout_s: float = parameter(
        0.1, "How long to wait for transforms that are under way [s].", minimum=0.0, maximum=5.0,
        read_only=False,
    )  # fmt: skip
    buffer: int = parameter(
        60, "Clouds that wait for their segmentation; one of 640x480 has 6 MB.", minimum=1,
        maximum=10000,
    )  # fmt: skip
    query_timeout_s: float = parameter(
        10.0, "How long the segmentation node may take to encode a text [s].", minimum=0.1,
        maximum=600.0,
    )  # fmt: skip
    qos: str = parameter(
        OUTPUT_QOS, "QoS of the subscriptions; a lost message loses the picture.", choices=QOS_NAMES
    )
    qos_depth: int = parameter(
        10, "Messages the transport keeps while we are held up.", minimum=1, maximum=100
    )
    waiting_report_s: float = parameter(
        5.0, "Silence after which the node says what it waits for [s].", minimum=0.5, maximum=3600.0
    )
    objects: ObjectsConfiguration = field(default_factory=ObjectsConfiguration)


class SemanticCloud(ManagedNode[Configuration]):
    """Joins clouds and segments, publishes labelled points and objects."""

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - rclpy's own
        self._objects: ObjectKeeper | None = None
        self._output: ObjectsOutput | None = None
        self._input: JoinedInput | None = None
        self._listener: TransformListener | None = None
        self._transforms = TransformBuffer()
        self._no_pose = 0
        self._pose_problem = ""
        self._published = RateMonitor()
        self._latency, self._age = Durations(), Durations()
        super().__init__("semantic_cloud", Configuration, **arguments)
        self._rejections = Rejections(self)
        self._pictures: NewestOnlyWorker[JoinedPicture] = NewestOnlyWorker(
            "semantic_cloud", self._process, self._report
        )
        self._waiting = WaitingReport(
            self, lambda: list(self._input.inputs.values()) if self._input else [],
            self.configuration.waiting_report_s,
            lambda: self._input.notes() if self._input else (),
        )  # fmt: skip
        self._query = ObjectQuery(
            self, lambda: self._objects.world if self._objects else KnownWorld()
        )
        self.create_service(
            Trigger, "~/reset", self._reset, callback_group=ReentrantCallbackGroup()
        )
        self._diagnostics = Diagnostics(self, "objects", self._fill)

    def set_up(self) -> None:
        """Make the objects, the publishers and the client of the encoder."""
        configuration = self.configuration
        resolved_topic(self, "cloud", configuration.cloud)
        segments = resolved_topic(self, "segmentation", f"{configuration.segmentation}/segments")
        self._objects = ObjectKeeper(configuration.objects)
        self._output = ObjectsOutput(self)
        if not self._output.has_vision_messages:
            self.get_logger().info("vision_msgs is not installed: no detections")
        encoder = segments.removesuffix("/segments") + "/encode_text"
        self._query.open(encoder, configuration.query_timeout_s, configuration.map_frame)

    def start(self) -> None:
        """Subscribe."""
        configuration = self.configuration
        self._listener = TransformListener(self, self._transforms)
        self._pictures.start()
        self._input = JoinedInput(
            self, configuration.cloud, configuration.segmentation, self._pictures.submit,
            self._restart, self._rejections.add,
            lambda: qos_profile(configuration.qos, configuration.qos_depth), configuration.buffer,
        )  # fmt: skip
        self._waiting.output()

    def stop(self) -> None:
        """Unsubscribe and finish the picture in hand."""
        if self._input is not None:
            self._input.close()
            self._input = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._pictures.stop()

    def tear_down(self) -> None:
        """Free the objects, the publishers and the client."""
        self._query.close()
        if self._output is not None:
            self._output.close()
        self._output = self._objects = None

    def apply_changes(self, old: Configuration, new: Configuration) -> None:
        """Apply the run-time parameters of the objects."""
        if self._objects is not None and new.objects != old.objects:
            self._objects.change(new.objects)

    def _process(self, joined: JoinedPicture) -> None:
        started = time.monotonic()
        objects, output, settings = self._objects, self._output, self.configuration
        assert objects is not None  # noqa: S101 - the worker runs only while configured
        assert output is not None  # noqa: S101
        try:
            view = view_from_messages(
                joined.points, joined.panoptic, joined.confidence, joined.segments
            )
        except ConversionError as error:
            self._rejections.add("unusable", str(error))
            return
        output.publish_points(view, joined.points)
        pose = self._pose(joined.points.header.frame_id, view.stamp_ns)
        if pose is not None:
            objects.update(view, pose)
        output.publish_objects(
            objects.world.objects, view.stamp_ns, settings.map_frame, view.vocabulary_version
        )
        self._published.tick()
        self._waiting.output()
        self._latency.add(time.monotonic() - started)
        self._age.add((self.get_clock().now().nanoseconds - view.stamp_ns) / 1e9)

    def _pose(self, optical_frame: str, stamp_ns: int) -> Float64 | None:
        """Where the picture was taken, in the map; None, and said, when that is not known."""
        settings = self.configuration
        try:
            pose = self._transforms.lookup(
                settings.map_frame, optical_frame, stamp_ns, settings.tf_timeout_s
            )
        except TransformError as error:
            self._no_pose += 1
            self._pose_problem = f"no pose of '{optical_frame}', objects stay as they are: {error}"
            self.get_logger().warning(self._pose_problem, throttle_duration_sec=5.0)
            return None
        self._pose_problem = ""
        return pose

    def _restart(self) -> None:
        self.get_logger().warning("stamps went back: time has started anew, objects are forgotten")
        self._transforms.clear()
        self._forget()

    def _forget(self) -> int:
        return self._objects.forget() if self._objects is not None else 0

    def _reset(self, _request: Any, response: Any) -> Any:  # noqa: ANN401 - generated types
        response.success, response.message = True, f"{self._forget()} objects are forgotten"
        return response

    def _report(self, _joined: JoinedPicture, error: Exception) -> None:
        text = "".join(traceback.format_exception(error))
        self.get_logger().error(f"a picture failed:\n{text}", throttle_duration_sec=5.0)

    def _fill(self, status: Status) -> None:
        counts = self._pictures.counts
        status.value("joined", counts.received)
        status.value("superseded", counts.superseded)
        status.value("failed", counts.failed)
        status.value("processed", self._published.count)
        self._rejections.describe(status)
        status.value("rate_hz", self._published.rate_hz)
        self._latency.describe(status, "latency")
        self._age.describe(status, "age")
        if self._input is not None:
            self._input.describe(status)
        status.value("without_pose", self._no_pose)
        objects = self._objects
        if objects is not None:
            status.value("objects", len(objects.world.objects))
            status.value("objects.voxels", objects.voxels)
            for reason, count in sorted(objects.dropped.items()):
                status.value(f"objects.dropped.{reason}", count)
        self._query.describe(status)
        if self._pose_problem:
            status.warn(self._pose_problem)
        if counts.failed:
            status.error(f"{counts.failed} pictures failed inside the node; see its log")
        if self.last_failure:
            status.error(self.last_failure)
        if self.is_active:
            self._waiting.describe(status)


def make_node(**arguments: Any) -> SemanticCloud:  # noqa: ANN401
    """Make the node."""
    return SemanticCloud(**arguments)


def main() -> None:
    """Run the node."""
    run([make_node])


if __name__ == "__main__":
    main()
