"""An RGB-D camera: a RealSense, a recording, a rendered scene, or the topics of a driver."""

from __future__ import annotations

import threading
import time
import traceback
from dataclasses import dataclass, field
from typing import Any

from sensorium.configuration import ConfigurationError, parameter
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.diagnostics import Diagnostics, Durations, RateMonitor, Rejections, Status
from sensorium.ros.inputs import WaitingReport
from sensorium.ros.lifecycle import ManagedNode
from sensorium.ros.pace import Pace, shifted
from sensorium.ros.qos import OUTPUT_QOS, QOS_NAMES, qos_profile
from sensorium.ros.rgbd_output import GroundTruthOutput, RgbdOutput
from sensorium.ros.running import run
from sensorium.ros.tf import TransformBuffer, TransformListener
from sensorium.ros.topic_source import TopicsConfiguration, TopicSource, check_topics
from sensorium.sources import (
    FrameNames,
    RealsenseConfiguration,
    RecordingConfiguration,
    RejectedFrame,
    RenderedConfiguration,
    RgbdSource,
    SourceConfiguration,
    SourceFrame,
    open_source,
)

_READ_TIMEOUT_S = 0.2


@dataclass(frozen=True)
class Configuration:
    """Parameters of the node."""

    source: str = parameter(
        "rendered", "Where frames come from.",
        choices=("rendered", "recording", "realsense", "topics"),
    )  # fmt: skip
    camera_name: str = parameter("camera", "Name of the camera, unique on the robot.")
    color_optical_frame: str = parameter(
        "camera_color_optical_frame", "Frame of colour and of depth registered to it."
    )
    depth_optical_frame: str = parameter(
        "camera_depth_optical_frame", "Frame of depth that is not registered to colour."
    )
    world_frame: str = parameter("map", "Fixed frame of the poses that a source has.")
    publish_tf: bool = parameter(
        True, "Publish world_frame <- camera on /tf when the source has poses."
    )
    speed: float = parameter(
        1.0, "Pace of recordings and rendered scenes: 1 is real time, 0 as fast as possible.",
        minimum=0.0, maximum=1000.0,
    )  # fmt: skip
    restamp: bool = parameter(
        True, "Recordings and rendered scenes: shift the stamps so that the first frame is now."
    )
    wait_for_subscribers_s: float = parameter(
        0.0, "Recordings and rendered scenes: longest wait for a subscriber before the start [s].",
        minimum=0.0, maximum=3600.0,
    )  # fmt: skip
    qos: str = parameter(OUTPUT_QOS, "QoS of the published images.", choices=QOS_NAMES)
    waiting_report_s: float = parameter(
        5.0, "Silence after which the node says what it waits for [s].", minimum=0.5, maximum=3600.0
    )
    rendered: RenderedConfiguration = field(default_factory=RenderedConfiguration)
    recording: RecordingConfiguration = field(default_factory=RecordingConfiguration)
    realsense: RealsenseConfiguration = field(default_factory=RealsenseConfiguration)
    topics: TopicsConfiguration = field(default_factory=TopicsConfiguration)


class RgbdCamera(ManagedNode[Configuration]):
    """Publishes one camera's frames: ``rgbd``, standard image topics, TF."""

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - rclpy's own
        self._source: RgbdSource | None = None
        self._output: RgbdOutput | None = None
        self._truth: GroundTruthOutput | None = None
        self._listener: TransformListener | None = None
        self._thread: threading.Thread | None = None
        self._running = threading.Event()
        self._transforms = TransformBuffer()
        self._rate = RateMonitor()
        self._work = Durations()
        self._pace: Pace | None = None
        super().__init__("rgbd_camera", Configuration, **arguments)
        self._rejections = Rejections(self)
        self._waiting = WaitingReport(
            self, self._inputs, self.configuration.waiting_report_s, self._source_notes
        )
        self._diagnostics = Diagnostics(self, self.configuration.camera_name, self._fill)

    def set_up(self) -> None:
        """Make the publishers and open what can fail, so that configure reports it."""
        configuration = self.configuration
        if not configuration.camera_name:
            raise ConfigurationError("parameter 'camera_name' is empty; name the camera")
        from_topics = configuration.source == "topics"
        if from_topics:
            check_topics(self, configuration.topics)
        self._output = RgbdOutput(
            self, qos_profile(configuration.qos), publish_tf=configuration.publish_tf,
            only_rgbd=from_topics,
        )  # fmt: skip
        if configuration.source == "rendered":
            self._truth = GroundTruthOutput(self, qos_profile(configuration.qos))
        if not from_topics:
            self._source = self._open()

    def start(self) -> None:
        """Begin to publish."""
        if self.configuration.source == "topics":
            self._listener = TransformListener(self, self._transforms)
            self._source = TopicSource(
                self, self.configuration.topics, self._names(), self._transforms
            )
        elif self._source is None or self._source.finished:
            self._source = self._open()
        self._pace = None
        self._running.set()
        self._thread = threading.Thread(target=self._publish_all, name="rgbd", daemon=True)
        self._thread.start()
        self._waiting.output()

    def stop(self) -> None:
        """End publishing; a recording starts anew at the next activation."""
        self._running.clear()
        if self._thread is not None:
            self._thread.join(5.0)
            self._thread = None
        if self._source is not None:
            self._source.close()
            self._source = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def tear_down(self) -> None:
        """Release the source and the publishers."""
        for part in (self._source, self._output, self._truth):
            if part is not None:
                part.close()
        self._source = self._output = self._truth = None

    def _names(self) -> FrameNames:
        c = self.configuration
        return FrameNames(
            c.camera_name, c.color_optical_frame, c.depth_optical_frame, c.world_frame
        )

    def _open(self) -> RgbdSource:
        c = self.configuration
        chosen = SourceConfiguration(c.source, c.rendered, c.recording, c.realsense)
        return open_source(chosen, self._names())

    def _publish_all(self) -> None:
        source = self._source
        assert source is not None  # noqa: S101 - start() opened it
        assert self._output is not None  # noqa: S101 - made by set_up
        configuration = self.configuration
        if not source.live:
            self._output.wait_for_subscriber(configuration.wait_for_subscribers_s, self._running)
        self._pace = pace = Pace(configuration.speed, self._running)
        while self._running.is_set() and not source.finished:
            try:
                self._publish_next(source, pace)
            except Exception:  # one frame must not silence the camera for good
                self._rejections.add("failed", traceback.format_exc(limit=-2))
                time.sleep(_READ_TIMEOUT_S)
        if source.finished and self._running.is_set():
            self.get_logger().info(f"source '{configuration.source}' has ended")

    def _publish_next(self, source: RgbdSource, pace: Pace) -> None:
        result = source.read(_READ_TIMEOUT_S)
        if isinstance(result, RejectedFrame):
            self._rejections.add(result.reason, result.detail)
        elif result is not None:
            shift_ns = 0
            if not source.live:
                now_ns = self.get_clock().now().nanoseconds
                restamped_ns = now_ns if self.configuration.restamp else None
                shift_ns = pace.wait(result.frame.stamp_ns, restamped_ns)
            self._publish(result, shift_ns)

    def _publish(self, result: SourceFrame, shift_ns: int) -> None:
        started = time.monotonic()
        frame = shifted(result.frame, shift_ns)
        apart = None if result.color_apart is None else shifted(result.color_apart, shift_ns)
        assert self._output is not None  # noqa: S101 - made by set_up
        try:
            self._output.publish(frame, apart)
            if self._truth is not None and result.truth is not None:
                truth = result.truth
                self._truth.publish(frame, truth.depth_m, truth.class_ids, truth.instance_ids)
        except ConversionError as error:
            self._rejections.add("stamp", str(error))
            return
        if result.apart_reason:
            self.get_logger().info(
                f"colour is published apart from depth: {result.apart_reason}", once=True
            )
        self._rate.tick()
        self._work.add(time.monotonic() - started)
        self._waiting.output()

    def _inputs(self) -> list[Any]:
        return list(self._source.inputs.values()) if isinstance(self._source, TopicSource) else []

    def _source_notes(self) -> list[str]:
        notes = [self._source.status] if self._source is not None and self._source.status else []
        return [*notes, "a subscriber (wait_for_subscribers_s)"] if self._pace is None else notes

    def _fill(self, status: Status) -> None:
        status.value("source", self.configuration.source)
        status.value("published", self._rate.count)
        status.value("rate_hz", self._rate.rate_hz)
        status.value("late", self._pace.late if self._pace else 0)
        self._work.describe(status, "publish")
        self._rejections.describe(status)
        if self.last_failure:
            status.error(self.last_failure)
        source = self._source
        if source is not None and source.status:
            status.warn(source.status)
        if isinstance(source, TopicSource):
            source.describe(status)
        if self.is_active and source is not None and not source.finished:
            self._waiting.describe(status)


def make_node(**arguments: Any) -> RgbdCamera:  # noqa: ANN401
    """Make the node."""
    return RgbdCamera(**arguments)


def main() -> None:
    """Run the node."""
    run([make_node])


if __name__ == "__main__":
    main()
