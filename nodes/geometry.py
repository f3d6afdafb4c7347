"""Metric geometry from RGB-D frames: points, depth, tokens, odometry, and a fused map."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field
from typing import Any

import torch

from sensorium.configuration import ConfigurationError, parameter
from sensorium.device import DEVICES, chosen_device
from sensorium.geometry.backend import GeometryBackend
from sensorium.geometry.backends import BACKENDS, make_backend
from sensorium.geometry.map_keeper import MapConfiguration
from sensorium.geometry.omnivggt_configuration import OmniVGGTConfiguration
from sensorium.geometry.omnivggt_memory import GeometryMemoryError, memory_errors
from sensorium.geometry.sensor import SensorConfiguration
from sensorium.geometry.views import ViewRefused
from sensorium.ros.backend_report import BackendReport
from sensorium.ros.diagnostics import Diagnostics, Durations, RateMonitor, Rejections, Status
from sensorium.ros.geometry_output import GeometryOutput
from sensorium.ros.inputs import WaitingReport, resolved_topic
from sensorium.ros.lifecycle import ManagedNode
from sensorium.ros.map_service import MapService
from sensorium.ros.odometry_output import OdometryOutput
from sensorium.ros.qos import INPUT_QOS, QOS_NAMES, qos_profile
from sensorium.ros.rgbd_input import ReceivedFrame, RgbdInput
from sensorium.ros.robot_filter import RobotFilter, RobotFilterConfiguration
from sensorium.ros.running import run
from sensorium.ros.tf import TransformBuffer, TransformListener
from sensorium.ros.view_reader import ViewReader
from sensorium.ros.worker import NewestOnlyWorker

_WARM_UP_PX = (640, 480)
# A window of the published model takes many seconds on a CPU.
_STOP_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Configuration:
    """Parameters of the node."""

    backend: str = parameter("sensor", "How geometry is made.", choices=BACKENDS)
    rgbd_topics: tuple[str, ...] = parameter(
        ("camera/rgbd",), "RgbdFrame topics, one per camera; relative to the node's namespace."
    )
    map_frame: str = parameter("map", "Fixed frame in which the map is fused.")
    tf_timeout_s: float = parameter(
        0.1, "How long to wait for transforms that are under way [s].", minimum=0.0, maximum=5.0,
        read_only=False,
    )  # fmt: skip
    qos: str = parameter(INPUT_QOS, "QoS of the subscriptions.", choices=QOS_NAMES)
    qos_depth: int = parameter(
        30, "Frames the transport keeps while we are held up; beyond that frames are lost.",
        minimum=1, maximum=100,
    )  # fmt: skip
    device: str = parameter("auto", "Where to compute; auto takes a GPU if any.", choices=DEVICES)
    threads: int = parameter(0, "CPU threads of torch; 0 leaves its default.", minimum=0,
                             maximum=256)  # fmt: skip
    waiting_report_s: float = parameter(
        5.0, "Silence after which the node says what it waits for [s].", minimum=0.5, maximum=3600.0
    )
    sensor: SensorConfiguration = field(default_factory=SensorConfiguration)
    omnivggt: OmniVGGTConfiguration = field(default_factory=OmniVGGTConfiguration)
    map: MapConfiguration = field(default_factory=MapConfiguration)
    self_filter: RobotFilterConfiguration = field(default_factory=RobotFilterConfiguration)


class Geometry(ManagedNode[Configuration]):
    """Takes RGB-D frames, publishes geometry, keeps a map."""

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - rclpy's own
        self._backend: GeometryBackend | None = None
        self._output: GeometryOutput | None = None
        self._odometry: OdometryOutput | None = None
        self._map: MapService | None = None
        self._listener: TransformListener | None = None
        self._inputs: list[RgbdInput] = []
        self._received_before = self._lost_before = 0
        self._transforms = TransformBuffer()
        self._published = RateMonitor()
        self._latency, self._age = Durations(), Durations()
        super().__init__("geometry", Configuration, **arguments)
        self._reader = ViewReader(self, self._transforms, self._restart)
        self._report_of_backend = BackendReport(self)
        self._rejections = Rejections(self)
        self._frames: NewestOnlyWorker[tuple[str, ReceivedFrame]] = NewestOnlyWorker(
            "geometry", self._process, self._report
        )
        self._waiting = WaitingReport(
            self, lambda: self._inputs, self.configuration.waiting_report_s,
            lambda: self._report_of_backend.missing,
        )  # fmt: skip
        self._diagnostics = Diagnostics(self, self.configuration.backend, self._fill)

    def set_up(self) -> None:
        """Make the backend, the map and the publishers; warm up."""
        configuration = self.configuration
        if not configuration.rgbd_topics:
            raise ConfigurationError("parameter 'rgbd_topics' is empty; name at least one topic")
        topics = [resolved_topic(self, "rgbd_topics", name) for name in configuration.rgbd_topics]
        if len(set(topics)) < len(topics):
            raise ConfigurationError(f"parameter 'rgbd_topics' names a topic twice: {topics}")
        if configuration.threads:
            torch.set_num_threads(configuration.threads)
        device = chosen_device(configuration.device)
        backend = self._backend = make_backend(
            configuration.backend, configuration.sensor, configuration.omnivggt, device
        )
        backend.configure()
        if backend.notice:
            self.get_logger().warning(backend.notice)
        backend.warm_up(*_WARM_UP_PX)
        self._reader.expect(backend.needs_depth)
        output = self._output = GeometryOutput(self)
        output.announce_tokens(backend.token_layout, self.get_clock().now().nanoseconds)
        odometry = configuration.omnivggt.odometry
        if configuration.backend == "omnivggt" and odometry.enabled:
            self._odometry = OdometryOutput(self, publish_tf=odometry.publish_tf)
        if configuration.map.enabled:
            self._map = MapService(
                self, configuration.map, configuration.map_frame, device,
                RobotFilter(self, configuration.self_filter, self._transforms),
                lambda points, stamp_ns: output.publish_map(
                    points, stamp_ns, configuration.map_frame
                ),
            )  # fmt: skip

    def start(self) -> None:
        """Subscribe."""
        configuration = self.configuration
        self._listener = TransformListener(self, self._transforms)
        self._frames.start()
        for topic in configuration.rgbd_topics:
            qos = qos_profile(configuration.qos, configuration.qos_depth)
            self._inputs.append(RgbdInput(self, topic, self._store, qos))
        self._waiting.output()

    def stop(self) -> None:
        """Unsubscribe and finish the frame in hand."""
        for source in self._inputs:
            self._received_before += source.received
            self._lost_before += source.lost
            source.close()
        self._inputs = []
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._frames.stop(_STOP_TIMEOUT_S)

    def tear_down(self) -> None:
        """Free the backend, the map and the publishers."""
        if self._map is not None:
            self._map.close()
        for output in (self._output, self._odometry):
            if output is not None:
                output.close()
        self._report_of_backend.clear()
        if self._backend is not None:
            self._backend.release()
        self._map = self._output = self._odometry = self._backend = None

    def apply_changes(self, old: Configuration, new: Configuration) -> None:
        """Apply the map's run-time parameters."""
        if self._map is not None and new.map != old.map:
            try:
                self._map.change(new.map)
            except ValueError as error:
                raise ConfigurationError(str(error)) from error

    def _store(self, topic: str, received: ReceivedFrame) -> None:
        self._frames.submit((topic, received), topic)

    def _process(self, item: tuple[str, ReceivedFrame]) -> None:
        topic, received = item
        started = time.monotonic()
        backend, output = self._backend, self._output
        assert backend is not None and output is not None  # noqa: S101 - configured by now
        settings = self.configuration
        try:
            view = self._reader.read(topic, received, settings.map_frame, settings.tf_timeout_s)
            with memory_errors("while processing a frame", "lower window, input or map"):
                result = backend.add(view)
        except ViewRefused as refusal:
            self._rejections.add(refusal.reason, str(refusal))
            return
        self._report_of_backend.note(topic, result)
        if result.newest is None:
            self._rejections.add("incomplete", "; ".join(result.missing))
            return
        output.publish(result.newest)
        if self._odometry is not None:
            self._odometry.publish(result.newest)
        self._published.tick()
        self._waiting.output()
        self._latency.add(time.monotonic() - started)
        self._age.add((self.get_clock().now().nanoseconds - view.stamp_ns) / 1e9)
        if self._map is not None:
            self._map.add(result.newest)

    def _restart(self) -> None:
        if self._backend is not None:
            self._backend.reset()

    def _report(self, item: tuple[str, ReceivedFrame], error: Exception) -> None:
        text = "".join(traceback.format_exception(error))
        self.get_logger().error(f"frame of {item[0]} failed:\n{text}", throttle_duration_sec=5.0)
        if isinstance(error, GeometryMemoryError):
            self.give_up(error)

    def _fill(self, status: Status) -> None:
        counts = self._frames.counts
        status.value("received", self._received_before + sum(s.received for s in self._inputs))
        status.value("lost", self._lost_before + sum(s.lost for s in self._inputs))
        status.value("superseded", counts.superseded)
        status.value("failed", counts.failed)
        status.value("processed", self._published.count)
        self._rejections.describe(status)
        status.value("rate_hz", self._published.rate_hz)
        self._latency.describe(status, "latency")
        self._age.describe(status, "age")
        for index, source in enumerate(self._inputs):
            source.describe(status, f"input{index}")
        if counts.failed:
            status.error(f"{counts.failed} frames failed inside the node; see its log")
        self._reader.describe(status)
        self._report_of_backend.describe(status)
        if self._map is not None:
            self._map.describe(status)
        if self.last_failure:
            status.error(self.last_failure)
        if self.is_active:
            self._waiting.describe(status)


def make_node(**arguments: Any) -> Geometry:  # noqa: ANN401
    """Make the node."""
    return Geometry(**arguments)


def main() -> None:
    """Run the node."""
    run([make_node])


if __name__ == "__main__":
    main()
