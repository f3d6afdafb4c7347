"""The shipped weights omnivggt-small on held-out rooms, with wide margins."""

import json

import numpy as np
import pytest
import torch

from sensorium.geometry.evaluation import Scores, evaluate
from sensorium.geometry.evaluation_comparisons import comparisons
from sensorium.geometry.evaluation_views import rendered_groups
from sensorium.weights import find_weights, load_omnivggt, verify_weights

NAME = "omnivggt-small"
# Not among the rooms of benchmarks/results/geometry_accuracy.json.
FIRST_SEED = 7000


@pytest.fixture(scope="module")
def scores() -> Scores:
    torch.set_num_threads(1)
    loaded = load_omnivggt(NAME)
    assert loaded.notice == ""
    groups = rendered_groups(4, 3, FIRST_SEED)
    width = loaded.model.config.img_size
    return evaluate(loaded.model, groups, width_px=width, truth_is_exact=True)


def mean(scores: Scores, condition: str, metric: str) -> float:
    return float(np.nanmean(scores.metrics[condition][metric]))


def test_the_file_is_whole_small_and_its_entry_says_what_it_was_measured_at():
    entry = find_weights(NAME)
    assert verify_weights(entry).passed
    assert entry.path.stat().st_size <= 16_000_000
    assert not entry.non_commercial
    assert entry.measured is not None
    assert entry.measured["training"]["samples"] > 0
    assert "AbsRel" in json.dumps(entry.measured)


def test_depth_as_an_input_makes_depth_better(scores):
    assert mean(scores, "depth 100 %", "AbsRel") < 0.75 * mean(scores, "none", "AbsRel")
    assert mean(scores, "depth 100 %", "AbsRel metric") < 0.25


def test_cameras_as_an_input_make_poses_better(scores):
    assert mean(scores, "cameras 100 %", "AUC@30") > mean(scores, "none", "AUC@30")


def test_images_alone_beat_the_best_constant(scores):
    items = {item.name: item.value.mean for item in comparisons(scores)}
    assert items["images alone, AbsRel"] < items["best constant, AbsRel"]


def test_hidden_blocks_are_filled_better_than_by_the_nearest_pixel_and_by_inpainting(scores):
    filled, nearest, telea, navier_stokes, refined = np.mean(
        [(e.filled, e.nearest, e.telea, e.navier_stokes, e.refined) for e in scores.completion],
        axis=0,
    )
    assert filled < 0.12
    assert filled < min(nearest, telea, navier_stokes)
    assert refined < 0.03
