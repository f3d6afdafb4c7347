"""Bootstrap intervals over scenes, against formulas."""

import numpy as np
import pytest

from sensorium.segmentation.intervals import bootstrap, mean_iou, mean_pq
from sensorium.segmentation.metrics import MeanIoU, PanopticQuality, SegmentLabel


def random_scene(seed):
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, (12, 16))
    found = np.where(random.random(truth.shape) < 0.7, truth, random.integers(0, 3, truth.shape))
    return found, truth


def test_counts_of_scenes_add_up_to_the_mean_over_all_of_them():
    together, counts = MeanIoU(4), []
    for seed in range(5):
        found, truth = random_scene(seed)
        alone = MeanIoU(4)
        alone.add(found, truth)
        together.add(found, truth)
        counts.append(alone.counts().astype(float))
    assert bootstrap(counts, mean_iou).value == pytest.approx(together.mean())


def test_panoptic_counts_add_up_too():
    together, counts = PanopticQuality(range(3)), []
    for seed in range(5):
        found, truth = (ids + 1 for ids in random_scene(seed))
        labels = [[SegmentLabel(int(i), int(i) - 1) for i in np.unique(m)] for m in (found, truth)]
        alone = PanopticQuality(range(3))
        for quality in (alone, together):
            quality.add(found, labels[0], truth, labels[1])
        counts.append(alone.counts())
    assert bootstrap(counts, mean_pq).value == pytest.approx(together.mean().pq)


def test_the_interval_is_that_of_the_mean_of_independent_scenes():
    # One class whose union is 100 everywhere: the statistic is the mean of the scenes' IoU.
    iou = np.random.default_rng(0).uniform(0, 1, 200)
    counts = [np.array([[100 * x, 100.0, 50.0]]) for x in iou]
    found = bootstrap(counts, mean_iou)
    error = iou.std() / np.sqrt(len(iou))
    assert found.value == pytest.approx(iou.mean())
    assert found.low == pytest.approx(iou.mean() - 1.96 * error, abs=0.2 * error)
    assert found.high == pytest.approx(iou.mean() + 1.96 * error, abs=0.2 * error)


def test_classes_that_never_occur_are_not_averaged():
    counts = np.array([[5.0, 10.0, 8.0], [0.0, 3.0, 0.0]])
    assert mean_iou(counts) == 0.5
    assert np.isnan(mean_iou(counts[1:]))
    assert np.isnan(mean_pq(np.zeros((2, 4))))
    assert np.isnan(bootstrap([counts[1:]], mean_iou).low)
