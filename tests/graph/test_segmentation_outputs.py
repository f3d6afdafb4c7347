"""What the segmentation node publishes equals what its model says, with the picture's stamp."""

import itertools

import numpy as np
import pytest
from graph_nodes import wait_until
from graph_tools import wall
from segmentation_tools import (
    CLASSES,
    FRAME,
    HEIGHT_PX,
    START_NS,
    THINGS,
    WIDTH_PX,
    SegmentationSession,
    by_stamp,
    color,
    expected_panoptic,
    image,
    make_checkpoint,
)
from sensor_msgs.msg import CompressedImage, Image
from sensorium_ros.msg import RgbdFrame

from sensorium.frames import RgbdFrame as Frame
from sensorium.frames import pinhole
from sensorium.ros.convert.compressed import compressed_from_color
from sensorium.ros.convert.image import color_from_image
from sensorium.ros.convert.rgbd_frame import message_from_frame

MODEL_THINGS = [CLASSES[0], CLASSES[1], CLASSES[2]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("fcclip"))


def rgbd_message(stamp_ns):
    camera = pinhole(WIDTH_PX, HEIGHT_PX, 90.0)
    return message_from_frame(Frame(stamp_ns, "camera", FRAME, color(), camera))


def compressed_message(stamp_ns):
    return compressed_from_color(color(), stamp_ns, FRAME, "png")


@pytest.mark.parametrize(
    ("kind", "message_type", "make"),
    [
        ("image", Image, image),
        ("compressed_image", CompressedImage, compressed_message),
        ("rgbd_frame", RgbdFrame, rgbd_message),
    ],
)
def test_every_output_is_the_model_s_with_the_stamp_of_the_picture(
    graph, checkpoint, tmp_path, kind, message_type, make
):
    directory, model = checkpoint
    session = SegmentationSession(graph, directory, tmp_path, message_type, input=kind)
    stamp_ns = START_NS + 123_456_789
    segments = session.segment(make(stamp_ns))

    packed = expected_panoptic(model, CLASSES, MODEL_THINGS, color())
    np.testing.assert_array_equal(session.labels("panoptic", stamp_ns), packed)
    assert len(np.unique(packed)) > 2, "the picture must have segments for this test to mean much"
    semantic = session.labels("semantic", stamp_ns)
    assert semantic.dtype == np.uint8
    np.testing.assert_array_equal(semantic, np.where(packed > 0, packed >> 16, 255))
    confidence = model.predict(color()).confidence.numpy() * 255
    assert np.abs(session.labels("confidence", stamp_ns) - confidence).max() <= 0.51
    pixels = color_from_image(by_stamp(session.images["overlay"])[stamp_ns])
    unlabelled = packed == 0
    assert pixels.shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert (pixels != color())[~unlabelled].any()

    assert segments.vocabulary_version == 1
    assert list(segments.class_names) == ["mug", "robot arm", "dog", "floor", "blue wall"]
    assert (segments.height, segments.width) == (HEIGHT_PX, WIDTH_PX)
    assert {s.panoptic_id for s in segments.segments} == set(np.unique(packed)) - {0}
    for segment in segments.segments:
        rows, columns = np.nonzero(packed == segment.panoptic_id)
        assert segment.area == len(rows)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert (segment.x_min, segment.y_min, segment.x_max, segment.y_max) == box
        assert segment.class_id == segment.panoptic_id >> 16
        assert segment.name == segments.class_names[segment.class_id]
        assert segment.is_thing == (segment.name in THINGS)
        assert 0 < segment.score <= 1
    for message in (segments, *(by_stamp(m)[stamp_ns] for m in session.images.values())):
        assert message.header.frame_id == FRAME


def test_semantic_labels_can_be_the_published_scores(graph, checkpoint, tmp_path):
    directory, model = checkpoint
    session = SegmentationSession(graph, directory, tmp_path, semantic_from="scores")
    session.segment(image(START_NS))
    model.set_vocabulary(CLASSES, things=MODEL_THINGS)
    expected = model.predict(color()).semantic.argmax(0).numpy()
    np.testing.assert_array_equal(session.labels("semantic", START_NS), expected)


def test_vision_msgs_name_the_labels_and_list_the_things(graph, checkpoint, tmp_path):
    vision = pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed")
    session = SegmentationSession(graph, checkpoint[0], tmp_path)
    detections = graph.collect(vision.Detection2DArray, "/segmentation/detections")
    wait_until(lambda: session.is_heard("detections"), "unmatched")
    segments = session.segment(image(START_NS))
    wait_until(lambda: START_NS in by_stamp(detections), "no detections")

    # Latched: who comes late gets the newest list.
    label_info = graph.collect(vision.LabelInfo, "/segmentation/label_info", "transient_local", 1)
    wait_until(lambda: label_info, "no label_info")
    assert [(c.class_id, c.class_name) for c in label_info[0].class_map] == list(
        enumerate(segments.class_names)
    )
    assert label_info[0].header.frame_id == "vocabulary_1"

    things = [s for s in segments.segments if s.is_thing]
    found = by_stamp(detections)[START_NS]
    assert found.header.frame_id == FRAME
    assert [d.id for d in found.detections] == [f"1/{s.panoptic_id}" for s in things]
    for detection, thing in zip(found.detections, things, strict=True):
        assert detection.results[0].hypothesis.class_id == thing.name
        assert detection.results[0].hypothesis.score == pytest.approx(thing.score)
        left = detection.bbox.center.position.x - detection.bbox.size_x / 2
        assert left == thing.x_min
        assert detection.bbox.size_y == thing.y_max - thing.y_min

    assert session.set_vocabulary(["cat"]).success
    session.segment(image(START_NS + 1))
    wait_until(lambda: len(label_info) == 2, "no new label_info")
    assert label_info[1].header.frame_id == "vocabulary_2"


def test_without_vision_msgs_everything_else_is_published(graph, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("sensorium.ros.segmentation_output.vision_messages", lambda: None)
    session = SegmentationSession(graph, checkpoint[0], tmp_path)
    assert session.segment(image(START_NS)).vocabulary_version == 1
    assert graph.probe.count_publishers("/segmentation/label_info") == 0
    assert graph.probe.count_publishers("/segmentation/detections") == 0


def test_a_node_that_is_deactivated_and_activated_goes_on(graph, checkpoint, tmp_path):
    session = SegmentationSession(graph, checkpoint[0], tmp_path)
    session.segment(image(START_NS))
    assert graph.change(session.node, "deactivate")
    assert graph.change(session.node, "cleanup")
    answer = session.set_vocabulary(["cat"])
    assert not answer.success
    assert "not configured" in answer.message
    assert graph.change(session.node, "configure")
    assert graph.change(session.node, "activate")
    session.publisher = graph.publisher(Image, "/pictures")
    # Outputs are matched anew; the first pictures may find nobody listening.
    stamps = itertools.count(START_NS + 1)

    def answered():
        session.publisher.publish(image(next(stamps)))
        return len(session.segments) > 1

    wait_until(answered, "no output after the second activation")


def test_frames_of_a_camera_of_another_size_are_taken_too(graph, checkpoint, tmp_path):
    session = SegmentationSession(
        graph, checkpoint[0], tmp_path, RgbdFrame, input="rgbd_frame", short_edge_px=32
    )
    segments = session.segment(message_from_frame(wall(START_NS)))
    assert (segments.height, segments.width) == (120, 160)
