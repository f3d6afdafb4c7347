"""The sensor backend: points, confidence, and what it says about missing inputs."""

import dataclasses

import geometry_scenes as scenes
import numpy as np
import pytest
import torch

from sensorium.configuration import parameters
from sensorium.frames import CameraModel, RgbdFrame, pinhole
from sensorium.geometry.backend import GeometryBackend, GeometryResult
from sensorium.geometry.sensor import SensorBackend, SensorConfiguration
from sensorium.geometry.tokens import GEOMETRIC_CHANNELS, TokensConfiguration

CAMERA = CameraModel(160, 120, np.array(((150, 0, 70.5), (0, 140, 66.25), (0, 0, 1.0))))
GRID = TokensConfiguration(rows=6, columns=8)


def view(depth, stamp_ns=1, camera_name="wrist", **changes) -> RgbdFrame:
    frame = RgbdFrame(
        stamp_ns=stamp_ns,
        camera_name=camera_name,
        optical_frame=camera_name + "_optical",
        color=np.full((120, 160, 3), 60, np.uint8),
        color_camera=CAMERA,
        depth_m=depth,
        depth_camera=CAMERA,
        world_frame="map",
        world_from_camera=np.eye(4),
    )
    return dataclasses.replace(frame, **changes)


def backend(device="cpu", **settings) -> SensorBackend:
    made = SensorBackend(SensorConfiguration(tokens=GRID, **settings), device)
    made.configure()
    return made


def wall(distance_m: float) -> np.ndarray:
    return np.full((120, 160), distance_m, np.float32)


def test_points_are_depth_times_the_rays_of_the_intrinsics():
    random = np.random.default_rng(0)
    depth = random.uniform(0.3, 4.0, (120, 160)).astype(np.float32)
    result = backend().add(view(depth)).newest
    expected = scenes.rays(CAMERA) * depth[..., None]
    assert result.points_m.dtype == np.float32
    np.testing.assert_allclose(result.points_m, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(result.depth_m, depth)


def test_invalid_depth_becomes_nan_points_without_confidence():
    depth = wall(1.0)
    depth[0, 0], depth[1, 1], depth[2, 2], depth[3, 3] = np.nan, 0.0, -2.0, np.inf
    result = backend().add(view(depth)).newest
    invalid = np.zeros_like(depth, bool)
    invalid[range(4), range(4)] = True
    assert np.isnan(result.points_m[invalid]).all()
    assert np.isnan(result.depth_m[invalid]).all()
    assert (result.confidence[invalid] == 0).all()
    assert np.isfinite(result.points_m[~invalid]).all()
    assert (result.confidence[~invalid] > 0).all()


def test_confidence_in_front_of_a_wall_is_range_times_cosine():
    result = backend().add(view(wall(2.0))).newest
    noise = 0.0014 * 2.0**2
    by_range = 1 / (1 + (noise / 0.01) ** 2)
    cosine = 1 / np.linalg.norm(scenes.rays(CAMERA), axis=-1)
    inner = (slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(result.confidence[inner], (by_range * cosine)[inner], rtol=1e-4)
    np.testing.assert_allclose(result.confidence[0, 0], 0.5 * by_range, rtol=1e-4)


def test_confidence_on_a_tilted_plane_follows_the_angle_of_incidence():
    normal = np.array((0.5, 0.2, -0.9)) / np.linalg.norm((0.5, 0.2, -0.9))
    depth = scenes.plane_depth(CAMERA, np.eye(4), normal, -1.0)
    # No noise: only the incidence is left.
    result = backend(noise_per_m=0.0, edge_fraction=1.0).add(view(depth)).newest
    directions = scenes.rays(CAMERA)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    inner = (slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(
        result.confidence[inner], np.abs(directions @ normal)[inner], atol=4e-3
    )


def test_confidence_is_zero_at_edges_and_halved_beside_holes():
    depth = wall(1.0)
    depth[:, 80:] = 2.0
    depth[20, 20] = np.nan
    result = backend().add(view(depth)).newest
    assert (result.confidence[:, 79:81] == 0).all()
    plain = backend().add(view(wall(1.0))).newest
    cosine = 1 / np.linalg.norm(scenes.rays(CAMERA), axis=-1)
    assert result.confidence[20, 21] == pytest.approx(
        0.5 * plain.confidence[20, 21] / cosine[20, 21]
    )


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ({"depth_m": None, "depth_camera": None}, ("no depth image", "needs depth")),
        ({"depth_camera": None}, ("no intrinsics of its depth", "K[0] = 0", "needs depth")),
    ],
)
def test_a_view_without_depth_or_intrinsics_gives_no_points_and_says_why(lacking, words):
    result = backend().add(view(wall(1.0), **lacking))
    assert result.newest is None
    text = " ".join(result.missing)
    assert all(word in text for word in (*words, "'wrist'"))


def test_a_view_without_pose_gives_points_that_cannot_be_fused():
    result = backend().add(view(wall(1.0), world_from_camera=None, world_frame=""))
    assert result.newest is not None
    assert any("cannot be fused" in sentence for sentence in result.missing)
    assert any("no pose of 'wrist_optical'" in sentence for sentence in result.missing)


def test_a_view_without_colour_has_points_and_unknown_colour_channels():
    result = backend().add(view(wall(1.0), color=None, color_camera=None))
    assert result.newest.color is None
    features = result.newest.tokens.features
    red = GEOMETRIC_CHANNELS.index("red")
    assert np.isnan(features[:, red : red + 3]).all()
    assert np.isfinite(features[:, GEOMETRIC_CHANNELS.index("normal_z")]).all()
    assert any("no colour" in sentence for sentence in result.missing)


def test_poses_are_never_repeated_as_estimates():
    result = backend().add(view(wall(1.0))).newest
    assert result.estimated_pose is None
    assert result.is_metric
    assert not result.camera_is_estimated


def test_the_window_keeps_results_of_several_cameras():
    sensor = backend(window_views=3)
    sensor.add(view(wall(1.0), 1, "scene"))
    for stamp in range(2, 7):
        result = sensor.add(view(wall(1.0), stamp, "wrist"))
    assert [(kept.camera_name, kept.stamp_ns) for kept in result.views] == [
        ("scene", 1), ("wrist", 5), ("wrist", 6),
    ]  # fmt: skip
    assert result.views[-1] is result.newest
    sensor.reset()
    assert len(sensor.add(view(wall(1.0), 7)).views) == 1


def test_cameras_of_different_size_alternate():
    sensor = backend()
    small = pinhole(80, 60, 70.0)
    for _ in range(2):
        assert sensor.add(view(wall(1.0))).newest.points_m.shape == (120, 160, 3)
        frame = RgbdFrame(1, "scene", "s", None, None, np.ones((60, 80), np.float32), small)
        assert sensor.add(frame).newest.points_m.shape == (60, 80, 3)


def test_read_only_arrays_of_messages_are_taken_without_a_warning(recwarn):
    depth = wall(1.0)
    depth.flags.writeable = False
    backend().add(view(depth))
    assert not recwarn.list
    assert (depth == 1.0).all()


def test_the_backend_follows_the_interface_through_its_life():
    sensor: GeometryBackend = backend()
    sensor.warm_up(160, 120)
    layout = sensor.token_layout
    assert (layout.backend, layout.rows, layout.columns, layout.channels) == ("sensor", 6, 8, 7)
    assert layout.channel_names == GEOMETRIC_CHANNELS
    assert len(sensor.add(view(wall(1.0))).views) == 1, "warm-up leaves no view behind"
    sensor.release()
    sensor.configure()
    assert sensor.add(view(wall(1.0))).newest is not None


def test_results_of_wrong_shape_are_refused():
    result = backend().add(view(wall(1.0))).newest
    with pytest.raises(ValueError, match=r"confidence is float32 \(2, 2\)"):
        GeometryResult(
            result.view, CAMERA, result.points_m, result.depth_m, np.ones((2, 2), np.float32)
        )


def test_every_setting_is_a_declared_parameter():
    names = {declared.name for declared in parameters(SensorConfiguration)}
    assert {"tokens.rows", "tokens.columns", "window_views", "noise_per_m"} <= names


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_the_gpu_gives_the_same_points_and_confidence():
    depth = np.random.default_rng(0).uniform(0.3, 4.0, (120, 160)).astype(np.float32)
    on_cpu, on_gpu = (backend(device).add(view(depth)).newest for device in ("cpu", "cuda"))
    np.testing.assert_allclose(on_gpu.points_m, on_cpu.points_m, rtol=1e-6)
    np.testing.assert_allclose(on_gpu.confidence, on_cpu.confidence, atol=1e-5)
    np.testing.assert_allclose(on_gpu.tokens.xyz_m, on_cpu.tokens.xyz_m, atol=1e-5)
