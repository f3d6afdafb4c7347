"""The backend omnivggt: metres, what it fills, and inputs that come and go."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from omnivggt_backends import (
    CAMERA,
    CENTRED,
    HEIGHT_PX,
    WIDTH_PX,
    ToldModel,
    at,
    make_backend,
    save_small_weights,
    view,
)

from sensorium.configuration import build
from sensorium.frames import CameraModel, pinhole
from sensorium.geometry.model_confidence import agreement_of_heads, confidence_from_model
from sensorium.geometry.omnivggt_configuration import OmniVGGTConfiguration
from sensorium.geometry.omnivggt_memory import GeometryMemoryError
from sensorium.geometry.views import ViewRefused
from sensorium.weights import WeightsError

EVERY_VIEW = {"keyframes.parallax": 0.0}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture(scope="module")
def backend_of(weights):
    """Backends are made once for each set of values and handed out empty."""
    made = {}

    def make(**values):
        key = tuple(sorted(values.items()))
        if key not in made:
            made[key] = make_backend(weights, **values)
        made[key].reset()
        return made[key]

    return make


@pytest.fixture
def told(backend_of, monkeypatch):
    def make(**values):
        backend = backend_of(**{**EVERY_VIEW, **values})
        return backend, ToldModel(backend, monkeypatch)

    return make


def rays(camera):
    v, u = np.mgrid[:HEIGHT_PX, :WIDTH_PX]
    return np.stack((u, v, np.ones_like(u)), axis=-1) @ np.linalg.inv(camera.K).T


def test_holes_are_filled_in_metres_on_exact_rays_and_measurements_stay(told):
    backend, _ = told()
    depth = np.full((HEIGHT_PX, WIDTH_PX), 2.0, np.float32)
    depth[40:60, 30:70] = np.nan
    depth[0:3, :] = np.inf
    depth[5:8, :] = 0.0
    depth[20, 20] = 2.01
    result = backend.add(view(1, depth_m=depth)).newest
    assert result is not None
    assert result.is_metric
    assert result.frame_id == "wrist_optical"
    measured = np.isfinite(depth) & (depth > 0)
    np.testing.assert_array_equal(result.depth_m[measured], depth[measured])
    # The hole lies inside of the part around the principal point that the model sees.
    np.testing.assert_allclose(result.depth_m[40:60, 30:70], 2.0, rtol=1e-3)
    expected = rays(CAMERA) * result.depth_m[..., None]
    np.testing.assert_allclose(result.points_m, expected, atol=1e-5)
    # Raw confidence 2 is a half: a noise of 0.05 * 2 m / 0.5, which is 20 times that of a half.
    np.testing.assert_allclose(result.confidence[45:55, 35:65], 1 / (1 + 20**2), rtol=1e-3)
    assert (result.confidence[~np.isfinite(result.depth_m)] == 0).all()
    assert result.camera is CAMERA
    assert not result.camera_is_estimated


def test_the_part_far_from_the_principal_point_is_left_to_the_sensor(told):
    backend, _ = told()
    result = backend.add(view(1, depth_m=np.where(np.arange(WIDTH_PX) < 56, 2.0, np.nan))).newest
    # cy = 47.5 leaves 72 rows (12 to 83), which at 4:3 are 96 columns about cx = 49.5: 2 to 97.
    assert np.isfinite(result.depth_m[12:, :98]).all()
    assert np.isnan(result.depth_m[:12, 56:]).all()
    assert np.isnan(result.depth_m[:, 98:]).all()


def test_the_scale_by_depth_is_told_and_used_for_a_view_without_depth(told):
    backend, _ = told()
    first = backend.add(view(1, depth_m=2.0))
    assert first.values["scale.source"] == "depth"
    assert first.values["scale.by_depth"] == pytest.approx(4.0)
    second = backend.add(view(2))
    assert second.newest.is_metric
    np.testing.assert_allclose(second.newest.depth_m[47, 49], 2.0, rtol=1e-5)
    assert second.warnings == ("camera 'wrist' no longer gives depth: going on without",)
    assert "gives no depth image" in second.missing[0]
    third = backend.add(view(3, depth_m=2.0))
    assert third.warnings == ()


def test_without_any_source_of_metres_the_result_says_so(told):
    backend, _ = told()
    result = backend.add(view(1))
    assert not result.newest.is_metric
    assert result.newest.frame_id == "wrist_optical_unscaled"
    assert result.values["scale.source"] == "none"
    assert "nothing gives metres" in result.warnings[0]
    np.testing.assert_allclose(result.newest.depth_m[47, 49], 0.5, rtol=1e-6)


def test_baselines_of_poses_give_metres_and_the_given_pose_stays(told):
    backend, model = told()
    model.window_from_camera = lambda stamp: at(x=0.1 * stamp)
    poses = [at(x=0.3 * stamp) for stamp in range(3)]
    results = [backend.add(view(i, pose=pose)) for i, pose in enumerate(poses)]
    assert not results[0].newest.is_metric
    for result, pose in zip(results[1:], poses[1:], strict=True):
        assert result.values["scale.source"] == "poses"
        assert result.values["scale.by_poses"] == pytest.approx(3.0, rel=1e-4)
        np.testing.assert_allclose(result.newest.depth_m[47, 49], 1.5, rtol=1e-4)
        assert result.newest.view.world_from_camera is not None
        np.testing.assert_array_equal(result.newest.view.world_from_camera, pose)
        assert result.newest.estimated_pose is None


def test_depth_and_poses_that_disagree_are_reported_and_depth_wins(told):
    backend, model = told()
    model.window_from_camera = lambda stamp: at(x=0.1 * stamp)
    for stamp in range(4):
        # Poses in millimetres: the baselines are a thousand times too long.
        result = backend.add(view(stamp, depth_m=2.0, pose=at(x=300.0 * stamp)))
    assert result.values["scale.source"] == "depth"
    assert result.newest.depth_m[47, 49] == pytest.approx(2.0)
    (warning,) = result.warnings
    assert "the scale by poses is 750.00 times the scale by depth" in warning


def test_poses_are_shown_once_they_agree_and_dropped_when_they_do_not(told):
    backend, model = told(window_views=3, intrinsics_hint=False)
    model.window_from_camera = lambda stamp: at(x=0.1 * stamp)
    words = []
    for stamp in range(5):
        result = backend.add(view(stamp, pose=at(x=0.3 * stamp)))
        words.append(result.values["hints.poses"])
    assert words == [
        "not shown: no two views with given poses are 0.05 m apart",
        "not shown yet: 1 of 2 windows agree",
        "agree",
        "shown for 3 views",
        "shown for 3 views",
    ]
    assert model.shown_cameras == [False, False, False, True, True]
    # The robot says it went up, the images say it went on.
    for stamp in (5, 6):
        result = backend.add(view(stamp, pose=at(x=1.2, y=3.0 * stamp)))
    assert result.values["hints.poses"].startswith(
        "dropped: given and predicted poses disagree: directions of motion differ by"
    )
    # Shown, found to disagree, computed again without; then not shown at all.
    assert model.shown_cameras[5:] == [True, False, False]
    assert not result.newest.is_metric
    assert backend.add(view(7, depth_m=2.0, pose=at())).newest.is_metric


def test_poses_of_a_standing_robot_are_not_shown(told):
    backend, model = told(intrinsics_hint=False)
    for stamp in range(4):
        result = backend.add(view(stamp, pose=at(x=1e-5 * stamp)))
    assert "no two views with given poses are 0.05 m apart" in result.values["hints.poses"]
    assert not any(model.shown_cameras)


def test_intrinsics_alone_are_shown(told):
    backend, model = told()
    backend.add(view(1))
    backend.add(view(2, camera=None))
    assert model.shown_cameras == [True, True]
    backend.reset()
    backend.add(view(3, camera=None))
    assert model.shown_cameras[-1] is False


def test_intrinsics_that_are_missing_are_estimated_from_the_field_of_view(told):
    backend, model = told()
    model.fov_rad = (0.6, 0.9)
    result = backend.add(view(1, camera=None, depth_m=2.0)).newest
    assert result.camera_is_estimated
    # The whole image is shown, so its field of view is the model's.
    K = result.camera.K
    assert K[0, 0] == pytest.approx(WIDTH_PX / 2 / math.tan(0.45), rel=1e-5)
    assert K[1, 1] == pytest.approx(HEIGHT_PX / 2 / math.tan(0.3), rel=1e-5)
    assert (K[0, 2], K[1, 2]) == ((WIDTH_PX - 1) / 2, (HEIGHT_PX - 1) / 2)
    np.testing.assert_allclose(result.points_m, rays(result.camera) * 2.0, atol=1e-4)
    late = backend.add(view(2, depth_m=2.0))
    assert not late.newest.camera_is_estimated


def test_a_view_without_colour_is_taken_from_the_sensor(told):
    backend, _ = told()
    backend.add(view(1, depth_m=2.0))
    result = backend.add(view(2, depth_m=3.0, color=False))
    np.testing.assert_allclose(result.newest.depth_m, 3.0)
    assert result.newest.tokens is None
    assert any("by its sensor alone: the model needs colour" in text for text in result.warnings)
    assert backend.add(view(3, depth_m=2.0)).warnings == ()


def test_a_handful_of_valid_pixels_gives_no_metres_to_the_model(told):
    backend, _ = told()
    depth = np.full((HEIGHT_PX, WIDTH_PX), np.nan, np.float32)
    depth[10:14, 10:14] = 1.0
    result = backend.add(view(1, depth_m=depth))
    assert result.newest.is_metric
    assert np.isfinite(result.newest.depth_m).sum() == 16
    assert any("too few valid pixels" in text for text in result.warnings)


def test_two_cameras_share_a_window(told):
    backend, _ = told()
    backend.add(view(1, name="wrist", depth_m=2.0))
    result = backend.add(view(2, name="scene", camera=CENTRED))
    assert (result.values["window.views"], result.values["window.cameras"]) == (2, 2)
    # The scene camera has no depth; the wrist's gives the unit of both.
    assert result.newest.is_metric
    np.testing.assert_allclose(result.newest.depth_m, 2.0, rtol=1e-5)
    assert [r.camera_name for r in result.views] == ["wrist", "scene"]


def test_the_path_of_a_camera_without_poses_is_metric_with_depth(told):
    backend, model = told(**{"odometry.enabled": True})
    # Forwards by a tenth of a unit each time; sensor depth makes a unit 4 m.
    model.window_from_camera = lambda stamp: at(z=0.1 * stamp)
    for stamp in range(6):
        result = backend.add(view(stamp, depth_m=2.0))
    pose = result.newest.estimated_pose
    assert pose.reference_frame == "visual_odom"
    np.testing.assert_allclose(pose.reference_from_camera[:3, 3], (0.4 * 5, 0, 0), atol=1e-5)
    assert result.values["odometry.restarts"] == 0
    posed = backend.add(view(6, depth_m=2.0, pose=at()))
    assert posed.newest.estimated_pose is None


def test_a_model_that_saw_another_motion_than_the_robot_gives_no_path(told):
    backend, model = told(**{"odometry.enabled": True, "pose_hint.enabled": False})
    model.window_from_camera = lambda stamp: at(z=0.1 * stamp)
    for stamp in range(3):
        backend.add(view(stamp, depth_m=2.0, pose=at(x=0.4 * stamp)))
    result = backend.add(view(3, depth_m=2.0))
    assert result.newest.estimated_pose is None
    assert any(text.startswith("no odometry") for text in result.warnings)
    # Once they agree again, so does the path.
    for stamp in range(4, 9):
        backend.add(view(stamp, depth_m=2.0, pose=at(z=0.4 * stamp)))
    assert backend.add(view(9, depth_m=2.0)).newest.estimated_pose is not None


def test_the_point_head_lowers_confidence_where_it_disagrees(told):
    backend, model = told(point_head=True)
    model.points_depth = 0.5
    agreeing = backend.add(view(1)).newest
    assert agreeing.confidence[47, 49] == pytest.approx(0.5)
    backend.reset()
    model.points_depth = 0.525
    # 5 % apart: half of the confidence.
    assert backend.add(view(2)).newest.confidence[47, 49] == pytest.approx(0.25, rel=1e-3)


def test_the_raw_confidence_maps_to_the_expected_share_of_the_largest_error():
    raw = torch.tensor([1.0, 2.0, 10.0, 0.3, torch.nan, torch.inf])
    wanted = torch.tensor([0.0, 0.5, 0.9, 0.0, 0.0, 1.0])
    torch.testing.assert_close(confidence_from_model(raw), wanted)
    depth = torch.tensor([[1.0, 1.0, 1.0]])
    points = torch.tensor([[1.0, 0.95, -1.0]])
    torch.testing.assert_close(agreement_of_heads(depth, points), torch.tensor([[1.0, 0.5, 0.0]]))


def test_tokens_come_from_the_last_layer_with_their_place_in_space(told):
    backend, _ = told()
    assert backend.token_layout.channels == 64
    assert (backend.token_layout.rows, backend.token_layout.columns) == (3, 4)
    assert len(backend.token_layout.weights_sha256) == 64
    result = backend.add(view(1, camera=CENTRED, depth_m=2.0)).newest
    assert result.tokens.features.shape == (12, 64)
    # Token (1, 2) covers rows 28..55 and columns 56..83, of which every fourth is taken.
    wanted = (rays(CENTRED)[28:56:4, 56:84:4] * 2.0).reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(result.tokens.xyz_m[1 * 4 + 2], wanted, atol=1e-3)


def test_a_coarser_grid_averages_tokens(weights, backend_of):
    fine = backend_of().add(view(1, depth_m=2.0)).newest.tokens.features
    coarse = make_backend(weights, **{"tokens.rows": 1, "tokens.columns": 2})
    tokens = coarse.add(view(1, depth_m=2.0)).newest.tokens
    assert (tokens.rows, tokens.columns) == (1, 2)
    wanted = fine.reshape(3, 2, 2, 64).mean(axis=(0, 2))
    np.testing.assert_allclose(tokens.features, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"tokens.rows": 5}, "finer than the model's"),
        ({"input_width_px": 57}, "multiple of 14"),
        ({"memory_budget_mib": 1, "window_views": 64}, "the budget is 1 MiB"),
        ({"odometry.enabled": True, "window_views": 1}, "window_views of 2 or more"),
        ({"tokens.reduction": "/nowhere/r.safetensors"}, "fit-reduction"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_at_configure(weights, values, words):
    with pytest.raises(ValueError, match=words):
        make_backend(weights, **values)


@pytest.mark.parametrize(
    ("values", "img_size", "wanted"),
    [
        ({}, 518, (392, 518)),
        ({}, 112, (84, 112)),
        ({"input_width_px": 392}, 518, (294, 392)),
        ({"input_height_px": 70}, 112, (70, 112)),
    ],
)
def test_the_input_has_the_size_of_the_weights_unless_given(values, img_size, wanted):
    assert build(OmniVGGTConfiguration, values).input_size(img_size, 14) == wanted


def test_bad_weights_are_refused(weights, tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="truncated"):
        make_backend(cut)
    with pytest.raises(WeightsError, match="does not exist"):
        make_backend(tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    ("camera", "reason", "words"),
    [
        (pinhole(WIDTH_PX, HEIGHT_PX, 90.0, (10.0, 40.0)), "principal_point", "outer quarter"),
        (
            CameraModel(WIDTH_PX, HEIGHT_PX, np.array(((90, 3, 55), (0, 90, 41), (0, 0, 1.0)))),
            "skewed",
            "rectify",
        ),
        (pinhole(WIDTH_PX, HEIGHT_PX, (90.0, 190.0)), "focal_ratio", "check the calibration"),
    ],
)
def test_views_that_the_model_cannot_use_are_refused(backend_of, camera, reason, words):
    backend = backend_of()
    with pytest.raises(ViewRefused, match=words) as refusal:
        backend.add(view(1, camera=camera))
    assert refusal.value.reason == reason
    assert backend.add(view(2)).newest is not None


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.cuda.OutOfMemoryError("CUDA out of memory"),
     RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_running_out_of_memory_has_one_name_and_empties_the_window(backend_of, monkeypatch, error):
    backend = backend_of()
    backend.add(view(1, depth_m=2.0))

    def full(*_arguments, **_keywords):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(backend._window._model, "aggregate", full)
        with pytest.raises(GeometryMemoryError, match="lower capacity or image size"):
            backend.add(view(2, depth_m=2.0))
    assert backend.add(view(3, depth_m=2.0)).values["window.views"] == 1


def test_by_default_a_large_model_is_short_on_a_cpu_that_is_good_at_it_and_a_small_one_never(
    weights, monkeypatch
):
    import sensorium.geometry.omnivggt as module

    def dtype(is_good):
        monkeypatch.setattr(module, "multiplies_bfloat16", lambda device: is_good)
        blocks = make_backend(weights)._window._model.aggregator.frame_blocks
        return blocks[0].attn.qkv.weight.dtype

    assert dtype(is_good=True) == torch.float32
    monkeypatch.setattr(module, "_LARGE_MODEL_PARAMETERS", 1)
    assert dtype(is_good=True) == torch.bfloat16
    assert dtype(is_good=False) == torch.float32


def test_bfloat16_changes_little(weights, backend_of):
    exact = backend_of().add(view(1, depth_m=2.0)).newest
    short = make_backend(weights, precision="bfloat16").add(view(1, depth_m=2.0)).newest
    assert short.tokens.features.dtype == np.float32
    difference = np.abs(short.tokens.features - exact.tokens.features)
    assert 0 < np.median(difference) < 0.02 * np.abs(exact.tokens.features).max()


def test_a_released_backend_can_be_configured_again(weights):
    backend = make_backend(weights)
    before = backend.add(view(1, depth_m=2.0)).newest.depth_m
    backend.release()
    backend.configure()
    np.testing.assert_array_equal(backend.add(view(1, depth_m=2.0)).newest.depth_m, before)
