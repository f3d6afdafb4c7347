"""Open-vocabulary panoptic segmentation with a class list that changes while the node runs."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from rclpy.parameter import Parameter

from sensorium.configuration import ConfigurationError, parameter
from sensorium.device import DEVICES, chosen_device
from sensorium.ros.color_input import (
    COLOR_INPUTS,
    ColorInput,
    PictureReader,
    PictureRefused,
    open_color_input,
)
from sensorium.ros.diagnostics import Diagnostics, Durations, RateMonitor, Rejections, Status
from sensorium.ros.inputs import WaitingReport, resolved_topic
from sensorium.ros.lifecycle import ManagedNode
from sensorium.ros.qos import INPUT_QOS, QOS_NAMES, qos_profile
from sensorium.ros.running import run
from sensorium.ros.segmentation_output import SEMANTIC_SOURCES, SegmentationOutput
from sensorium.ros.text_encoding_service import TextEncodingService
from sensorium.ros.vocabulary_service import VocabularyService
from sensorium.ros.worker import NewestOnlyWorker
from sensorium.segmentation.class_list import (
    MOST_CLASSES,
    ClassList,
    ClassListRefused,
    checked_class_list,
)
from sensorium.segmentation.rendered_names import THINGS
from sensorium.segmentation.segmenter import Segmenter
from sensorium.segmentation.weights import WeightsConfiguration, load_weights, usable_text_cache
from sensorium.sources.scene import STUFF

# A picture of the published size takes up to half a minute on a CPU.
_STOP_TIMEOUT_S = 60.0
_WARM_UP_PX = (480, 640)


@dataclass(frozen=True)
class Configuration:
    """Parameters of the node."""

    topic: str = parameter("camera/rgbd", "Topic of pictures; relative to the node's namespace.")
    input: str = parameter("rgbd_frame", "Type of its messages.", choices=COLOR_INPUTS)
    weights: WeightsConfiguration = field(default_factory=WeightsConfiguration)
    vocabulary: tuple[str, ...] = parameter(
        (*THINGS, *STUFF), "Class list: one entry per class, synonyms separated by commas. By "
        "default the names in rendered rooms, which the shipped weights know.", read_only=False,
    )  # fmt: skip
    things: tuple[str, ...] = parameter(
        (), "Entries of the class list that are countable things, the others are stuff; empty for "
        "all.", read_only=False,
    )  # fmt: skip
    max_classes: int = parameter(
        1000, "Longest class list that is accepted.", minimum=1, maximum=MOST_CLASSES,
        read_only=False,
    )  # fmt: skip
    semantic_from: str = parameter(
        "panoptic", "What ~/semantic shows: the class of the pixel's segment, or the class "
        "with the highest semantic score (every pixel gets one; slower).", choices=SEMANTIC_SOURCES,
        read_only=False,
    )  # fmt: skip
    embeddings: bool = parameter(
        False, "Give each segment the vector that texts are compared with (Segment.embedding); "
        "~/query_objects of the semantic cloud needs it.", read_only=False,
    )  # fmt: skip
    short_edge_px: int = parameter(
        0, "Pictures are resized to this short edge [px]; 0 as the model was published.",
        minimum=0, maximum=4096,
    )  # fmt: skip
    text_cache: str = parameter(
        "", "Directory of text embeddings; empty for $XDG_CACHE_HOME/sensorium/text_embeddings."
    )
    qos: str = parameter(INPUT_QOS, "QoS of the subscription.", choices=QOS_NAMES)
    qos_depth: int = parameter(
        5, "Pictures the transport keeps while we are held up.", minimum=1, maximum=100
    )
    device: str = parameter("auto", "Where to compute; auto takes a GPU if any.", choices=DEVICES)
    threads: int = parameter(0, "CPU threads of torch; 0 leaves its default.", minimum=0,
                             maximum=256)  # fmt: skip
    waiting_report_s: float = parameter(
        5.0, "Silence after which the node says what it waits for [s].", minimum=0.5, maximum=3600.0
    )


class Segmentation(ManagedNode[Configuration]):
    """Takes pictures, publishes what is in them."""

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - rclpy's own
        self._segmenter: Segmenter | None = None
        self._output: SegmentationOutput | None = None
        self._source: ColorInput | None = None
        self._received_before = self._lost_before = 0
        self._reader = PictureReader()
        self._published = RateMonitor()
        self._latency, self._age = Durations(), Durations()
        super().__init__("segmentation", Configuration, **arguments)
        self._rejections = Rejections(self)
        self._pictures: NewestOnlyWorker[Any] = NewestOnlyWorker(
            "segmentation", self._process, self._report
        )
        self._waiting = WaitingReport(
            self, lambda: [self._source] if self._source else [],
            self.configuration.waiting_report_s,
        )  # fmt: skip
        self._vocabulary = VocabularyService(
            self, lambda: self.configuration.max_classes, self._show_classes
        )
        self._texts = TextEncodingService(self)
        self._diagnostics = Diagnostics(self, "fcclip", self._fill)

    def set_up(self) -> None:
        """Load the weights, encode the class list, warm up, make publishers and the service."""
        configuration = self.configuration
        resolved_topic(self, "topic", configuration.topic)
        classes = _class_list(configuration)
        if configuration.threads:
            torch.set_num_threads(configuration.threads)
        device = chosen_device(configuration.device)
        cache, problem = usable_text_cache(configuration.text_cache)
        if problem:
            self.get_logger().warning(problem)
        model = load_weights(configuration.weights, cache, configuration.short_edge_px)
        segmenter = self._segmenter = Segmenter(model, device)
        segmenter.use(segmenter.encode(classes))
        segmenter.segment(np.zeros((*_WARM_UP_PX, 3), np.uint8))
        self._output = SegmentationOutput(self)
        if not self._output.has_vision_messages:
            self.get_logger().info("vision_msgs is not installed: no label_info, no detections")
        self._vocabulary.open(segmenter, classes)
        self._texts.open(segmenter)

    def start(self) -> None:
        """Subscribe."""
        configuration = self.configuration
        self._pictures.start()
        self._source = open_color_input(
            self, configuration.input, configuration.topic, self._pictures.submit,
            qos_profile(configuration.qos, configuration.qos_depth),
        )  # fmt: skip
        self._waiting.output()

    def stop(self) -> None:
        """Unsubscribe and finish the picture in hand."""
        if self._source is not None:
            self._received_before += self._source.received
            self._lost_before += self._source.lost
            self._source.close()
            self._source = None
        self._pictures.stop(_STOP_TIMEOUT_S)

    def tear_down(self) -> None:
        """Free the model, the services and the publishers."""
        self._texts.close()
        self._vocabulary.close()
        if self._output is not None:
            self._output.close()
        self._output = self._segmenter = None

    def apply_changes(self, old: Configuration, new: Configuration) -> None:
        """Check a new class list and have it encoded; the old one stays until then."""
        if (new.vocabulary, new.things) == (old.vocabulary, old.things):
            return
        try:
            classes = _class_list(new)
        except ClassListRefused as refusal:
            raise ConfigurationError(f"{refusal}; the old list stays") from refusal
        self._vocabulary.request(classes)

    def _show_classes(self, classes: ClassList) -> None:
        self.set_parameters_atomically(
            [
                Parameter("vocabulary", value=list(classes.names)),
                Parameter("things", Parameter.Type.STRING_ARRAY, list(classes.things)),
            ]
        )

    def _process(self, received: Any) -> None:  # noqa: ANN401 - any of the inputs
        started = time.monotonic()
        segmenter, output = self._segmenter, self._output
        assert segmenter is not None  # noqa: S101 - the worker runs only while configured
        assert output is not None  # noqa: S101
        try:
            picture = self._reader.read(received)
        except PictureRefused as refusal:
            self._rejections.add(refusal.reason, str(refusal))
            return
        found = segmenter.segment(picture.color)
        settings = self.configuration
        output.publish(picture, found, settings.semantic_from, embeddings=settings.embeddings)
        self._published.tick()
        self._waiting.output()
        self._latency.add(time.monotonic() - started)
        self._age.add((self.get_clock().now().nanoseconds - picture.stamp_ns) / 1e9)

    def _report(self, _received: Any, error: Exception) -> None:  # noqa: ANN401
        text = "".join(traceback.format_exception(error))
        self.get_logger().error(f"a picture failed:\n{text}", throttle_duration_sec=5.0)

    def _fill(self, status: Status) -> None:
        source, counts = self._source, self._pictures.counts
        status.value("received", self._received_before + (source.received if source else 0))
        status.value("lost", self._lost_before + (source.lost if source else 0))
        status.value("superseded", counts.superseded)
        status.value("failed", counts.failed)
        status.value("processed", self._published.count)
        self._rejections.describe(status)
        status.value("rate_hz", self._published.rate_hz)
        self._latency.describe(status, "latency")
        self._age.describe(status, "age")
        status.value("clock_restarts", self._reader.clock_restarts)
        if source is not None:
            source.describe(status, "input")
        if counts.failed:
            status.error(f"{counts.failed} pictures failed inside the node; see its log")
        self._vocabulary.describe(status)
        self._texts.describe(status)
        if self.last_failure:
            status.error(self.last_failure)
        if self.is_active:
            self._waiting.describe(status)


def _class_list(configuration: Configuration) -> ClassList:
    return checked_class_list(
        configuration.vocabulary, configuration.things, configuration.max_classes
    )


def make_node(**arguments: Any) -> Segmentation:  # noqa: ANN401
    """Make the node."""
    return Segmentation(**arguments)


def main() -> None:
    """Run the node."""
    run([make_node])


if __name__ == "__main__":
    main()
