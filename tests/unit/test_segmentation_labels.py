"""Label images: packing, the value of unlabelled pixels, types, and the overlay."""

from dataclasses import dataclass

import numpy as np
import pytest

from sensorium.segmentation.labels import (
    class_color,
    class_labels,
    confidence_bytes,
    overlay,
    packed_panoptic,
    panoptic_id,
    semantic_labels,
    unlabelled_value,
)


@dataclass(frozen=True)
class Piece:
    id: int
    category_id: int
    name: str = "cup"
    score: float = 0.5
    area: int = 1


IDS = np.array([[0, 1], [2, 2]], np.int32)
SEGMENTS = (Piece(1, 4), Piece(2, 254))


def test_semantic_labels_are_classes_and_255_where_nothing_is_labelled():
    labels = semantic_labels(IDS, SEGMENTS, 255)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[255, 4], [254, 254]]


def test_above_255_classes_labels_have_16_bits():
    labels = semantic_labels(IDS, (Piece(1, 255), Piece(2, 300)), 301)
    assert labels.dtype == np.uint16
    assert labels.tolist() == [[65535, 255], [300, 300]]


@pytest.mark.parametrize(("count", "value"), [(1, 255), (255, 255), (256, 65535), (32767, 65535)])
def test_no_class_has_the_value_of_unlabelled(count, value):
    assert unlabelled_value(count) == value
    assert count - 1 < value
    assert class_labels(np.array([[count - 1]]), count).max() == count - 1


def test_panoptic_values_hold_class_and_instance():
    packed = packed_panoptic(IDS, SEGMENTS)
    assert packed.dtype == np.int32
    assert packed.tolist() == [[0, 4 * 65536 + 1], [254 * 65536 + 2] * 2]


def test_the_largest_class_keeps_the_sign():
    largest = Piece(65535, 32767)
    assert panoptic_id(largest) == 2**31 - 1
    assert (packed_panoptic(np.array([[1]], np.int32), (largest,)) > 0).all()


def test_a_picture_without_segments_is_unlabelled_everywhere():
    nothing = np.zeros((3, 4), np.int32)
    assert (semantic_labels(nothing, (), 2) == 255).all()
    assert (packed_panoptic(nothing, ()) == 0).all()
    image = np.full((3, 4, 3), 90, np.uint8)
    np.testing.assert_array_equal(overlay(image, nothing, ()), image)


def test_confidence_is_rounded_and_clipped():
    values = np.array([[-0.1, 0.0, 0.5, 0.999, 1.0, 1.1]], np.float32)
    assert confidence_bytes(values).tolist() == [[0, 0, 128, 255, 255, 255]]


def test_the_overlay_blends_the_class_colour_and_marks_borders():
    image = np.full((20, 30, 3), 100, np.uint8)
    ids = np.zeros((20, 30), np.int32)
    ids[:, 10:20] = 1
    result = overlay(image, ids, (Piece(1, 3, area=200),))
    assert image.max() == 100, "the picture itself stays as it is"
    np.testing.assert_array_equal(result[:, :10], image[:, :10])
    np.testing.assert_array_equal(result[:, 21:], image[:, 21:])
    blended = (100 + np.array(class_color(3))) / 2
    assert np.abs(result[:, 11:20] - blended).max() <= 1
    assert (result[:, 10] == 30).all()


def test_large_segments_carry_their_name_inside_the_picture():
    image = np.zeros((60, 200, 3), np.uint8)
    ids = np.ones((60, 200), np.int32)
    plain = overlay(image, ids, (Piece(1, 0, area=1),))
    named = overlay(image, ids, (Piece(1, 0, area=12000),))
    assert (named != plain).any()


def test_classes_have_distinct_colours():
    assert len({class_color(i) for i in range(200)}) == 200
