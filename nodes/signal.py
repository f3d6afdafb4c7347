"""Streaming networks on a signal: IMU, wrench, joint effort, EMG, tactile, audio."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any

import torch
from std_srvs.srv import Trigger

from sensorium.configuration import ConfigurationError, parameter
from sensorium.ros.batch_worker import BatchWorker
from sensorium.ros.diagnostics import Diagnostics, Rejections, Status
from sensorium.ros.draining_subscription import DrainingSubscription
from sensorium.ros.inputs import WaitingReport
from sensorium.ros.lifecycle import ManagedNode
from sensorium.ros.qos import QOS_NAMES, qos_profile
from sensorium.ros.running import run
from sensorium.ros.signal_inputs import (
    SIGNAL_INPUTS,
    SignalPiece,
    SignalReader,
    SignalRefused,
    make_reader,
)
from sensorium.ros.signal_output import SignalOutput
from sensorium.streaming.estimator import SignalEstimator
from sensorium.streaming.model_file import SignalModel, load_signal_model
from sensorium.streaming.sample_grid import GridRules

# Even a short window may have this many samples in a row filled.
_FEWEST_FILLED = 2


@dataclass(frozen=True)
class Configuration:
    """Parameters of the node."""

    topic: str = parameter("imu/data", "Topic of the signal; relative to the node's namespace.")
    input: str = parameter("imu", "Type of its messages.", choices=SIGNAL_INPUTS)
    models: tuple[str, ...] = parameter(
        ("activity",), "Networks: names of shipped ones, or paths of their .json files."
    )
    rate_hz: float = parameter(
        0.0, "Declared sampling rate [Hz]; for input float_array only.", minimum=0.0, maximum=1e6
    )
    channel_names: tuple[str, ...] = parameter(
        (), "Declared channels in the order of the data; for input float_array only."
    )
    placement: str = parameter(
        "stamp", "Samples are placed by stamp, or counted: for drivers that stamp on arrival, in "
        "bursts. float_array is always counted.", choices=("stamp", "count"),
    )  # fmt: skip
    max_gap_share: float = parameter(
        0.02, "Longest gap that is filled, as a share of the window; a longer one restarts. "
        "0 fills nothing, any more at least 2 samples.", minimum=0.0, maximum=0.5,
    )  # fmt: skip
    max_filled_share: float = parameter(
        0.1, "Estimates with a larger share of filled samples are not valid.",
        minimum=0.0, maximum=1.0,
    )  # fmt: skip
    rate_tolerance: float = parameter(
        0.03, "Largest relative deviation of the measured rate from the network's.",
        minimum=0.001, maximum=0.2,
    )  # fmt: skip
    max_hops: int = parameter(
        16, "Most hops given to a network in one call when it is late.", minimum=1, maximum=1024
    )
    max_backlog_s: float = parameter(
        5.0, "Oldest message that may wait; then all are dropped and the signal restarts [s].",
        minimum=0.1, maximum=600.0,
    )  # fmt: skip
    executor: str = parameter(
        "auto", "What computes a hop; auto takes ONNX Runtime where it is installed.",
        choices=("auto", "onnxruntime", "torch"),
    )  # fmt: skip
    threads: int = parameter(1, "CPU threads of torch.", minimum=1, maximum=256)
    qos: str = parameter(
        "reliable", "QoS of the subscription; sensor_data for drivers that publish best effort.",
        choices=QOS_NAMES,
    )  # fmt: skip
    qos_depth: int = parameter(5000, "Messages the transport keeps.", minimum=1, maximum=100_000)
    waiting_report_s: float = parameter(
        5.0, "Silence after which the node says what it waits for [s].", minimum=0.5, maximum=3600.0
    )


class Signal(ManagedNode[Configuration]):
    """Takes samples, places them on the grid of each network, publishes estimates."""

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - rclpy's own
        self._reader: SignalReader | None = None
        self._outputs: list[SignalOutput] = []
        self._source: DrainingSubscription | None = None
        self._messages: BatchWorker[tuple[Any, int]] | None = None
        self._received_before = self._lost_before = self._dropped_before = 0
        self._accepted = self._failed = 0
        self._restart_wanted = ""
        super().__init__("signal", Configuration, **arguments)
        self._rejections = Rejections(self)
        self._waiting = WaitingReport(
            self,
            lambda: [self._source] if self._source else [],
            self.configuration.waiting_report_s,
        )
        self._diagnostics = Diagnostics(self, "signal", self._fill)
        self.create_service(Trigger, "~/reset", self._reset)

    def set_up(self) -> None:
        """Load and convert the networks; each conversion checks itself."""
        configuration = self.configuration
        if not configuration.models:
            raise ConfigurationError("parameter 'models' is empty; name at least one network")
        torch.set_num_threads(configuration.threads)
        self._reader = make_reader(
            configuration.input, configuration.rate_hz, configuration.channel_names
        )
        for name in configuration.models:
            model, network = load_signal_model(name)
            if any(output.name == model.name for output in self._outputs):
                raise ConfigurationError(f"two networks are called '{model.name}'; rename one")
            estimator = SignalEstimator(
                model, network, self._rules(model), max_filled=configuration.max_filled_share,
                max_hops=configuration.max_hops,
                executor=configuration.executor,  # type: ignore[arg-type] # a checked choice
            )  # fmt: skip
            report = estimator.stream.report
            self.get_logger().info(
                f"{model.name}: {model.rate_hz:g} Hz, window {model.window}, hop {model.hop}, "
                f"{report.mode} by {report.executor}, {report.macs_per_hop} of "
                f"{report.macs_per_window} multiply-accumulates per hop, delay {report.delay}"
            )
            self._outputs.append(SignalOutput(self, estimator, self._rejections))

    def start(self) -> None:
        """Subscribe; what was heard before is forgotten."""
        configuration = self.configuration
        assert self._reader is not None  # noqa: S101 - made by set_up
        for output in self._outputs:
            output.restart("activation")
        self._messages = BatchWorker(
            "signal", self._process, self._report, configuration.max_backlog_s
        )
        self._messages.start()
        self._source = DrainingSubscription(
            self, self._reader.message_type, configuration.topic, self._store,
            qos_profile(configuration.qos, configuration.qos_depth),
        )  # fmt: skip
        self._waiting.output()

    def stop(self) -> None:
        """Unsubscribe and work off what was received."""
        if self._source is not None:
            self._received_before += self._source.received
            self._lost_before += self._source.lost
            self._source.close()
            self._source = None
        if self._messages is not None:
            self._messages.stop()
            self._dropped_before += self._messages.dropped
            self._messages = None

    def tear_down(self) -> None:
        """Release the networks and the publishers."""
        for output in self._outputs:
            output.close()
        self._outputs = []
        self._reader = None

    def _rules(self, model: SignalModel) -> GridRules:
        configuration = self.configuration
        share = configuration.max_gap_share
        assert self._reader is not None  # noqa: S101 - made by set_up
        return GridRules(
            rate_hz=model.rate_hz,
            channels=len(model.channels),
            max_fill=max(_FEWEST_FILLED, int(share * model.window)) if share else 0,
            rate_tolerance=configuration.rate_tolerance,
            placement="count"
            if configuration.placement == "count" or not self._reader.has_stamps
            else "stamp",
        )

    def _store(self, message: Any) -> None:  # noqa: ANN401 - any of the input types
        if self._messages is not None:
            self._messages.submit((message, self.get_clock().now().nanoseconds))

    def _process(self, items: list[tuple[Any, int]], dropped: int) -> None:
        assert self._reader is not None  # noqa: S101 - the worker runs only while configured
        wanted, self._restart_wanted = self._restart_wanted, ""
        if dropped or wanted:
            for output in self._outputs:
                output.restart("overrun" if dropped else wanted)
        pieces: list[SignalPiece] = []
        for message, arrival_ns in items:
            try:
                pieces.append(self._reader.read(message, arrival_ns))
            except SignalRefused as refusal:
                self._rejections.add(refusal.reason, str(refusal))
        results = [output.add(pieces) for output in self._outputs]
        refused_by_all = frozenset.intersection(*(refused for _, refused in results))
        self._accepted += len(pieces) - len(refused_by_all)
        if any(published for published, _ in results):
            self._waiting.output()

    def _report(self, error: Exception) -> None:
        self._failed += 1
        text = "".join(traceback.format_exception(error))
        self.get_logger().error(f"samples failed:\n{text}", throttle_duration_sec=5.0)
        self._restart_wanted = "failure"

    def _reset(self, _request: Any, response: Any) -> Any:  # noqa: ANN401 - generated types
        self._restart_wanted = "reset"
        response.success, response.message = True, "the signal restarts with its next sample"
        return response

    def _fill(self, status: Status) -> None:
        source, messages = self._source, self._messages
        status.value("received", self._received_before + (source.received if source else 0))
        status.value("lost", self._lost_before + (source.lost if source else 0))
        dropped = self._dropped_before + (messages.dropped if messages else 0)
        status.value("accepted", self._accepted)
        status.value("dropped", dropped)
        status.value("failed", self._failed)
        self._rejections.describe(status)
        for output in self._outputs:
            output.describe(status)
        if source is not None:
            source.describe(status, "input")
        if dropped:
            status.warn(f"{dropped} messages dropped: the node is too slow for this rate")
        if self._failed:
            status.error(f"samples failed {self._failed} times inside the node; see its log")
        if self.last_failure:
            status.error(self.last_failure)
        if self.is_active:
            self._waiting.describe(status)


def make_node(**arguments: Any) -> Signal:  # noqa: ANN401
    """Make the node."""
    return Signal(**arguments)


def main() -> None:
    """Run the node."""
    run([make_node])


if __name__ == "__main__":
    main()
