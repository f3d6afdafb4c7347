"""Known errors are found again, in the right units and under the right names."""

import dataclasses

import numpy as np
import pytest

from sensorium.demo.evaluation import back_projected, evaluate
from sensorium.demo.recorded import RecordedFrame
from sensorium.poses import transform_points
from sensorium.sources import RenderedConfiguration
from sensorium.sources.rendered import RenderedSource

SOURCE = RenderedSource(RenderedConfiguration(width_px=160, height_px=120, focal_px=120.0))


def frames_with(error_m, count=3):
    result = []
    for index in range(count):
        view = SOURCE.frame(40 * index)
        truth = view.truth.depth_m
        depth = (truth + error_m).astype(np.float32)
        K = SOURCE.camera.K
        points = back_projected(depth, K).astype(np.float32)
        result.append(
            RecordedFrame(
                index,
                K,
                depth,
                view.frame.color,
                view.frame.world_from_camera,
                points,
                depth,
                truth,
            )
        )
    return result


def seen_surface(frames):
    return np.concatenate(
        [
            transform_points(
                frame.world_from_camera, back_projected(frame.truth_depth_m, frame.K).reshape(-1, 3)
            )
            for frame in frames
        ]
    )


def errors_of(evaluation):
    return {error.name: error for error in evaluation.errors}


def test_a_constant_depth_error_is_found_in_millimetres():
    frames = frames_with(0.012)
    found = errors_of(evaluate(frames, seen_surface(frames), SOURCE.scene))
    depth = found["published depth to exact depth"]
    assert depth.is_truth
    assert depth.median_mm == pytest.approx(12, abs=0.01)
    assert depth.p90_mm == pytest.approx(12, abs=0.01)
    # A point moves along its ray, which is longer than its depth.
    points = found["published points to exact points"]
    assert 12 < points.median_mm < 14


def test_a_map_on_the_true_surface_has_no_error_and_covers_what_was_seen():
    frames = frames_with(0.0)
    evaluation = evaluate(frames, seen_surface(frames), SOURCE.scene)
    fused = errors_of(evaluation)["fused map to exact surface"]
    assert fused.median_mm < 0.02
    assert fused.beyond == 0
    assert evaluation.covered == 1.0


def test_a_shifted_map_has_the_error_of_the_shift_at_most():
    frames = frames_with(0.0)
    moved = seen_surface(frames) + np.array((0.0, 0.0, 0.02))
    fused = errors_of(evaluate(frames, moved, SOURCE.scene))["fused map to exact surface"]
    assert fused.p90_mm == pytest.approx(20, abs=0.1)


def test_half_a_map_is_accurate_and_covers_less():
    frames = frames_with(0.0)
    seen = seen_surface(frames)
    half = seen[seen[:, 0] > np.median(seen[:, 0])]
    evaluation = evaluate(frames, half, SOURCE.scene)
    assert errors_of(evaluation)["fused map to exact surface"].median_mm < 0.02
    assert 0.4 < evaluation.covered < 0.6


def test_without_truth_the_agreement_is_not_called_truth():
    frames = [dataclasses.replace(f, truth_depth_m=None) for f in frames_with(0.0)]
    moved = seen_surface(frames_with(0.0)) + np.array((0.0, 0.0, 0.005))
    evaluation = evaluate(frames, moved, None)
    (error,) = evaluation.errors
    assert error.name == "measured depth to fused map"
    assert not error.is_truth
    assert 0 < error.median_mm <= 5.01


def test_outliers_are_counted_and_do_not_turn_percentiles_into_nonsense():
    frames = [dataclasses.replace(f, truth_depth_m=None) for f in frames_with(0.0)]
    seen = seen_surface(frames_with(0.0))
    third = seen[seen[:, 0] < np.quantile(seen[:, 0], 0.3)]
    (error,) = evaluate(frames, third, None).errors
    assert error.beyond > 0.5
    assert error.p90_mm == np.inf


def test_what_cannot_be_judged_is_said():
    frames = [dataclasses.replace(f, world_from_camera=None) for f in frames_with(0.0)]
    assert "pose" in evaluate(frames, np.zeros((5, 3)), None).notes[0]
    assert "empty" in evaluate(frames, np.zeros((0, 3)), None).notes[0]
