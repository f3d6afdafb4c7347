"""Points and segments of one picture on one pixel grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

UNLABELLED_CLASS = 65535
# Name of a thing that no segment names.
UNNAMED = "unknown"
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
    is behind. One near other segments may belong to them, unless it clearly lies before them: the
    outline of a thing against its background is where its mask is confirmed by depth.

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
        row, column = np.nonzero(kept & is_border)
        others_m = _nearest_of_others(view.segment, depth_m, row, column, border_px)
        own_m = depth_m[row, column]
        # Where others have no depth, nothing confirms the outline.
        kept[row, column] = others_m - own_m > edge_fraction * own_m
    return kept


def _nearest_of_others(
    segment: NDArray[np.uint16],
    depth_m: NDArray[np.float32],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    reach_px: int,
) -> NDArray[np.float32]:
    """Return the least depth (N,) among pixels of other segments around pixels; 0 if unknown."""
    height, width = segment.shape
    own = segment[row, column]
    nearest = np.full(len(row), np.inf, np.float32)
    for down, right in product(range(-reach_px, reach_px + 1), repeat=2):
        # Beyond the picture its edge is repeated.
        r = (row + down).clip(0, height - 1)
        c = (column + right).clip(0, width - 1)
        depth = np.nan_to_num(depth_m[r, c], nan=0.0)
        nearest = np.where(segment[r, c] != own, np.minimum(nearest, depth), nearest)
    return nearest
