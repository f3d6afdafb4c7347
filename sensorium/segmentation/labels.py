"""Label images: class ids, packed panoptic ids, confidence, and a picture for people.

Conventions: vision_msgs (the highest value of a label image is "unlabelled") and the packed
panoptic image of MIT-SPARK's semantic_inference (upper 16 bits class, lower 16 bits instance).
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

MONO8_CLASSES = 255
UNLABELLED_PANOPTIC = 0
_OPACITY = 0.5
_GOLDEN_RATIO = 0.618034
_SMALLEST_NAMED_PX = 400


class LabelledSegment(Protocol):
    """What is needed of a segment; see ``sensorium.models.fcclip.Segment``."""

    @property
    def id(self) -> int:
        """Its value in the map of segment ids, from 1."""

    @property
    def category_id(self) -> int:
        """Index of its class."""

    @property
    def name(self) -> str:
        """Name of its class."""

    @property
    def score(self) -> float:
        """Class probability."""

    @property
    def area(self) -> int:
        """Pixels."""


def unlabelled_value(class_count: int) -> int:
    """The value of unlabelled pixels: 255 for up to 255 classes (mono8), else 65535 (mono16)."""
    return 255 if class_count <= MONO8_CLASSES else 65535


def semantic_labels(
    segment_ids: npt.NDArray[np.int32], segments: Sequence[LabelledSegment], class_count: int
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Return the class id of each pixel's segment.

    Args:
        segment_ids: (H, W), 0 where nothing is labelled.
        segments: in order of their ids, which count from 1.
        class_count: classes in the vocabulary.

    Returns:
        (H, W) uint8 for up to 255 classes, else uint16; ``unlabelled_value`` where unlabelled.
    """
    table = np.full(len(segments) + 1, unlabelled_value(class_count))
    table[1:] = [segment.category_id for segment in segments]
    return class_labels(table[segment_ids], class_count)


def class_labels(
    classes: npt.NDArray[np.int64], class_count: int
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Return class ids (H, W) in the smallest type that leaves its highest value for unlabelled."""
    if class_count <= MONO8_CLASSES:
        return classes.astype(np.uint8)
    return classes.astype(np.uint16)


def panoptic_id(segment: LabelledSegment) -> int:
    """The packed value of a segment: class << 16 | instance, where the instance is its id."""
    return segment.category_id << 16 | segment.id


def packed_panoptic(
    segment_ids: npt.NDArray[np.int32], segments: Sequence[LabelledSegment]
) -> npt.NDArray[np.int32]:
    """Return (H, W) packed values; 0 where nothing is labelled, which no segment has."""
    table = np.full(len(segments) + 1, UNLABELLED_PANOPTIC, np.int32)
    table[1:] = [panoptic_id(segment) for segment in segments]
    packed: npt.NDArray[np.int32] = table[segment_ids]
    return packed


def confidence_bytes(confidence: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return confidence 0..1 (H, W) as 0..255, rounded."""
    scaled: npt.NDArray[np.uint8] = np.rint(confidence.clip(0, 1) * 255).astype(np.uint8)
    return scaled


def class_color(category_id: int) -> tuple[int, int, int]:
    """A colour (R, G, B) that stays the same for a class id; neighbouring ids differ in hue."""
    hue = category_id * _GOLDEN_RATIO % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.65 + 0.3 * (category_id % 2), 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def overlay(
    image_rgb: npt.NDArray[np.uint8],
    segment_ids: npt.NDArray[np.int32],
    segments: Sequence[LabelledSegment],
) -> npt.NDArray[np.uint8]:
    """Return the picture with coloured segments, dark borders and names with scores.

    Args:
        image_rgb: (H, W, 3) uint8.
        segment_ids: (H, W), 0 where nothing is labelled; such pixels keep their colour.
        segments: in order of their ids.
    """
    colors = np.zeros((len(segments) + 1, 3), np.uint8)
    for segment in segments:
        colors[segment.id] = class_color(segment.category_id)
    labelled = segment_ids > 0
    blended = cv2.addWeighted(image_rgb, 1 - _OPACITY, colors[segment_ids], _OPACITY, 0)
    result: npt.NDArray[np.uint8] = np.where(labelled[..., None], blended, image_rgb)
    border = np.zeros_like(labelled)
    border[:, 1:] |= segment_ids[:, 1:] != segment_ids[:, :-1]
    border[1:] |= segment_ids[1:] != segment_ids[:-1]
    result[border] = 30
    for segment in segments:
        if segment.area >= _SMALLEST_NAMED_PX:
            _write_name(result, segment_ids == segment.id, f"{segment.name} {segment.score:.2f}")
    return result


def _write_name(image: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_], text: str) -> None:
    # The middle row of the mask at its middle column lies inside even where the centroid does not.
    rows, columns = np.nonzero(mask)
    middle = len(rows) // 2
    size = max(0.35, image.shape[1] / 1600)
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    x = int(np.clip(columns[middle] - width // 2, 0, max(0, image.shape[1] - width)))
    y = int(np.clip(rows[middle] + height // 2, height, image.shape[0] - 1))
    for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(
            image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, color, thickness, cv2.LINE_AA
        )
