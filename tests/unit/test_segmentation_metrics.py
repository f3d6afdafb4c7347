"""Panoptic quality and mean IoU on cases worked by hand and against a direct computation."""

import numpy as np
import pytest

from sensorium.segmentation.metrics import MeanIoU, PanopticQuality, SegmentLabel

CUP, FLOOR, SKY = 7, 8, 9


def quality(predicted, predicted_segments, truth, truth_segments):
    metric = PanopticQuality([CUP, FLOOR, SKY])
    metric.add(np.array(predicted), predicted_segments, np.array(truth), truth_segments)
    return metric


def test_a_perfect_prediction_has_quality_one_whatever_its_ids():
    truth = [[1, 1, 2], [3, 3, 2]]
    predicted = [[9, 9, 4], [5, 5, 4]]
    metric = quality(
        predicted,
        [SegmentLabel(9, CUP), SegmentLabel(4, FLOOR), SegmentLabel(5, CUP)],
        truth,
        [SegmentLabel(1, CUP), SegmentLabel(2, FLOOR), SegmentLabel(3, CUP)],
    )
    mean = metric.mean()
    assert (mean.pq, mean.sq, mean.rq, mean.classes) == (1, 1, 1, 2)


def test_a_worked_case_with_a_match_a_miss_and_a_false_alarm():
    # Cup 1 (4 pixels) is found as 3 of its pixels: IoU 3/4. Cup 2 is missed, cup 12 invented.
    truth = [[1, 1, 1, 1], [2, 2, 3, 3]]
    predicted = [[11, 11, 11, 0], [0, 0, 12, 12]]
    metric = quality(
        predicted,
        [SegmentLabel(11, CUP), SegmentLabel(12, CUP)],
        truth,
        [SegmentLabel(1, CUP), SegmentLabel(2, CUP), SegmentLabel(3, FLOOR)],
    )
    cup = metric.per_class()[CUP]
    assert cup.sq == pytest.approx(0.75)
    assert cup.rq == pytest.approx(1 / (1 + 0.5 + 0.5))
    assert cup.pq == pytest.approx(0.75 / 2)
    assert metric.per_class()[FLOOR].pq == 0
    assert metric.mean().pq == pytest.approx(0.75 / 4)
    assert metric.mean([CUP]).pq == pytest.approx(0.75 / 2)
    assert SKY not in metric.per_class()


def test_half_an_overlap_is_no_match():
    metric = quality([[1, 1, 0, 0]], [SegmentLabel(1, CUP)], [[5, 5, 5, 5]], [SegmentLabel(5, CUP)])
    assert metric.mean().rq == 0


def test_the_right_shape_with_the_wrong_class_is_a_miss_and_a_false_alarm():
    metric = quality([[1, 1]], [SegmentLabel(1, FLOOR)], [[1, 1]], [SegmentLabel(1, CUP)])
    assert [metric.per_class()[c].pq for c in (CUP, FLOOR)] == [0, 0]


def test_void_pixels_of_the_truth_do_not_count_against_a_match():
    truth = [[1, 1, 0, 0]]
    metric = quality([[4, 4, 4, 4]], [SegmentLabel(4, CUP)], truth, [SegmentLabel(1, CUP)])
    assert metric.mean().pq == 1


def test_a_prediction_mostly_on_void_is_no_false_alarm_but_half_on_void_is():
    truth = [[0, 0, 1, 1, 1, 1, 1]]
    floor = [SegmentLabel(1, FLOOR)]
    metric = quality(
        [[4, 4, 4, 5, 5, 5, 5]], [SegmentLabel(4, CUP), SegmentLabel(5, FLOOR)], truth, floor
    )
    assert CUP not in metric.per_class()
    metric = quality(
        [[4, 4, 4, 4, 5, 5, 5]], [SegmentLabel(4, CUP), SegmentLabel(5, FLOOR)], truth, floor
    )
    assert metric.per_class()[CUP].rq == 0


def test_a_crowd_is_neither_found_nor_missed():
    truth = [[1, 1, 1, 1, 2, 2]]
    labels = [SegmentLabel(1, CUP, is_crowd=True), SegmentLabel(2, FLOOR)]
    empty = quality([[0, 0, 0, 0, 2, 2]], [SegmentLabel(2, FLOOR)], truth, labels)
    assert CUP not in empty.per_class()
    found = [SegmentLabel(3, CUP), SegmentLabel(2, FLOOR)]
    assert CUP not in quality([[3, 3, 3, 3, 2, 2]], found, truth, labels).per_class()
    other_class = [SegmentLabel(3, SKY), SegmentLabel(2, FLOOR)]
    assert quality([[3, 3, 3, 3, 2, 2]], other_class, truth, labels).per_class()[SKY].rq == 0


@pytest.mark.parametrize(
    ("predicted", "labels", "message"),
    [
        ([[1, 2]], [SegmentLabel(1, CUP)], r"ids \[2\] are only in the map or only in the segment"),
        ([[1, 1]], [SegmentLabel(1, CUP), SegmentLabel(3, CUP)], r"ids \[3\]"),
        ([[1, 1]], [SegmentLabel(1, 4)], r"classes \[4\] that are not in the list"),
        ([[1]], [SegmentLabel(1, CUP)], "resize the prediction"),
    ],
)
def test_maps_that_do_not_fit_their_labels_are_refused(predicted, labels, message):
    with pytest.raises(ValueError, match=message):
        quality(predicted, labels, [[1, 1]], [SegmentLabel(1, CUP)])


def random_panoptic(random, size=24, segments=9):
    ids = np.zeros((size, size), np.int32)
    for i in range(1, segments + 1):
        y, x = random.integers(0, size - 6, 2)
        ids[y : y + random.integers(4, 12), x : x + random.integers(4, 12)] = i
    labels, crowds = [], set()
    for i in np.unique(ids[ids > 0]).tolist():
        category = int(random.choice([CUP, FLOOR]))
        # panopticapi knows one crowd per class and picture.
        crowd = random.random() < 0.15 and category not in crowds
        crowds |= {category} if crowd else set()
        labels.append(SegmentLabel(i, category, crowd))
    return ids, labels


def disturbed(random, ids, labels):
    moved = np.roll(ids, random.integers(0, 2), axis=1)
    moved[random.random(moved.shape) < 0.1] = 0
    present = set(np.unique(moved).tolist())
    return moved, [
        SegmentLabel(s.id, s.category_id if random.random() < 0.8 else SKY)
        for s in labels
        if s.id in present
    ]


def direct_counts(predicted, predicted_labels, truth, truth_labels, category):
    """The definition of Kirillov et al., pair by pair with boolean masks."""
    matched, iou_sum, used, taken = 0, 0.0, set(), set()
    for p in predicted_labels:
        for t in truth_labels:
            if t.is_crowd or p.category_id != category or t.category_id != category:
                continue
            a, b = (predicted == p.id) & (truth != 0), truth == t.id
            iou = (a & b).sum() / (a | b).sum()
            if iou > 0.5:
                matched, iou_sum = matched + 1, iou_sum + iou
                used.add(p.id)
                taken.add(t.id)
    missed = sum(
        t.category_id == category and not t.is_crowd and t.id not in taken for t in truth_labels
    )
    invented = 0
    crowd = np.isin(truth, [t.id for t in truth_labels if t.is_crowd and t.category_id == category])
    for p in predicted_labels:
        if p.category_id == category and p.id not in used:
            mask = predicted == p.id
            invented += (mask & ((truth == 0) | crowd)).sum() <= 0.5 * mask.sum()
    return matched, invented, missed, iou_sum


def test_random_pictures_equal_the_definition_pair_by_pair():
    random = np.random.default_rng(5)
    metric = PanopticQuality([CUP, FLOOR, SKY])
    totals = {c: np.zeros(4) for c in (CUP, FLOOR, SKY)}
    for _ in range(30):
        truth, truth_labels = random_panoptic(random)
        predicted, predicted_labels = disturbed(random, truth, truth_labels)
        metric.add(predicted, predicted_labels, truth, truth_labels)
        for category in totals:
            totals[category] += direct_counts(
                predicted, predicted_labels, truth, truth_labels, category
            )
    for category, (matched, invented, missed, iou) in totals.items():
        found = metric.per_class()[category]
        assert found.pq == pytest.approx(iou / (matched + (invented + missed) / 2))
        assert found.sq == pytest.approx(iou / matched if matched else 0)
    assert totals[CUP].min() > 0


def test_panopticapi_gives_the_same_numbers(tmp_path):
    evaluation = pytest.importorskip("panopticapi.evaluation", reason="panopticapi not installed")
    from sensorium.segmentation.coco_panoptic import Category, write_panoptic

    random = np.random.default_rng(6)
    categories = [Category(CUP, "cup", True), Category(FLOOR, "floor", False)]
    categories.append(Category(SKY, "sky", False))
    metric = PanopticQuality(c.id for c in categories)
    truths, predictions = [], []
    for i in range(12):
        truth, truth_labels = random_panoptic(random)
        predicted, labels = disturbed(random, truth, truth_labels)
        metric.add(predicted, labels, truth, truth_labels)
        truths.append((i, f"{i}.jpg", truth, truth_labels))
        predictions.append((i, f"{i}.jpg", predicted, labels))
    paths = [(tmp_path / f"{name}.json", tmp_path / name) for name in ("truth", "predicted")]
    for (json_path, folder), data in zip(paths, (truths, predictions), strict=True):
        write_panoptic(json_path, folder, categories, data)
    (truth_json, truth_dir), (predicted_json, predicted_dir) = (map(str, pair) for pair in paths)
    theirs = evaluation.pq_compute(truth_json, predicted_json, truth_dir, predicted_dir)
    for name, ids in (("All", None), ("Things", [CUP]), ("Stuff", [FLOOR, SKY])):
        ours = metric.mean(ids)
        assert (ours.pq, ours.sq, ours.rq, ours.classes) == pytest.approx(
            tuple(theirs[name][key] for key in ("pq", "sq", "rq", "n"))
        )


def test_collectors_of_two_halves_merge_to_the_whole():
    random = np.random.default_rng(8)
    whole, halves = (
        PanopticQuality([CUP, FLOOR, SKY]),
        [PanopticQuality([CUP, FLOOR, SKY]) for _ in "ab"],
    )
    for i in range(10):
        truth, labels = random_panoptic(random)
        predicted, predicted_labels = disturbed(random, truth, labels)
        for metric in (whole, halves[i % 2]):
            metric.add(predicted, predicted_labels, truth, labels)
    halves[0].merge(halves[1])
    assert halves[0].mean().pq == pytest.approx(whole.mean().pq)


def test_mean_iou_of_a_worked_case():
    metric = MeanIoU(3)
    metric.add(np.array([[0, 0, 1, 2]]), np.array([[0, 1, 1, 255]]))
    # Class 0: 1 of 2; class 1: 1 of 2; class 2 is not in the truth.
    assert metric.per_class() == {0: 0.5, 1: 0.5}
    assert metric.mean() == 0.5
    metric.add(np.array([[2, -1]]), np.array([[2, 2]]))
    assert metric.per_class()[2] == 0.5
    assert metric.mean([2]) == 0.5


def test_predictions_on_ignored_pixels_do_not_count():
    metric = MeanIoU(2)
    metric.add(np.array([[0, 1, 1]]), np.array([[0, 255, 255]]))
    assert metric.per_class() == {0: 1.0}


def test_mean_iou_of_nothing_is_not_a_number():
    assert np.isnan(MeanIoU(2).mean())


def test_labels_outside_of_the_classes_are_refused():
    with pytest.raises(ValueError, match="true labels run from 0 to 3"):
        MeanIoU(3).add(np.zeros((1, 2), int), np.array([[0, 3]]))
    with pytest.raises(ValueError, match="ignored label 1 is one of the 3 classes"):
        MeanIoU(3, ignored=1)
