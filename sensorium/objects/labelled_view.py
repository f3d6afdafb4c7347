"""Points and segments of one picture on one pixel grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

UNLABELLED_CLASS = 65535
_INSTANCE_MASK = 0xFFFF


@dataclass(frozen=True, slots=True, eq=False)
class SeenSegment:
    """One segment of a picture.

    Attributes:
        panoptic_id: value of its pixels, class << 16 | instance.
        class_id: index in the class list of the picture.
        name: first synonym of the class.
        is_thing: True for countable things.
        score: probability of the class, 0 to 1.
        embedding: (D,) unit vector, or None when the segmentation gives none.
    """

    panoptic_id: int
    class_id: int
    name: str
    is_thing: bool
    score: float
    embedding: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LabelledView:
    """A picture with points: what it shows and where that is.

    Attributes:
        stamp_ns: time of the picture [ns].
        points_m: (H, W, 3) float32 in the optical frame [m]; NaN is no point.
        segment: (H, W) uint16, index + 1 into `segments`; 0 is unlabelled.
        confidence: (H, W) float32, 0 to 1; 0 where unlabelled.
        segments: what is in the picture.
        class_names: the class list that named the segments.
        vocabulary_version: its version.
    """

    stamp_ns: int
    points_m: NDArray[np.float32]
    segment: NDArray[np.uint16]
    confidence: NDArray[np.float32]
    segments: tuple[SeenSegment, ...]
    class_names: tuple[str, ...]
    vocabulary_version: int

    @property
    def labels(self) -> NDArray[np.uint32]:
        """(H, W) class of each point; UNLABELLED_CLASS where unlabelled."""
        table = np.array([UNLABELLED_CLASS, *(s.class_id for s in self.segments)], np.uint32)
        labels: NDArray[np.uint32] = table[self.segment]
        return labels

    @property
    def instances(self) -> NDArray[np.uint32]:
        """(H, W) instance of each point within the picture, from 1; 0 where unlabelled."""
        numbers = (s.panoptic_id & _INSTANCE_MASK for s in self.segments)
        instances: NDArray[np.uint32] = np.array([0, *numbers], np.uint32)[self.segment]
        return instances


def on_grid(values: NDArray[np.generic], height: int, width: int) -> NDArray[np.generic]:
    """Return an image (h, w) on a grid of another size, each pixel that of the nearest centre.

    Both grids show the same field of view: pixel u of W has its centre at (u + 0.5) / W.
    """
    if values.shape == (height, width):
        return values
    rows = ((np.arange(height) + 0.5) * values.shape[0] / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * values.shape[1] / width).astype(np.int64)
    return values[np.ix_(rows, columns)]


def segment_indices(
    panoptic: NDArray[np.int32], segments: Sequence[SeenSegment]
) -> NDArray[np.uint16]:
    """Return (H, W) index + 1 of each pixel's segment; 0 where its value is of no segment.

    Args:
        panoptic: (H, W) packed values, 0 where unlabelled.
        segments: fewer than 65535.
    """
    instances = panoptic & _INSTANCE_MASK
    table = np.zeros(_INSTANCE_MASK + 1, np.uint16)
    values = np.zeros(_INSTANCE_MASK + 1, np.int32)
    for index, segment in enumerate(segments):
        table[segment.panoptic_id & _INSTANCE_MASK] = index + 1
        values[segment.panoptic_id & _INSTANCE_MASK] = segment.panoptic_id
    indices: NDArray[np.uint16] = np.where(values[instances] == panoptic, table[instances], 0)
    return indices


def trusted(view: LabelledView, border_px: int, edge_fraction: float) -> NDArray[np.bool_]:
    """Return (H, W) where both label and point can be believed.

    A pixel on the far side of a change of depth may be a mixture of both depths, or belong to what
    is behind. One near another segment may belong to that, unless it clearly lies before it: the
    outline of a thing against its background is where its mask can be checked by depth.

    Args:
        view: the picture.
        border_px: distance from other segments [px].
        edge_fraction: changes of depth between neighbours beyond this fraction are edges.
    """
    depth_m = np.ascontiguousarray(view.points_m[..., 2])
    valid = np.isfinite(depth_m) & (depth_m > 0)
    beside = np.ones((3, 3), np.uint8)
    nearest = cv2.erode(np.where(valid, depth_m, np.float32(np.inf)), beside)
    kept: NDArray[np.bool_] = valid & (view.segment > 0)
    kept &= depth_m - nearest <= edge_fraction * nearest
    if border_px > 0:
        window = np.ones((2 * border_px + 1, 2 * border_px + 1), np.uint8)
        is_border = cv2.dilate(view.segment, window) != cv2.erode(view.segment, window)
        farthest = cv2.dilate(np.where(valid, depth_m, np.float32(0)), window)
        kept &= ~is_border | (farthest - depth_m > edge_fraction * depth_m)
    return kept
