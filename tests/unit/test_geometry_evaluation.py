"""Evaluation of geometry: its data, its rivals without a model, its comparisons and its page."""

import json
import math

import numpy as np
import pytest
from omnivggt_models import CONFIGURATION, small_model
from safetensors.torch import save_file

from sensorium.cli import main
from sensorium.geometry.evaluation import CONDITIONS, METRICS, Scores
from sensorium.geometry.evaluation_comparisons import comparisons
from sensorium.geometry.evaluation_completion import (
    HIDDEN_SHARE,
    CompletionErrors,
    hidden_blocks,
    inpainted,
    nearest_filling,
)
from sensorium.geometry.evaluation_scenes import TRAINING_SEEDS
from sensorium.geometry.evaluation_views import EvaluationError, rendered_group


def test_rooms_of_training_are_refused():
    with pytest.raises(EvaluationError, match="rooms of training"):
        rendered_group(TRAINING_SEEDS[7], 2)


def test_a_rendered_group_has_exact_truth_beside_what_a_sensor_measures():
    group = rendered_group(2, 2)
    assert group is not None
    for view in group.views:
        assert np.isfinite(view.true_depth_m).all()
        measured = np.isfinite(view.measured_depth_m)
        assert 0.6 < measured.mean() < 0.99
        error = np.abs(view.measured_depth_m - view.true_depth_m)[measured]
        assert 0.001 < np.median(error) < 0.03


def test_hidden_blocks_cover_a_quarter():
    shares = [hidden_blocks((480, 640), np.random.default_rng(i)).mean() for i in range(5)]
    # The last block may add one of at most 96 x 96 px.
    assert all(HIDDEN_SHARE <= share < HIDDEN_SHARE + 96**2 / (480 * 640) for share in shares)


def test_nearest_filling_takes_the_nearest_known_pixel():
    random = np.random.default_rng(4)
    depth = random.uniform(1, 5, (23, 31)).astype(np.float32)
    holes = random.random(depth.shape) < 0.9
    known = np.argwhere(~holes)
    filled = nearest_filling(np.where(holes, np.float32(np.nan), depth))
    for row, column in np.argwhere(holes):
        distance = np.hypot(*(known - (row, column)).T)
        # OpenCV's distances are approximate.
        near = known[distance < distance.min() * 1.1 + 0.1]
        assert filled[row, column] in depth[near[:, 0], near[:, 1]]
    np.testing.assert_array_equal(filled[~holes], depth[~holes])


@pytest.mark.parametrize("method", [0, 1])
def test_inpainting_continues_even_depth(method):
    depth = np.full((40, 60), 2.5, np.float32)
    holes = np.zeros(depth.shape, bool)
    holes[10:25, 20:40] = True
    filled = inpainted(np.where(holes, np.float32(np.nan), depth), holes, method)
    np.testing.assert_allclose(filled, depth, rtol=1e-3)


def scores_of(depths, model_error) -> Scores:
    scores = Scores(true_depth_m=list(depths))
    for index, _ in enumerate(depths):
        scores.names.append(str(index))
        scores.completion.append(CompletionErrors(0.03, 0.04, 0.06, 0.05, 0.04, 0.01, 1.0, 0.9))
    for condition in CONDITIONS:
        scores.metrics[condition.name] = {metric: [0.5] * len(depths) for metric in METRICS}
    scores.metrics["none"]["AbsRel"] = [model_error] * len(depths)
    scores.metrics["depth 100 %"]["AbsRel"] = [0.02] * len(depths)
    return scores


def by_name(scores):
    return {item.name: item for item in comparisons(scores)}


def test_predictors_without_images_are_the_best_of_their_kind():
    # Depth 2 at the top to 4 at the bottom, in every group and column.
    row = np.linspace(2, 4, 84, dtype=np.float32)[None, :, None]
    depths = [np.broadcast_to(row, (2, 84, 112)).copy() for _ in range(3)]
    items = by_name(scores_of(depths, 0.1))
    assert items["best linear in the row, AbsRel"].value.mean < 0.01
    # A constant at the median: the mean of |3 - d| / d for d even in 2 to 4.
    expected = 0.5 * (3 * math.log(1.5) - 1) + 0.5 * (1 - 3 * math.log(4 / 3))
    constant = items["best constant, AbsRel"].value.mean
    assert constant == pytest.approx(expected, abs=0.003)
    gain = items["images alone: error below that of the best constant by"]
    assert gain.value.mean == pytest.approx(1 - 0.1 / constant, abs=1e-6)
    assert gain.passed is (gain.value.mean >= 0.3)
    assert items["images alone: error below that of the best linear in the row by"].passed is False


def test_comparisons_judge_by_their_rules():
    depth = np.random.default_rng(1).uniform(1, 4, (1, 84, 112)).astype(np.float32)
    items = by_name(scores_of([depth] * 2, 0.1))
    assert items["model, sensor depth given in all views"].passed is True
    assert items["hidden blocks: error below that of nearest neighbour by"].value.mean == 0.5
    assert items["depth 100 % against none: AbsRel better by"].value.mean == pytest.approx(0.08)
    assert items["cameras 100 % against none: RRA@5 better by"].passed is False


def test_the_command_evaluates_any_weights_file_and_writes_both_pages(tmp_path, capsys):
    weights = tmp_path / "random.safetensors"
    state = {key: value.contiguous() for key, value in small_model().state_dict().items()}
    save_file(state, weights, {"configuration": json.dumps(CONFIGURATION)})
    numbers, page = tmp_path / "numbers.json", tmp_path / "page.md"
    status = main(
        ["evaluate", "geometry", "--weights", str(weights), "--rooms", "1", "--views", "2",
         "--device", "cpu", "--json", str(numbers), "--markdown", str(page)]
    )  # fmt: skip
    assert status == 0
    assert "licence is unknown" in capsys.readouterr().err
    content = json.loads(numbers.read_text())
    (rooms,) = content["sets"]
    inputs = [row["auxiliary input"] for row in rooms["table"]]
    assert inputs == [condition.name for condition in CONDITIONS] + ["exact depth 100 %"]
    assert all(row["AbsRel"]["mean"] >= 0 for row in rooms["table"])
    # One view of two with a camera has no baseline, and images alone have no scale.
    metric = {row["auxiliary input"]: row["AbsRel metric"]["mean"] for row in rooms["table"]}
    assert metric["none"] is None
    assert metric["cameras 50 %"] is None
    assert metric["cameras 100 %"] > 0
    assert "| depth 50 % |" in page.read_text()


def test_the_command_says_what_is_wrong_with_its_arguments(capsys):
    assert main(["evaluate", "geometry", "--rooms", "0"]) == 2
    assert "nothing to evaluate on" in capsys.readouterr().err
