"""One network of a signal node: takes pieces, publishes estimates, counts every sample."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
from rclpy.node import Node
from sensorium_ros.msg import SignalEstimate

from sensorium.ros.convert.header import header, time_from_stamp
from sensorium.ros.diagnostics import Durations, Rejections, Status
from sensorium.ros.qos import OUTPUT_QOS, qos_profile
from sensorium.ros.signal_inputs import ChannelSelection, SignalPiece, SignalRefused
from sensorium.streaming.estimator import Estimate, EstimateStatus, SignalEstimator

_DEPTH = 100

_REMEDIES = {
    "duplicate": "stamp of a sample before; the driver repeats itself or its clock is too coarse",
    "out_of_order": "older than the sample before; the driver must publish in order",
    "crowded": "nearest to a grid position that is taken; stamps jitter by more than half a period "
    "(placement: count helps when the driver stamps on arrival)",
    "not_finite": "NaN or infinite value; the position is filled like a lost sample",
    "rate": "the rate is not the network's",
}


class SignalOutput:
    """Publishes ``~/<model name>``.

    Args:
        node: the node.
        estimator: the network on its grid.
        rejections: takes messages that the network cannot use.
    """

    def __init__(self, node: Node, estimator: SignalEstimator, rejections: Rejections) -> None:
        model = estimator.model
        self._node = node
        self._estimator = estimator
        self._selection = ChannelSelection(
            tuple(c.name for c in model.channels), tuple(c.unit for c in model.channels),
            model.rate_hz,
        )  # fmt: skip
        self._publisher = node.create_publisher(
            SignalEstimate, f"~/{model.name}", qos_profile(OUTPUT_QOS, _DEPTH)
        )
        self._rejections = rejections
        self._received = 0
        self._refused: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()
        self._restarts_seen = 0
        self._by_status: Counter[EstimateStatus] = Counter()
        self._latency, self._age = Durations(), Durations()

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._estimator.model.name

    def add(self, pieces: Sequence[SignalPiece]) -> tuple[int, frozenset[int]]:
        """Take pieces in order and publish what they complete.

        Returns:
            How many estimates were published, and the indices of the pieces that were refused.
        """
        started = time.monotonic()
        stamps: list[int] = []
        frame_id = ""
        chosen, refused = [], []
        for index, piece in enumerate(pieces):
            self._received += len(piece.stamps_ns)
            try:
                chosen.append(self._selection.select(piece))
            except SignalRefused as refusal:
                self._refused[refusal.reason] += refusal.samples
                self._rejections.add(refusal.reason, f"{self.name}: {refusal}")
                refused.append(index)
                continue
            stamps += piece.stamps_ns
            frame_id = piece.frame_id
        if not stamps:
            return 0, frozenset(refused)
        estimates = self._estimator.add(stamps, np.concatenate(chosen))
        for estimate in estimates:
            self._publisher.publish(self._message(estimate, frame_id))
            self._by_status[estimate.status] += 1
        if estimates:
            now = self._node.get_clock().now().nanoseconds
            self._latency.add(time.monotonic() - started)
            self._age.add((now - estimates[-1].stamp_ns) / 1e9)
        self._report()
        return len(estimates), frozenset(refused)

    def restart(self, reason: str) -> None:
        """Forget the signal; estimates warm up again."""
        self._estimator.restart(reason)
        self._report()

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_publisher(self._publisher)

    def describe(self, status: Status) -> None:
        """Add what became of the samples: received = used + sum of rejected.*."""
        counts, key = self._estimator.grid.counts, self.name
        rejected = counts.rejected + self._refused
        status.value(f"{key}.received", self._received)
        status.value(f"{key}.used", counts.used)
        status.value(f"{key}.filled", counts.filled)
        status.value(f"{key}.rejected", sum(rejected.values()))
        for reason, count in sorted(rejected.items()):
            status.value(f"{key}.rejected.{reason}", count)
        status.value(f"{key}.restarts", sum(counts.restarts.values()))
        for reason, count in sorted(counts.restarts.items()):
            status.value(f"{key}.restarts.{reason}", count)
        for outcome in EstimateStatus:
            status.value(f"{key}.estimates.{outcome.name.lower()}", self._by_status[outcome])
        rate_hz = self._estimator.grid.measured_rate_hz
        if rate_hz is not None:
            status.value(f"{key}.rate_hz", rate_hz)
        self._latency.describe(status, f"{key}.latency")
        self._age.describe(status, f"{key}.age")
        refusal = self._estimator.grid.refusal
        if refusal:
            status.error(f"{key}: {refusal}")
        elif self._received and self._estimator.filling < 1:
            status.warn(f"{key}: warming up, {100 * self._estimator.filling:.0f} %")

    def _message(self, estimate: Estimate, frame_id: str) -> SignalEstimate:
        message = SignalEstimate(header=header(estimate.stamp_ns, frame_id), model=self.name)
        message.window_start = time_from_stamp(estimate.window_start_ns)
        message.window_end = message.header.stamp
        message.hop_index = estimate.hop_index
        message.restarts = estimate.restarts
        message.class_names = list(self._estimator.model.class_names)
        message.scores = estimate.scores.tolist()
        message.fill_fraction = estimate.fill_fraction
        message.status = int(estimate.status)
        message.valid = estimate.status is EstimateStatus.OK
        return message

    def _report(self) -> None:
        """Log what is new: rejected samples and restarts."""
        counts = self._estimator.grid.counts
        for reason, count in counts.rejected.items():
            new = count - self._seen[reason]
            if new:
                self._seen[reason] = count
                self._node.get_logger().warning(
                    f"{self.name}: {new} sample(s) rejected ({reason}): {_REMEDIES[reason]}",
                    throttle_duration_sec=5.0,
                )
        restarts = sum(counts.restarts.values())
        if restarts != self._restarts_seen:
            self._restarts_seen = restarts
            self._node.get_logger().warning(
                f"{self.name}: the signal restarts ({dict(counts.restarts)}); estimates are not "
                "valid until a window is full"
            )
