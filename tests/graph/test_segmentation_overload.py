"""A slow or failing model costs pictures, which are counted; the newest one is worked on."""

import time

import pytest
from segmentation_tools import START_NS, SegmentationSession, by_stamp, image, make_checkpoint

PICTURES = 20


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("fcclip"))


def replace_segment(session, change):
    segmenter = session.node.node._segmenter
    segment = segmenter.segment
    segmenter.segment = lambda pixels: change(segment, pixels)


def test_a_slow_model_takes_the_newest_picture_and_counts_the_others(graph, checkpoint, tmp_path):
    session = SegmentationSession(graph, checkpoint[0], tmp_path)

    def slow(segment, pixels):
        time.sleep(0.3)
        return segment(pixels)

    replace_segment(session, slow)
    for number in range(PICTURES):
        session.publisher.publish(image(START_NS + number))
        time.sleep(0.03)
    status = session.settled(PICTURES)
    assert status.count("received") == PICTURES
    assert status.count("superseded") > PICTURES // 2
    assert status.count("failed") == status.count("rejected") == 0
    stamps = list(by_stamp(session.segments))
    assert len(stamps) == status.count("processed")
    assert stamps == sorted(stamps)
    assert stamps[-1] == START_NS + PICTURES - 1


def test_a_picture_that_fails_inside_is_counted_and_the_next_one_is_taken(
    graph, checkpoint, tmp_path
):
    session = SegmentationSession(graph, checkpoint[0], tmp_path)
    failures = iter([True])

    def failing_once(segment, pixels):
        if next(failures, False):
            raise RuntimeError("out of memory")
        return segment(pixels)

    replace_segment(session, failing_once)
    session.publisher.publish(image(START_NS))
    status = graph.status("/segmentation", lambda s: s.count("failed") == 1)
    assert "1 pictures failed inside the node" in status.message
    session.segment(image(START_NS + 1))
    assert session.settled(2).count("processed") == 1
