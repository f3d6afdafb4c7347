"""A small FC-CLIP checkpoint with random weights, pictures, and what a node makes of them."""

import sys
import time
from pathlib import Path

import numpy as np
from graph_nodes import wait_until
from graph_tools import SECOND_NS
from sensor_msgs.msg import Image
from sensorium_ros.msg import Segments
from sensorium_ros.srv import SetVocabulary

sys.path.append(str(Path(__file__).parents[1] / "unit"))
from fcclip_cases import picture, seeded_state

from sensorium.models.fcclip import FCCLIP, FCCLIPConfig, save_checkpoint
from sensorium.ros.convert.header import stamp_from_time
from sensorium.ros.convert.image import image_from_color, labels_from_image

HEIGHT_PX, WIDTH_PX = 72, 96
CLASSES = ["mug,cups", "robot arm", "dog, puppy", "floor,ground", "blue wall"]
THINGS = ["mug", "robot arm", "dog"]
FRAME = "camera_optical"
START_NS = 1_700_000_000 * SECOND_NS
PERIOD_NS = SECOND_NS // 20


def make_checkpoint(directory):
    """Write a checkpoint directory; returns it with the model that is inside."""
    values = FCCLIPConfig.reference_small().to_dict()
    config = FCCLIPConfig.from_dict(
        values | {"trunk_widths": (32, 64, 128, 256), "short_edge_px": 64, "overlap_threshold": 0.0}
    )
    model = FCCLIP(config)
    model.load_state_dict(seeded_state(config, 11))
    save_checkpoint(model, directory)
    return directory, model


def color(seed=0):
    return picture(HEIGHT_PX, WIDTH_PX, seed)


def image(stamp_ns, seed=0):
    return image_from_color(color(seed), stamp_ns, FRAME)


def expected_panoptic(model, names, things, pixels):
    """The packed map by the model itself, packed pixel by pixel."""
    model.set_vocabulary(names, things=things)
    result = model.predict(pixels)
    packed = np.zeros(pixels.shape[:2], np.int32)
    for segment in result.segments:
        packed[result.panoptic.numpy() == segment.id] = segment.category_id * 65536 + segment.id
    return packed


class SegmentationSession:
    """A segmentation node, a publisher of its input, and its outputs by topic and stamp."""

    def __init__(self, graph, checkpoint, tmp_path, message_type=Image, **parameters):
        self.graph = graph
        self.node = graph.host(
            "segmentation",
            parameters={
                "topic": "pictures", "input": "image", "qos": "reliable", "qos_depth": 50,
                "threads": 1, "weights.directory": str(checkpoint), "vocabulary": CLASSES,
                "things": THINGS, "text_cache": str(tmp_path / "texts"), **parameters,
            },
        )  # fmt: skip
        graph.wait_state(self.node, "active")
        self.publisher = graph.publisher(message_type, "/pictures")
        names = ("semantic", "panoptic", "confidence", "overlay")
        self.images = {name: graph.collect(Image, f"/segmentation/{name}") for name in names}
        self.segments = graph.collect(Segments, "/segmentation/segments", depth=1000)
        for name in (*names, "segments"):
            wait_until(lambda n=name: self.is_heard(n), f"~/{name} does not find the probe")
        self.client = graph.probe.create_client(SetVocabulary, "/segmentation/set_vocabulary")
        wait_until(self.client.service_is_ready, "no service")

    def segment(self, message):
        """Send a picture; returns its Segments message after all outputs have come."""
        stamp_ns = stamp_from_time(message.header.stamp)
        self.publisher.publish(message)
        wait_until(
            lambda: all(stamp_ns in by_stamp(m) for m in (self.segments, *self.images.values())),
            lambda: f"no outputs; {self.graph.status('/segmentation')}",
        )
        return by_stamp(self.segments)[stamp_ns]

    def labels(self, name, stamp_ns):
        return labels_from_image(by_stamp(self.images[name])[stamp_ns])

    def set_vocabulary(self, names, things=()):
        future = self.client.call_async(SetVocabulary.Request(names=names, things=list(things)))
        wait_until(future.done, "the service does not answer")
        return future.result()

    def settled(self, received):
        """The status after every picture was worked off."""

        def done(status):
            outcomes = ("processed", "superseded", "rejected", "failed")
            accounted = sum(status.count(key) for key in outcomes)
            return status.count("received") == accounted >= received

        return self.graph.status("/segmentation", done)

    def is_heard(self, name):
        """True when the node's publisher has found us; messages are only made for listeners."""
        return self.node.node._output._publishers[name].get_subscription_count() > 0


def by_stamp(messages):
    return {stamp_from_time(message.header.stamp): message for message in list(messages)}


def steadily(rate_hz, count):
    """Yield numbers at a steady rate."""
    begin = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, begin + number / rate_hz - time.monotonic()))
        yield number
