"""Records topics into an MCAP bag, undecoded; the QoS of each adapts to its publishers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType

from sensorium.bags import (
    BackgroundRecording,
    BagError,
    BagWriter,
    MessageDefinitions,
    RecordingCounts,
    TopicFilter,
)
from sensorium.bags.writing import COMPRESSIONS
from sensorium.configuration import ConfigurationError, parameter
from sensorium.ros.diagnostics import Diagnostics, Status
from sensorium.ros.lifecycle import ManagedNode
from sensorium.ros.raw_subscription import RawSubscription
from sensorium.ros.raw_topics import MissingTypeSupportError, offers_of
from sensorium.ros.running import run

_MB = 1_000_000


@dataclass(frozen=True)
class Configuration:
    """Parameters of the node."""

    directory: str = parameter(".", "Directory in which the bag is made.")
    name: str = parameter("", "Name of the bag; empty for rosbag2_<date>-<time>.")
    topics: tuple[str, ...] = parameter((), "Topics to record, by name; they may appear later.")
    regex: str = parameter("", "Record the topics in whose names this expression is found, too.")
    exclude_regex: str = parameter("", "Leave out topics in whose names this is found.")
    all_topics: bool = parameter(False, "Record every topic that is not hidden.")
    compression: str = parameter("none", "Compression of the file.", choices=COMPRESSIONS)
    queue_mb: int = parameter(
        256, "Most data that waits for the disk [MB]; what comes beyond is dropped and counted.",
        minimum=1, maximum=65536,
    )  # fmt: skip
    minimum_free_mb: int = parameter(
        200, "The recording ends when the disk has less free space [MB].", minimum=0
    )
    discovery_period_s: float = parameter(
        0.2, "Time between two looks for new topics [s].", minimum=0.05, maximum=60.0
    )


class Recorder(ManagedNode[Configuration]):
    """Records from activate to deactivate; one bag per activation.

    The bag is whole after deactivate, SIGINT and SIGTERM. A failing or full disk ends the recording
    with an ERROR diagnostic; the node lives on and can be activated again.
    """

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - rclpy's own
        self._filter = TopicFilter()
        self._definitions = MessageDefinitions()
        self._recording: BackgroundRecording | None = None
        self._path: Path | None = None
        self._inputs: dict[str, RawSubscription] = {}
        self._skipped: dict[str, str] = {}
        self._timer: Any = None
        self._reported_error = ""
        super().__init__("recorder", Configuration, **arguments)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics = Diagnostics(self, "bag", self._fill)

    def set_up(self) -> None:
        """Check what is to be recorded and where to."""
        configuration = self.configuration
        if not (configuration.topics or configuration.regex or configuration.all_topics):
            raise ConfigurationError(
                "nothing is to be recorded: set 'topics', 'regex' or 'all_topics'"
            )
        names, regex = configuration.topics, configuration.regex
        if configuration.all_topics:
            names, regex = (), ""
        self._filter = TopicFilter(names, regex, configuration.exclude_regex)
        directory = Path(configuration.directory).expanduser()
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BagError(
                f"directory '{directory}' cannot be made: {error.strerror}; choose another"
            ) from error

    def start(self) -> None:
        """Begin a bag and record into it."""
        configuration = self.configuration
        name = configuration.name or time.strftime("rosbag2_%Y_%m_%d-%H_%M_%S")
        path = Path(configuration.directory).expanduser() / name
        writer = BagWriter(path, configuration.compression, self._definitions)
        self._path = path
        self._reported_error = ""
        self._recording = BackgroundRecording(
            writer, self._definitions, configuration.queue_mb * _MB,
            configuration.minimum_free_mb * _MB,
        )  # fmt: skip
        self._skipped.clear()
        self._timer = self.create_timer(
            configuration.discovery_period_s, self._discover, clock=self._steady
        )
        self.get_logger().info(f"recording to {path}")

    def stop(self) -> None:
        """End the bag: write what is held, the index and metadata.yaml."""
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None
        for subscription in self._inputs.values():
            subscription.close()
        self._inputs.clear()
        if self._recording is not None:
            self._recording.close()
            self._report_error()
            counts = self._recording.counts
            self.get_logger().info(
                f"{self._path}: {counts.written} messages written, {counts.dropped} dropped"
            )

    def tear_down(self) -> None:
        """Forget the last recording."""
        self._recording = None
        self._path = None

    def _discover(self) -> None:
        self._report_error()
        if self._waits_for_clock():
            return
        for topic, types in self.get_topic_names_and_types():
            hidden = "/_" in topic and topic not in self._filter.names
            if hidden or not self._filter.accepts(topic):
                continue
            offers = offers_of(self, topic)
            if topic in self._inputs:
                self._inputs[topic].adapt(offers)
            elif offers and topic not in self._skipped:
                self._subscribe(topic, types)

    def _subscribe(self, topic: str, types: list[str]) -> None:
        assert self._recording is not None  # noqa: S101 - the timer runs while recording
        offers = offers_of(self, topic)
        try:
            if len(types) != 1:
                raise BagError(f"it has several types: {', '.join(types)}")
            subscription = RawSubscription(self, topic, types[0], offers, self._receiver(topic))
            try:
                self._recording.add_topic(topic, types[0], offers)
            except BagError:
                subscription.close()
                raise
        except (BagError, MissingTypeSupportError) as error:
            self._skipped[topic] = str(error)
            self.get_logger().error(f"{topic} is not recorded: {error}")
            return
        self._inputs[topic] = subscription

    def _receiver(self, topic: str) -> Callable[[bytes], None]:
        recording = self._recording
        assert recording is not None  # noqa: S101 - the timer runs while recording
        clock = self.get_clock()

        def receive(data: bytes) -> None:
            recording.offer(topic, clock.now().nanoseconds, data)

        return receive

    def _waits_for_clock(self) -> bool:
        """Return whether simulated time has not begun: its stamps would all be 0."""
        simulated = bool(self.get_parameter("use_sim_time").value)
        return simulated and self.get_clock().now().nanoseconds == 0

    def _report_error(self) -> None:
        error = self._recording.error if self._recording is not None else ""
        if error and error != self._reported_error:
            self._reported_error = error
            self.get_logger().error(error)

    def _fill(self, status: Status) -> None:
        if self.last_failure:
            status.error(self.last_failure)
        if self._recording is None:
            return
        counts = self._recording.counts
        status.value("bag", str(self._path))
        for key in ("received", "written", "dropped", "held"):
            status.value(key, getattr(counts, key))
        status.value("held_mb", counts.held_bytes / _MB)
        status.value("lost", sum(source.lost for source in self._inputs.values()))
        for topic, count in sorted(counts.written_by_topic.items()):
            status.value(f"written.{topic}", count)
        self._explain(status, counts)

    def _explain(self, status: Status, counts: RecordingCounts) -> None:
        assert self._recording is not None  # noqa: S101 - checked by the caller
        if self._recording.error:
            status.error(self._recording.error)
        elif counts.dropped:
            topics = ", ".join(sorted(counts.dropped_by_topic))
            status.error(
                f"{counts.dropped} messages dropped ({topics}): the disk is too slow; record fewer "
                "topics or raise queue_mb"
            )
        for topic, reason in self._skipped.items():
            status.error(f"{topic} is not recorded: {reason}")
        if self.is_active and self._waits_for_clock():
            status.warn("waiting for /clock (use_sim_time is true)")
        missing = sorted(self._filter.names - set(self._inputs) - set(self._skipped))
        if self.is_active and missing:
            status.warn(f"no publisher yet on {', '.join(missing)}")


def make_node(**arguments: Any) -> Recorder:  # noqa: ANN401 - rclpy's own
    """Make the node."""
    return Recorder(**arguments)


def main() -> None:
    """Run the node."""
    run([make_node])


if __name__ == "__main__":
    main()
