"""A semantic cloud beside a geometry node; the test plays the segmentation with true masks."""

import sys
from array import array
from pathlib import Path

import numpy as np
from graph_nodes import wait_until
from graph_tools import SECOND_NS, transform
from sensor_msgs.msg import Image, PointCloud2
from sensorium_ros.msg import Objects, RgbdFrame, Segment, Segments
from sensorium_ros.srv import EncodeText, QueryObjects
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

sys.path.append(str(Path(__file__).parents[1] / "unit"))
from rendered_walk import Walk

from sensorium.ros.convert.header import header, stamp_from_time
from sensorium.ros.convert.image import image_from_labels
from sensorium.ros.convert.rgbd_frame import message_from_frame
from sensorium.sources.scene import CLASS_NAMES

__all__ = ["SemanticSession", "Walk", "by_stamp", "segmentation_messages"]

START_NS = 1_700_000_000 * SECOND_NS
SHA = "a" * 64


def by_stamp(messages):
    return {stamp_from_time(message.header.stamp): message for message in list(messages)}


def segmentation_messages(step, class_names=CLASS_NAMES, version=1):
    """Panoptic image, confidence and segments as the segmentation node publishes them."""
    stamp_ns, frame_id = step.frame.stamp_ns, step.frame.optical_frame
    height, width = step.panoptic.shape
    segments = Segments(
        header=header(stamp_ns, frame_id), height=height, width=width,
        vocabulary_version=version, class_names=list(class_names),
    )  # fmt: skip
    for one in step.segments:
        rows, columns = np.nonzero(step.panoptic == one.panoptic_id)
        segments.segments.append(
            Segment(
                panoptic_id=one.panoptic_id, class_id=one.class_id,
                name=class_names[one.class_id], is_thing=one.is_thing, score=one.score,
                x_min=int(columns.min()), x_max=int(columns.max()) + 1,
                y_min=int(rows.min()), y_max=int(rows.max()) + 1, area=len(rows),
                embedding=array("f", [] if one.embedding is None else one.embedding.tolist()),
            )
        )  # fmt: skip
    confidence = np.where(step.panoptic > 0, 200, 0).astype(np.uint8)
    return (
        image_from_labels(step.panoptic, stamp_ns, frame_id),
        image_from_labels(confidence, stamp_ns, frame_id),
        segments,
    )


class SemanticSession:
    """A geometry node and a semantic cloud; publishers of frames, poses and true segments."""

    def __init__(self, graph, **parameters):
        self.graph = graph
        graph.active_geometry(**{"map.enabled": False}, qos="reliable", qos_depth=50)
        # The masks here are exact: no need to wait for parts to become one.
        parameters = {"objects.min_views": 3, **parameters}
        self.node = graph.host("semantic_cloud", parameters=parameters)
        graph.wait_state(self.node, "active")
        self.frames = graph.publisher(RgbdFrame, "/camera/rgbd")
        self.transforms = graph.publisher(TFMessage, "/tf", subscribers=2)
        self.panoptic = graph.publisher(Image, "/segmentation/panoptic")
        self.confidence = graph.publisher(Image, "/segmentation/confidence")
        self.segments = graph.publisher(Segments, "/segmentation/segments")
        self.points = graph.collect(PointCloud2, "/semantic_cloud/points")
        self.objects = graph.collect(Objects, "/semantic_cloud/objects")
        self.markers = graph.collect(MarkerArray, "/semantic_cloud/markers")
        for name in ("points", "objects", "markers"):
            publisher = self.node.node._output._publishers[name]
            wait_until(lambda p=publisher: p.get_subscription_count() > 0, f"~/{name} is alone")

    def send(self, step, class_names=CLASS_NAMES, version=1, *, pose=True):
        """Send a picture, its pose by TF and its segments, in this order."""
        frame = step.frame
        if pose:
            stamped = transform("map", frame.optical_frame, frame.stamp_ns, frame.world_from_camera)
            self.transforms.publish(TFMessage(transforms=[stamped]))
        self.frames.publish(message_from_frame(frame))
        panoptic, confidence, segments = segmentation_messages(step, class_names, version)
        self.panoptic.publish(panoptic)
        self.confidence.publish(confidence)
        self.segments.publish(segments)

    def walk(self, step, class_names=CLASS_NAMES, version=1):
        """Send a picture and return the objects of its stamp."""
        self.send(step, class_names, version)
        stamp_ns = step.frame.stamp_ns
        wait_until(
            lambda: stamp_ns in by_stamp(self.objects) and stamp_ns in by_stamp(self.points),
            lambda: f"no objects; {self.graph.status('/semantic_cloud')}",
        )
        return by_stamp(self.objects)[stamp_ns]

    def play_encoder(self, walk, answer):
        """Serve ~/encode_text; `answer(text, response)` fills in the response."""

        def serve(request, response):
            response.weights_sha256 = SHA
            answer(request.texts[0], response)
            return response

        return self.graph.probe.create_service(EncodeText, "/segmentation/encode_text", serve)

    def query(self, text, **request):
        return self.graph.call(
            QueryObjects,
            "/semantic_cloud/query_objects",
            QueryObjects.Request(text=text, **request),
        )
