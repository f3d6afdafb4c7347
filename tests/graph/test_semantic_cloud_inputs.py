"""Partners that are late, dead or do not fit: counted, named, and no reason to stop."""

import dataclasses
import time

import numpy as np
import pytest
from graph_tools import SECOND_NS
from objects_tools import SHA, START_NS, SemanticSession, Walk, segmentation_messages
from sensor_msgs.msg import PointCloud2

from sensorium.ros.convert.pointcloud import cloud_from_points
from sensorium.ros.convert.rgbd_frame import message_from_frame


@pytest.fixture(scope="module")
def steps():
    walk = Walk(0, 30, scale=0.25, start_ns=START_NS)
    return walk, [step for step, _ in zip(walk, range(5), strict=False)]


def later(step, seconds):
    stamp_ns = step.frame.stamp_ns + round(seconds * SECOND_NS)
    return dataclasses.replace(step, frame=dataclasses.replace(step.frame, stamp_ns=stamp_ns))


def test_a_segmentation_that_is_silent_is_named_and_its_clouds_are_counted(graph, steps):
    session = SemanticSession(graph, buffer=2, waiting_report_s=0.5)
    for i in range(5):
        stamped = later(steps[1][0], i)
        session.frames.publish(message_from_frame(stamped.frame))
        graph.status("/geometry", lambda s, i=i: s.count("processed") > i)
    status = graph.status(session.node, lambda s: s.count("input.points.unmatched") == 3)
    assert status.count("input.waiting") == 2
    assert status.count("joined") == 0
    assert "/segmentation/segments" in status.message, status
    assert "nothing received yet" in status.message


def test_stamps_that_never_meet_are_said(graph, steps):
    session = SemanticSession(graph, waiting_report_s=0.5)
    session.frames.publish(message_from_frame(steps[1][0].frame))
    panoptic, confidence, segments = segmentation_messages(later(steps[1][0], 0.2))
    session.panoptic.publish(panoptic)
    session.confidence.publish(confidence)
    session.segments.publish(segments)
    status = graph.status(session.node, lambda s: "equals one of" in s.message)
    assert "clouds are 0.2 s behind" in status.message, status


def test_without_a_pose_points_come_and_objects_wait(graph, steps):
    session = SemanticSession(graph, tf_timeout_s=0.0)
    session.send(steps[1][0], pose=False)
    status = graph.status(session.node, lambda s: s.count("without_pose") == 1)
    assert "no pose of 'camera_color_optical_frame'" in status.message
    assert status.count("processed") == 1
    assert status.count("objects") == 0
    for step in steps[1][1:]:
        objects = session.walk(step)
    assert objects.objects
    assert "no pose" not in graph.status(session.node).message


def test_texts_are_answered_best_first_and_refusals_say_why(graph, steps):
    walk, pictures = steps
    session = SemanticSession(graph, query_timeout_s=1.0)
    answer = session.query("the mug")
    assert not answer.success
    assert "no service /segmentation/encode_text" in answer.message
    for step in pictures:
        objects = session.walk(step)
    thing = walk.on_table()[0]
    sha, size, hang = [SHA], [len(walk.scene.objects) + 1], []

    def encode(text, response):
        asked.append(text)
        if hang:
            time.sleep(hang[0])
        vector = np.zeros(size[0], np.float32)
        vector[min(thing.instance_id, size[0] - 1)] = 1.0
        response.success, response.size = True, size[0]
        response.vectors, response.weights_sha256 = vector.tolist(), sha[0]

    asked = []
    session.play_encoder(walk, encode)
    answer = session.query("the  red Mug", max_results=2)
    assert answer.success, answer.message
    assert asked == ["red Mug"]
    assert len(answer.objects) == min(2, len(objects.objects))
    assert answer.scores[0] > 0.99
    assert answer.objects[0].name == thing.category
    assert answer.header.frame_id == "map"
    assert answer.header.stamp == objects.header.stamp
    assert [one.name for one in session.query("mug", min_score=0.5).objects] == [thing.category]

    assert "empty" in session.query("  ").message
    sha[0] = "b" * 64
    assert "changed its weights" in session.query("mug").message
    sha[0], size[0] = SHA, 3
    assert "the text one of 3" in session.query("mug").message
    hang.append(2.0)
    answer = session.query("mug")
    assert not answer.success
    assert "did not answer within 1 s" in answer.message


def test_stamps_that_go_back_begin_a_new_world(graph, steps):
    session = SemanticSession(graph, tf_timeout_s=2.0)
    for step in steps[1]:
        before = session.walk(later(step, 100.0))
    assert before.objects
    for step in steps[1]:
        after = session.walk(step)
    assert min(one.id for one in after.objects) > max(one.id for one in before.objects)
    status = graph.status(session.node)
    assert status.count("clock_restarts") == 1
    assert status.count("failed") == status.count("rejected") == 0, status


def test_clouds_that_are_not_organised_are_rejected_with_the_reason(graph, steps):
    session = SemanticSession(graph)
    publisher = graph.publisher(PointCloud2, "/geometry/points")
    frame = steps[1][0].frame
    flat = np.zeros((12, 3), np.float32)
    publisher.publish(cloud_from_points(flat, frame.stamp_ns, frame.optical_frame))
    for sender, message in zip(
        (session.panoptic, session.confidence, session.segments),
        segmentation_messages(steps[1][0]), strict=True,
    ):  # fmt: skip
        sender.publish(message)
    status = graph.status(session.node, lambda s: s.count("rejected.unusable") == 1)
    assert "must be organised" in status.message
