"""The class list changes while pictures come: at once or not at all, never half."""

import itertools
import threading
import time

import numpy as np
import pytest
from graph_nodes import wait_until
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from segmentation_tools import (
    CLASSES,
    PERIOD_NS,
    START_NS,
    SegmentationSession,
    by_stamp,
    color,
    expected_panoptic,
    image,
    make_checkpoint,
    steadily,
)
from sensorium_ros.srv import SetVocabulary

from sensorium.ros.convert.image import labels_from_image

LISTS = (
    ("mug", "floor"),
    ("cat", "sofa,couch", "lamp", "plant"),
    ("bolt", "nut", "washer", "tray", "hand", "screwdriver", "belt"),
    ("sky",),
    ("floor", "mug"),
)
CHANGES = 100


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("fcclip"))


def test_a_service_call_changes_list_version_and_parameter(graph, checkpoint, tmp_path):
    session = SegmentationSession(graph, checkpoint[0], tmp_path)
    assert session.segment(image(START_NS)).vocabulary_version == 1
    answer = session.set_vocabulary(["cat", "sofa, couch"], ["cat"])
    assert answer.success, answer.message
    assert answer.version == 2
    assert 0 < answer.seconds < 60
    segments = session.segment(image(START_NS + 1))
    assert segments.vocabulary_version == 2
    assert list(segments.class_names) == ["cat", "sofa"]
    wait_until(
        lambda: session.node.node.configuration.vocabulary == ("cat", "sofa,couch"),
        "the parameter does not show the list",
    )
    assert session.node.node.configuration.things == ("cat",)
    status = graph.status("/segmentation", lambda s: s.count("vocabulary.changed") == 1)
    assert status.count("vocabulary.version") == 2, status


def test_the_parameter_changes_the_list(graph, checkpoint, tmp_path):
    session = SegmentationSession(graph, checkpoint[0], tmp_path, things=[])
    assert graph.set(session.node, "vocabulary", ["cat", "sofa"]).successful
    graph.status("/segmentation", lambda s: s.count("vocabulary.version") == 2)
    assert list(session.segment(image(START_NS)).class_names) == ["cat", "sofa"]


@pytest.mark.parametrize(
    ("names", "things", "text"),
    [
        ([], [], "the class list is empty"),
        ([f"name {i}" for i in range(11)], [], "has 11 entries; 'max_classes' allows 10"),
        (["cup,mug", "plate", "Mug"], [], "the name 'Mug' occurs twice, in 'cup,mug' and 'Mug'"),
        (["cup,,mug"], [], "holds an empty name"),
        (["x" * 65], [], "has 65 characters; at most 64"),
        (["cup"], ["plate"], "the thing 'plate' is not in the class list"),
    ],
)
def test_a_bad_list_is_refused_and_the_old_one_stays(
    graph, checkpoint, tmp_path, names, things, text
):
    session = SegmentationSession(graph, checkpoint[0], tmp_path, things=[], max_classes=10)
    answer = session.set_vocabulary(names, things)
    assert not answer.success
    assert text in answer.message
    assert answer.version == 1
    name, value = ("things", things) if things else ("vocabulary", names)
    if value:
        result = graph.set(session.node, name, value)
        assert not result.successful
        assert "the old list stays" in result.reason
    segments = session.segment(image(START_NS))
    assert segments.vocabulary_version == 1
    assert len(segments.class_names) == len(CLASSES)


def test_the_old_list_goes_on_while_a_new_one_is_encoded(graph, checkpoint, tmp_path):
    session = SegmentationSession(graph, checkpoint[0], tmp_path)
    segmenter = session.node.node._segmenter
    encoding, go_on = threading.Event(), threading.Event()
    embed = segmenter._model.embed_names

    def slow(names):
        encoding.set()
        assert go_on.wait(30)
        return embed(names)

    segmenter._model.embed_names = slow
    answers = []
    caller = threading.Thread(target=lambda: answers.append(session.set_vocabulary(["cat"])))
    caller.start()
    assert encoding.wait(30)
    for number in range(3):
        assert session.segment(image(START_NS + number)).vocabulary_version == 1
    go_on.set()
    caller.join(30)
    assert answers[0].version == 2
    assert session.segment(image(START_NS + 9)).vocabulary_version == 2


def test_who_waits_for_a_list_is_answered_when_the_node_is_cleaned_up(graph, checkpoint, tmp_path):
    session = SegmentationSession(graph, checkpoint[0], tmp_path)
    segmenter = session.node.node._segmenter
    encoding = threading.Event()
    embed = segmenter._model.embed_names

    def slow(names):
        encoding.set()
        time.sleep(0.5)
        return embed(names)

    segmenter._model.embed_names = slow
    futures = [
        session.client.call_async(SetVocabulary.Request(names=[f"{kind} {i}" for i in range(40)]))
        for kind in ("nut", "bolt")
    ]
    assert encoding.wait(30)
    assert graph.change(session.node, "deactivate")
    assert graph.change(session.node, "cleanup")
    for future in futures:
        wait_until(future.done, "no answer")
        assert not future.result().success
        assert "the old list stays" in future.result().message


def test_a_failure_while_encoding_is_answered_and_the_old_list_stays(graph, checkpoint, tmp_path):
    session = SegmentationSession(graph, checkpoint[0], tmp_path)

    def broken(_names):
        raise OSError("no space left on device")

    session.node.node._segmenter._model.embed_names = broken
    answer = session.set_vocabulary(["cat"])
    assert not answer.success
    assert "no space left on device; the old list stays" in answer.message
    assert session.segment(image(START_NS)).vocabulary_version == 1
    status = graph.status("/segmentation", lambda s: s.count("vocabulary.failed") == 1)
    assert "no space left on device" in status.message


def test_a_hundred_random_changes_lose_no_picture_and_mix_no_lists(graph, checkpoint, tmp_path):
    directory, model = checkpoint
    pictures = [color(seed) for seed in range(2)]
    expected = {
        (names, i): expected_panoptic(model, names, None, pixels)
        for names in LISTS
        for i, pixels in enumerate(pictures)
    }
    for i in range(len(pictures)):
        for one, other in itertools.combinations(LISTS, 2):
            assert differing_share(expected[one, i], expected[other, i]) > 0.05
    session = SegmentationSession(graph, directory, tmp_path, vocabulary=list(LISTS[0]), things=[])
    list_of_version = {1: LISTS[0]}
    stream = _Stream(session, len(pictures))
    stream.start()
    random = np.random.default_rng(3)
    parameters = graph.probe.create_client(SetParameters, "/segmentation/set_parameters")
    wait_until(parameters.service_is_ready, "no set_parameters")
    for version in range(2, CHANGES + 2):
        others = [names for names in LISTS if names != list_of_version[version - 1]]
        names = list_of_version[version] = others[random.integers(len(others))]
        if random.random() < 0.5:
            answer = session.set_vocabulary(list(names))
            assert answer.success, answer.message
            assert answer.version == version
        else:
            change = Parameter("vocabulary", value=list(names)).to_parameter_msg()
            future = parameters.call_async(SetParameters.Request(parameters=[change]))
            wait_until(future.done, "set_parameters does not answer")
            assert future.result().results[0].successful, future.result()
        threading.Event().wait(random.uniform(0, 0.08))
    sent = stream.stop()
    status = session.settled(sent)
    assert status.count("vocabulary.version") == CHANGES + 1
    assert status.count("received") == sent
    assert status.count("failed") == status.count("rejected") == status.count("lost") == 0

    wait_until(
        lambda: len(session.segments) == status.count("processed"),
        lambda: f"{len(session.segments)} messages; {status}",
    )
    maps = by_stamp(session.images["panoptic"])
    versions, compared = [], 0
    for stamp_ns, segments in by_stamp(session.segments).items():
        names = list_of_version[segments.vocabulary_version]
        assert tuple(segments.class_names) == tuple(n.partition(",")[0] for n in names)
        index = (stamp_ns - START_NS) // PERIOD_NS % len(pictures)
        if stamp_ns in maps:
            found = labels_from_image(maps[stamp_ns])
            # A pixel between two masks may fall to either one, as sums are ordered by chance.
            assert differing_share(found, expected[names, index]) < 0.01
            compared += 1
        versions.append(segments.vocabulary_version)
    assert versions == sorted(versions)
    assert len(set(versions)) > 20
    assert compared > 20


def differing_share(one, other):
    return np.count_nonzero(one != other) / one.size


class _Stream:
    """Publishes pictures at 20 Hz from a thread until it is stopped."""

    def __init__(self, session, pictures):
        self._publisher = session.publisher
        self._pictures = pictures
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._publish, daemon=True)
        self._sent = 0

    def start(self):
        self._thread.start()

    def stop(self):
        self._ending.set()
        self._thread.join(10.0)
        return self._sent

    def _publish(self):
        for number in steadily(20.0, 100_000):
            if self._ending.is_set():
                return
            self._publisher.publish(image(START_NS + number * PERIOD_NS, number % self._pictures))
            self._sent += 1
