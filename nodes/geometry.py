"""Metric geometry from RGB-D frames: points, depth, tokens, and a fused map."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field
from typing import Any

import torch

from sensorium.configuration import ConfigurationError, parameter
from sensorium.device import DEVICES, chosen_device
from sensorium.geometry.backend import GeometryBackend
from sensorium.geometry.map_keeper import MapConfiguration
from sensorium.geometry.sensor import SensorBackend, SensorConfiguration
from sensorium.geometry.views import ViewRefused, ViewValidator
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.diagnostics import Diagnostics, Durations, RateMonitor, Rejections, Status
from sensorium.ros.geometry_output import GeometryOutput
from sensorium.ros.inputs import WaitingReport, resolved_topic
from sensorium.ros.lifecycle import ManagedNode
from sensorium.ros.map_service import MapService
from sensorium.ros.pose_source import PoseSource
from sensorium.ros.qos import INPUT_QOS, QOS_NAMES, qos_profile
from sensorium.ros.rgbd_input import ReceivedFrame, RgbdInput, as_frame
from sensorium.ros.robot_filter import RobotFilter, RobotFilterConfiguration
from sensorium.ros.running import run
from sensorium.ros.stamps import StampGuard, StampVerdict
from sensorium.ros.tf import TransformBuffer, TransformListener
from sensorium.ros.worker import NewestOnlyWorker

_WARM_UP_PX = (640, 480)


@dataclass(frozen=True)
class Configuration:
    """Parameters of the node."""

    backend: str = parameter("sensor", "How geometry is made.", choices=("sensor",))
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
    map: MapConfiguration = field(default_factory=MapConfiguration)
    self_filter: RobotFilterConfiguration = field(default_factory=RobotFilterConfiguration)


class Geometry(ManagedNode[Configuration]):
    """Takes RGB-D frames, publishes geometry, keeps a map."""

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - rclpy's own
        self._backend: GeometryBackend | None = None
        self._output: GeometryOutput | None = None
        self._map: MapService | None = None
        self._listener: TransformListener | None = None
        self._inputs: list[RgbdInput] = []
        self._received_before = self._lost_before = self._clock_restarts = 0
        self._stamp_guards: dict[str, StampGuard] = {}
        self._validator = ViewValidator()
        self._transforms = TransformBuffer()
        self._published = RateMonitor()
        self._latency, self._age = Durations(), Durations()
        self._missing: dict[str, tuple[str, ...]] = {}
        super().__init__("geometry", Configuration, **arguments)
        self._poses = PoseSource(self, self._transforms)
        self._rejections = Rejections(self)
        self._frames: NewestOnlyWorker[tuple[str, ReceivedFrame]] = NewestOnlyWorker(
            "geometry", self._process, self._report
        )
        self._waiting = WaitingReport(
            self, lambda: self._inputs, self.configuration.waiting_report_s, self._lacking
        )
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
        self._backend = SensorBackend(configuration.sensor, device)
        self._backend.configure()
        self._backend.warm_up(*_WARM_UP_PX)
        self._validator = ViewValidator(self._backend.needs_depth)
        output = self._output = GeometryOutput(self)
        output.announce_tokens(self._backend.token_layout, self.get_clock().now().nanoseconds)
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
        self._frames.stop()

    def tear_down(self) -> None:
        """Free the backend, the map and the publishers."""
        if self._map is not None:
            self._map.close()
        if self._output is not None:
            self._output.close()
        if self._backend is not None:
            self._backend.release()
        self._map = self._output = self._backend = None

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
        assert backend is not None  # noqa: S101 - the worker runs only while configured
        assert output is not None  # noqa: S101
        try:
            frame = as_frame(received)
            guard = self._stamp_guards.setdefault(topic, StampGuard())
            if guard.check(frame.stamp_ns) is StampVerdict.RESTART:
                self._restart(topic, backend)
            settings = self.configuration
            placed = self._poses.placed(frame, settings.map_frame, settings.tf_timeout_s)
            view = self._validator.checked(placed)
        except ViewRefused as refusal:
            self._rejections.add(refusal.reason, str(refusal))
            return
        except ConversionError as error:
            self._rejections.add("unusable", str(error))
            return
        result = backend.add(view)
        self._missing[topic] = result.missing
        if result.newest is None:
            self._rejections.add("incomplete", "; ".join(result.missing))
            return
        output.publish(result.newest)
        self._published.tick()
        self._waiting.output()
        self._latency.add(time.monotonic() - started)
        self._age.add((self.get_clock().now().nanoseconds - view.stamp_ns) / 1e9)
        if self._map is not None:
            self._map.add(result.newest)

    def _restart(self, topic: str, backend: GeometryBackend) -> None:
        self.get_logger().warning(f"stamps on {topic} went back: time has started anew")
        self._clock_restarts += 1
        self._validator.reset()
        self._stamp_guards = {topic: self._stamp_guards[topic]}
        self._transforms.clear()
        backend.reset()

    def _report(self, item: tuple[str, ReceivedFrame], error: Exception) -> None:
        text = "".join(traceback.format_exception(error))
        self.get_logger().error(f"frame of {item[0]} failed:\n{text}", throttle_duration_sec=5.0)

    def _lacking(self) -> list[str]:
        return [sentence for sentences in self._missing.values() for sentence in sentences]

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
        status.value("clock_restarts", self._clock_restarts)
        for index, source in enumerate(self._inputs):
            source.describe(status, f"input{index}")
        if counts.failed:
            status.error(f"{counts.failed} frames failed inside the node; see its log")
        self._poses.describe(status)
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
