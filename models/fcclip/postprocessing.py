"""Queries to semantic scores, a panoptic map and instances, a few full-size masks at a time.

Follows the published inference (Mask2Former, section 3.4, with FC-CLIP's thresholds). Full-size
masks of all queries would need 1 GB at 800 x 1333; everything here is a sum, a maximum or a count
over queries, so a running result over small groups gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.models.fcclip.class_list import Vocabulary
from sensorium.models.fcclip.modeling_decoder import resize

GROUP_VALUES_CPU = 2**22
GROUP_VALUES_GPU = 2**27
INSTANCE_SCORE_EPS = 1e-6


@dataclass(frozen=True)
class Segment:
    """One segment of the panoptic map.

    Attributes:
        id: Value of its pixels in the map, from 1.
        category_id: Index of its class in the vocabulary.
        name: First synonym of the class.
        is_thing: Whether the class is countable.
        score: Class probability of its query, 0..1; the highest one where stuff was merged.
        area: Pixels in the map.
        box: (x_min, y_min, x_max, y_max) in pixels, the maxima exclusive.
        query: Index of the query the score is from.
    """

    id: int
    category_id: int
    name: str
    is_thing: bool
    score: float
    area: int
    box: tuple[int, int, int, int]
    query: int


@dataclass(frozen=True)
class PanopticOutput:
    """Panoptic map and what it is made of.

    Attributes:
        panoptic: int32 (H, W) segment ids, 0 where nothing is labelled.
        confidence: float32 (H, W) class probability times mask probability of the winning query,
            0 where nothing is labelled.
        segments: The segments in order of their ids.
    """

    panoptic: Tensor
    confidence: Tensor
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class InstanceOutput:
    """Instances of thing classes, in no particular order.

    Attributes:
        scores: float32 (N,) class probability times mean mask probability.
        classes: int64 (N,) class indices.
        masks: bool (N, H, W).
        boxes: int64 (N, 4) x_min, y_min, x_max, y_max in pixels, the maxima exclusive; zeros where
            a mask is empty.
        queries: int64 (N,) query indices; a query may appear with several classes.
    """

    scores: Tensor
    classes: Tensor
    masks: Tensor
    boxes: Tensor
    queries: Tensor


@dataclass(frozen=True)
class MaskScaler:
    """Brings mask logits of the network to the size of the picture.

    Attributes:
        mask_logits: (Q, h, w) at a quarter of the padded network input.
        padded_size: (height, width) of the network input.
        resized_size: (height, width) of the picture inside it.
        original_size: (height, width) of the picture as given.
    """

    mask_logits: Tensor
    padded_size: tuple[int, int]
    resized_size: tuple[int, int]
    original_size: tuple[int, int]

    def full(self, queries: Tensor) -> Tensor:
        """Return the full-size logits (n, H, W) of some queries."""
        height, width = self.resized_size
        maps = resize(self.mask_logits[queries][None], self.padded_size)
        return resize(maps[..., :height, :width], self.original_size)[0]

    def groups(self, queries: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (positions in ``queries``, full-size logits) for a few queries at a time."""
        limit = GROUP_VALUES_GPU if self.mask_logits.is_cuda else GROUP_VALUES_CPU
        largest = max(h * w for h, w in (self.padded_size, self.original_size))
        size = max(1, limit // largest)
        for start in range(0, len(queries), size):
            positions = torch.arange(start, min(start + size, len(queries)), device=queries.device)
            yield positions, self.full(queries[positions])


def semantic_scores(mask_cls: Tensor, scaler: MaskScaler) -> Tensor:
    """Sum class probability times mask probability over all queries.

    Args:
        mask_cls: (Q, K + 1) class log-probabilities, void last.
        scaler: The masks.

    Returns:
        float32 (K, H, W); scores, not probabilities.
    """
    probability = mask_cls.softmax(-1)[:, :-1]
    height, width = scaler.original_size
    scores = probability.new_zeros(probability.shape[1], height * width)
    queries = torch.arange(len(mask_cls), device=mask_cls.device)
    for positions, logits in scaler.groups(queries):
        scores.addmm_(probability[positions].T, logits.sigmoid().flatten(1))
    return scores.view(-1, height, width)


def panoptic_map(
    mask_cls: Tensor,
    scaler: MaskScaler,
    vocabulary: Vocabulary,
    object_mask_threshold: float,
    overlap_threshold: float,
) -> PanopticOutput:
    """Give each pixel to the strongest query and keep the queries that stay mostly visible.

    Args:
        mask_cls: (Q, K + 1) class log-probabilities, void last; void queries are left out before
            any mask is upsampled.
        scaler: The masks.
        vocabulary: K classes; segments of the same stuff class are merged.
        object_mask_threshold: Queries must score above this.
        overlap_threshold: Least visible share of a mask.
    """
    scores, labels = mask_cls.softmax(-1).max(-1)
    queries = ((labels != len(vocabulary)) & (scores > object_mask_threshold)).nonzero()[:, 0]
    scores, labels = scores[queries], labels[queries]

    size = scaler.original_size
    strongest = scores.new_full(size, -1.0)
    mask_probability = scores.new_zeros(size)
    winner = torch.zeros(size, dtype=torch.int64, device=scores.device)
    whole_area = torch.zeros(len(queries), dtype=torch.int64, device=scores.device)
    for positions, logits in scaler.groups(queries):
        probability = logits.sigmoid()
        # One count per mask is several times faster on a CPU than a sum over two dimensions.
        whole_area[positions] = torch.stack([(x >= 0.5).count_nonzero() for x in probability])
        value, best = (scores[positions, None, None] * probability).max(0)
        stronger = value > strongest
        strongest = torch.where(stronger, value, strongest)
        winner = torch.where(stronger, best + positions[0], winner)
        won = probability.gather(0, best[None])[0]
        mask_probability = torch.where(stronger, won, mask_probability)

    inside = (mask_probability >= 0.5) & (strongest >= 0)
    won_area = torch.bincount(winner.flatten(), minlength=len(queries))
    visible_area = torch.bincount(winner[inside], minlength=len(queries))
    kept = (visible_area > 0) & ~(won_area / whole_area < overlap_threshold)
    segment_of, members = _number_segments(labels.tolist(), kept.tolist(), vocabulary)
    table = torch.tensor(segment_of or [0], device=winner.device)
    panoptic = torch.where(inside, table[winner], 0)

    areas = torch.bincount(panoptic.flatten(), minlength=len(members) + 1).tolist()
    boxes = _boxes_of_ids(panoptic, len(members))
    score_list, label_list, query_list = scores.tolist(), labels.tolist(), queries.tolist()
    segments = []
    for i, positions_of in enumerate(members):
        best_position = max(positions_of, key=score_list.__getitem__)
        category_id = label_list[best_position]
        segments.append(
            Segment(
                id=i + 1,
                category_id=category_id,
                name=vocabulary.label(category_id),
                is_thing=category_id in vocabulary.things,
                score=score_list[best_position],
                area=areas[i + 1],
                box=boxes[i],
                query=query_list[best_position],
            )
        )
    confidence = torch.where(panoptic > 0, strongest, 0)
    return PanopticOutput(panoptic.int(), confidence, tuple(segments))


def instances(
    mask_cls: Tensor, scaler: MaskScaler, vocabulary: Vocabulary, limit: int
) -> InstanceOutput:
    """Return the best (query, class) pairs of thing classes with their masks.

    Args:
        mask_cls: (Q, K + 1) class log-probabilities, void last.
        scaler: The masks.
        vocabulary: K classes.
        limit: Pairs considered, things and stuff together; the stuff among them is left out.
    """
    probability = mask_cls.softmax(-1)[:, :-1]
    best, flat = probability.flatten().topk(min(limit, probability.numel()), sorted=False)
    queries, classes = flat // len(vocabulary), flat % len(vocabulary)
    is_thing = torch.isin(classes, torch.tensor(sorted(vocabulary.things), device=classes.device))
    best, queries, classes = best[is_thing], queries[is_thing], classes[is_thing]

    distinct, row_of = torch.unique(queries, return_inverse=True)
    masks = torch.zeros(
        (len(distinct), *scaler.original_size), dtype=torch.bool, device=mask_cls.device
    )
    mask_score = best.new_zeros(len(distinct))
    for positions, logits in scaler.groups(distinct):
        inside = logits > 0
        masks[positions] = inside
        total = (logits.sigmoid() * inside).sum((1, 2))
        mask_score[positions] = total / (inside.sum((1, 2)) + INSTANCE_SCORE_EPS)
    return InstanceOutput(
        best * mask_score[row_of], classes, masks[row_of], _boxes_of_masks(masks)[row_of], queries
    )


def _number_segments(
    labels: list[int], kept: list[bool], vocabulary: Vocabulary
) -> tuple[list[int], list[list[int]]]:
    """Return the segment id of every query (0: dropped) and the queries of every segment."""
    segment_of: list[int] = []
    members: list[list[int]] = []
    stuff_segment: dict[int, int] = {}
    for position, (label, keep) in enumerate(zip(labels, kept, strict=True)):
        if not keep:
            segment_of.append(0)
            continue
        segment = len(members) + 1
        if label not in vocabulary.things:
            segment = stuff_segment.setdefault(label, segment)
        if segment > len(members):
            members.append([])
        members[segment - 1].append(position)
        segment_of.append(segment)
    return segment_of, members


def _boxes_of_ids(ids: Tensor, count: int) -> list[tuple[int, int, int, int]]:
    height, width = ids.shape
    y = torch.arange(height, device=ids.device)[:, None].expand_as(ids).flatten()
    x = torch.arange(width, device=ids.device).expand_as(ids).flatten()
    index = ids.flatten()

    def extreme(values: Tensor, reduce: str) -> list[int]:
        start = values.new_zeros(count + 1)
        found = start.scatter_reduce(0, index, values, reduce, include_self=False)
        return [int(v) for v in found[1:].tolist()]

    x_min, y_min = extreme(x, "amin"), extreme(y, "amin")
    x_max, y_max = extreme(x + 1, "amax"), extreme(y + 1, "amax")
    return list(zip(x_min, y_min, x_max, y_max, strict=True))


def _boxes_of_masks(masks: Tensor) -> Tensor:
    columns, rows = masks.any(1), masks.any(2)

    def ends(line: Tensor) -> tuple[Tensor, Tensor]:
        first = line.int().argmax(-1)
        last = line.shape[-1] - line.flip(-1).int().argmax(-1)
        return first, torch.where(line.any(-1), last, 0)

    (x_min, x_max), (y_min, y_max) = ends(columns), ends(rows)
    return torch.stack((x_min, y_min, x_max, y_max), -1)
