"""Texts and segments in one space: `~/encode_text` and the embeddings of segments."""

import numpy as np
import pytest
from graph_tools import SECOND_NS
from segmentation_tools import (
    CLASSES,
    START_NS,
    THINGS,
    SegmentationSession,
    color,
    image,
    make_checkpoint,
)
from sensorium_ros.srv import EncodeText


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("fcclip"))


def encode(session, *texts):
    request = EncodeText.Request(texts=list(texts))
    return session.graph.call(EncodeText, "/segmentation/encode_text", request)


def test_texts_become_the_models_vectors_and_compare_with_segments(graph, tmp_path, checkpoint):
    directory, model = checkpoint
    session = SegmentationSession(graph, directory, tmp_path, embeddings=True)
    answer = encode(session, "the  red mug", "dog")
    assert answer.success, answer.message
    vectors = np.reshape(answer.vectors, (2, answer.size))
    np.testing.assert_allclose(vectors, model.embed_names(["the red mug", "dog"]), atol=1e-5)
    assert len(answer.weights_sha256) == 64
    assert encode(session, "dog").weights_sha256 == answer.weights_sha256

    segments = session.segment(image(START_NS))
    model.set_vocabulary(CLASSES, things=range(len(THINGS)))
    result = model.predict(color())
    expected = [result.query_embedding[segment.query].numpy() for segment in result.segments]
    assert expected, "the picture has segments"
    np.testing.assert_allclose([s.embedding for s in segments.segments], expected, atol=1e-4)

    assert graph.set(session.node, "embeddings", False).successful
    later = session.segment(image(START_NS + SECOND_NS))
    assert all(len(segment.embedding) == 0 for segment in later.segments)


def test_texts_that_cannot_be_encoded_are_refused_with_the_reason(graph, tmp_path, checkpoint):
    session = SegmentationSession(graph, checkpoint[0], tmp_path)
    for texts, reason in (((), "0 texts"), (("mug", " "), "0 characters"), (("x" * 300,), "300")):
        answer = encode(session, *texts)
        assert not answer.success
        assert reason in answer.message
    assert graph.change(session.node, "deactivate")
    assert graph.change(session.node, "cleanup")
    answer = encode(session, "mug")
    assert not answer.success
    assert "not configured" in answer.message
