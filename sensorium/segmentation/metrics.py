"""Panoptic quality and mean intersection over union.

Panoptic quality follows Kirillov et al. 2019 and the rules of ``panopticapi`` for void and crowd;
mean IoU averages the classes that occur in the ground truth, as detectron2's evaluator does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IdMap = npt.NDArray[np.integer]
VOID_ID = 0


@dataclass(frozen=True)
class SegmentLabel:
    """One segment of an id map.

    Attributes:
        id: Its value in the map; 0 is void and no segment.
        category_id: Class.
        is_crowd: Ground truth only: a region of many things that is neither found nor missed.
    """

    id: int
    category_id: int
    is_crowd: bool = False


@dataclass(frozen=True)
class Quality:
    """Panoptic quality of a class or mean of some classes, all in 0..1.

    Attributes:
        pq: Panoptic quality, the product of the other two for a single class.
        sq: Segmentation quality: mean IoU of the matched segments.
        rq: Recognition quality: F1 score of the matching.
        classes: Number of classes in the mean.
    """

    pq: float
    sq: float
    rq: float
    classes: int


@dataclass
class _Count:
    matched: int = 0
    false_positive: int = 0
    false_negative: int = 0
    iou: float = 0.0

    @property
    def occurs(self) -> bool:
        return self.matched + self.false_positive + self.false_negative > 0

    def quality(self) -> Quality:
        if not self.occurs:
            return Quality(0.0, 0.0, 0.0, 0)
        halves = self.matched + 0.5 * self.false_positive + 0.5 * self.false_negative
        sq = self.iou / self.matched if self.matched else 0.0
        return Quality(self.iou / halves, sq, self.matched / halves, 1)


class PanopticQuality:
    """Collects matches over pictures.

    Args:
        category_ids: All classes that may occur.
    """

    def __init__(self, category_ids: Iterable[int]) -> None:
        self._counts = {category_id: _Count() for category_id in category_ids}

    def add(
        self,
        predicted: IdMap,
        predicted_segments: Iterable[SegmentLabel],
        truth: IdMap,
        truth_segments: Iterable[SegmentLabel],
    ) -> None:
        """Match one picture.

        A predicted and a true segment of the same class match when their IoU, counted without the
        pixels that are void in the truth, exceeds one half. An unmatched prediction is no mistake
        when more than half of it lies on void or on a crowd of its class.

        Args:
            predicted: Segment ids (H, W), 0 for none.
            predicted_segments: A label for every id in ``predicted``.
            truth: Segment ids (H, W), 0 for void.
            truth_segments: A label for every id in ``truth``.

        Raises:
            ValueError: If shapes differ, a segment has no pixels, or an id or a class is not known.
        """
        if predicted.shape != truth.shape:
            raise ValueError(
                f"prediction is {predicted.shape} and truth is {truth.shape}; resize the "
                "prediction to the truth first"
            )
        found = self._check("prediction", predicted, predicted_segments)
        true = self._check("truth", truth, truth_segments)
        found_area, true_area = _areas(predicted), _areas(truth)
        overlap = _overlaps(predicted, truth)

        matched_found, matched_true = set(), set()
        for (found_id, true_id), shared in overlap.items():
            if VOID_ID in (found_id, true_id) or true[true_id].is_crowd:
                continue
            category_id = found[found_id].category_id
            if category_id != true[true_id].category_id:
                continue
            on_void = overlap.get((found_id, VOID_ID), 0)
            iou = shared / (found_area[found_id] + true_area[true_id] - shared - on_void)
            if iou > 0.5:
                self._counts[category_id].matched += 1
                self._counts[category_id].iou += iou
                matched_found.add(found_id)
                matched_true.add(true_id)

        for true_id, label in true.items():
            if true_id not in matched_true and not label.is_crowd:
                self._counts[label.category_id].false_negative += 1
        for found_id, label in found.items():
            if found_id in matched_found:
                continue
            forgiven = overlap.get((found_id, VOID_ID), 0) + sum(
                overlap.get((found_id, other.id), 0)
                for other in true.values()
                if other.is_crowd and other.category_id == label.category_id
            )
            if forgiven / found_area[found_id] <= 0.5:
                self._counts[label.category_id].false_positive += 1

    def merge(self, other: PanopticQuality) -> None:
        """Add the counts of another collector over the same classes."""
        for category_id, count in other._counts.items():
            mine = self._counts[category_id]
            mine.matched += count.matched
            mine.false_positive += count.false_positive
            mine.false_negative += count.false_negative
            mine.iou += count.iou

    def counts(self) -> npt.NDArray[np.float64]:
        """Return matched, false positive, false negative and summed IoU, (classes, 4)."""
        return np.array(
            [(c.matched, c.false_positive, c.false_negative, c.iou) for c in self._counts.values()]
        )

    def per_class(self) -> dict[int, Quality]:
        """Return the quality of every class that occurred in prediction or truth."""
        return {c: count.quality() for c, count in self._counts.items() if count.occurs}

    def mean(self, category_ids: Iterable[int] | None = None) -> Quality:
        """Average over the classes that occurred, all of them or those given."""
        wanted = set(self._counts if category_ids is None else category_ids)
        chosen = [quality for c, quality in self.per_class().items() if c in wanted]
        if not chosen:
            return Quality(0.0, 0.0, 0.0, 0)
        pq, sq, rq = np.mean([(q.pq, q.sq, q.rq) for q in chosen], axis=0)
        return Quality(float(pq), float(sq), float(rq), len(chosen))

    def _check(
        self, name: str, ids: IdMap, segments: Iterable[SegmentLabel]
    ) -> dict[int, SegmentLabel]:
        labels = {segment.id: segment for segment in segments}
        present = set(_areas(ids)) - {VOID_ID}
        if present != set(labels):
            odd = sorted(present ^ set(labels))
            raise ValueError(
                f"ids {odd[:5]} are only in the map or only in the segment list of the {name}; the "
                "two must agree"
            )
        unknown = {label.category_id for label in labels.values()} - set(self._counts)
        if unknown:
            raise ValueError(f"the {name} has classes {sorted(unknown)} that are not in the list")
        return labels


class MeanIoU:
    """Collects a confusion matrix of class labels.

    Args:
        classes: Number of classes; labels are 0..classes - 1.
        ignored: True label that is not counted.
    """

    def __init__(self, classes: int, ignored: int = 255) -> None:
        if 0 <= ignored < classes:
            raise ValueError(f"ignored label {ignored} is one of the {classes} classes")
        self._classes = classes
        self._ignored = ignored
        # One more column for predictions that are no class (unlabelled pixels).
        self._confusion = np.zeros((classes, classes + 1), np.int64)

    def add(self, predicted: npt.NDArray[np.integer], truth: npt.NDArray[np.integer]) -> None:
        """Count one picture.

        Args:
            predicted: Class of every pixel (H, W); anything outside of 0..classes - 1 is a miss.
            truth: The same; ``ignored`` where it does not count.

        Raises:
            ValueError: If shapes differ or the truth holds an unknown label.
        """
        if predicted.shape != truth.shape:
            raise ValueError(f"prediction is {predicted.shape} and truth is {truth.shape}")
        counted = truth != self._ignored
        true, found = truth[counted].astype(np.int64), predicted[counted].astype(np.int64)
        if true.size and (true.min() < 0 or true.max() >= self._classes):
            raise ValueError(
                f"true labels run from {true.min()} to {true.max()}; they must be below "
                f"{self._classes} or {self._ignored}"
            )
        found = np.where((found < 0) | (found >= self._classes), self._classes, found)
        flat = np.bincount(true * (self._classes + 1) + found, minlength=self._confusion.size)
        self._confusion += flat.reshape(self._confusion.shape)

    def counts(self) -> npt.NDArray[np.int64]:
        """Return pixels in both, in either, and in the truth, (classes, 3)."""
        correct = np.diagonal(self._confusion)
        true = self._confusion.sum(1)
        return np.stack((correct, true + self._confusion[:, :-1].sum(0) - correct, true), 1)

    def per_class(self) -> dict[int, float]:
        """Return the IoU of every class that occurs in the truth."""
        both, either, true = self.counts().T
        return {int(c): float(both[c] / either[c]) for c in np.flatnonzero(true)}

    def mean(self, classes: Iterable[int] | None = None) -> float:
        """Average over the classes in the truth, all of them or those given; NaN without any."""
        wanted = set(range(self._classes) if classes is None else classes)
        chosen = [iou for c, iou in self.per_class().items() if c in wanted]
        return float(np.mean(chosen)) if chosen else float("nan")


def _areas(ids: IdMap) -> Mapping[int, int]:
    values, counts = np.unique(ids, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _overlaps(first: IdMap, second: IdMap) -> dict[tuple[int, int], int]:
    # Ids have at most 24 bits (three bytes of a PNG); one key per pair sorts much faster than rows.
    keys = (first.ravel().astype(np.int64) << 32) | second.ravel().astype(np.int64)
    values, counts = np.unique(keys, return_counts=True)
    pairs = zip((values >> 32).tolist(), (values & 0xFFFFFFFF).tolist(), strict=True)
    return dict(zip(pairs, counts.tolist(), strict=True))
