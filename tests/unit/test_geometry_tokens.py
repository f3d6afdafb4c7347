"""Tokens on a patch grid."""

import geometry_scenes as scenes
import numpy as np
import pytest
import torch

from sensorium.frames import pinhole
from sensorium.geometry.tokens import (
    GEOMETRIC_CHANNELS,
    PatchGrid,
    geometric_tokens,
    patch_colors,
    patch_surfaces,
)

CPU = torch.device("cpu")


def surfaces_of(depth, camera, rows, columns):
    points = scenes.rays(camera) * depth[..., None]
    grid = PatchGrid(rows, columns, *depth.shape, CPU)
    confidence = torch.full(depth.shape, 0.5)
    return patch_surfaces(grid, torch.as_tensor(points, dtype=torch.float32), confidence)


@pytest.mark.parametrize("size", [(480, 640), (100, 133), (7, 11), (33, 32), (37, 1000)])
@pytest.mark.parametrize("parts", [(1, 1), (7, 11), (5, 4)])
def test_patches_cover_any_image_exactly_once(size, parts):
    rows, columns = parts
    grid = PatchGrid(rows, columns, *size, CPU)
    row_of, column_of = np.zeros(size[0], int) - 1, np.zeros(size[1], int) - 1
    for r in range(rows):
        row_of[r * size[0] // rows : (r + 1) * size[0] // rows] = r
    for c in range(columns):
        column_of[c * size[1] // columns : (c + 1) * size[1] // columns] = c
    assert row_of.min() == 0
    assert column_of.min() == 0
    label = torch.as_tensor(row_of[:, None] * columns + column_of)
    patches = grid.gather(label)
    assert all(
        (patches[n][grid.used[n]] == n).all() and grid.used[n].any() for n in range(rows * columns)
    )
    # Small patches use every pixel once.
    if max(size[0] / rows, size[1] / columns) < 11:
        seen = grid.gather(torch.arange(size[0] * size[1]).view(size))[grid.used]
        assert torch.equal(seen.sort().values, torch.arange(size[0] * size[1]))


def test_an_image_smaller_than_the_grid_is_refused():
    with pytest.raises(ValueError, match=r"32 x 32 does not fit an image of 20 x 40"):
        PatchGrid(32, 32, 20, 40, CPU)


def test_centre_and_normal_lie_on_a_tilted_plane():
    camera = pinhole(97, 71, 80.0)
    normal = np.array((0.3, -0.4, -0.8)) / np.linalg.norm((0.3, -0.4, -0.8))
    depth = scenes.plane_depth(camera, np.eye(4), normal, -1.2)
    surfaces = surfaces_of(depth, camera, 8, 8)
    np.testing.assert_allclose(surfaces.xyz_m.numpy() @ normal, -1.2, atol=1e-4)
    np.testing.assert_allclose(surfaces.normal.numpy(), np.tile(normal, (64, 1)), atol=1e-3)
    assert (surfaces.valid_fraction == 1).all()
    np.testing.assert_allclose(surfaces.confidence.numpy(), 0.5, atol=1e-6)


def test_normals_of_a_sphere_point_outward():
    camera = pinhole(160, 160, 300.0)
    center = np.array((0.0, 0.0, 2.0))
    depth = scenes.quadric_depth(camera, np.eye(4), center, 0.8)
    surfaces = surfaces_of(depth, camera, 16, 16)
    xyz, normal = surfaces.xyz_m.numpy(), surfaces.normal.numpy()
    full = (surfaces.valid_fraction == 1).numpy()
    outward = (xyz - center)[full] / np.linalg.norm((xyz - center)[full], axis=1, keepdims=True)
    assert np.median((normal[full] * outward).sum(axis=1)) > 0.9995


def test_a_patch_with_two_surfaces_takes_the_larger_one_not_their_middle():
    camera = pinhole(40, 40, 40.0)
    depth = np.full((40, 40), 1.0, np.float32)
    depth[:, 26:] = 3.0
    surfaces = surfaces_of(depth, camera, 1, 1)
    assert float(surfaces.xyz_m[0, 2]) == pytest.approx(1.0)
    assert float(surfaces.normal[0, 2]) == pytest.approx(-1.0, abs=1e-5)


def test_single_outliers_do_not_move_the_centre():
    camera = pinhole(40, 40, 40.0)
    depth = np.full((40, 40), 1.0, np.float32)
    depth[::5, ::5] = 9.0
    assert float(surfaces_of(depth, camera, 1, 1).xyz_m[0, 2]) == pytest.approx(1.0)


def test_tokens_without_depth_are_nan_without_confidence_and_the_rest_is_untouched():
    camera = pinhole(64, 64, 64.0)
    depth = np.full((64, 64), 1.5, np.float32)
    depth[:16, :16] = np.nan
    depth[16:32, :8] = np.nan
    points = torch.as_tensor(scenes.rays(camera) * depth[..., None], dtype=torch.float32)
    confidence = torch.where(points[..., 2].isnan(), 0.0, 0.8)
    color = torch.zeros((64, 64, 3), dtype=torch.uint8)
    color[..., 0] = 255
    grid = PatchGrid(4, 4, 64, 64, CPU)
    tokens = geometric_tokens(grid, points, confidence, color)
    named = dict(zip(GEOMETRIC_CHANNELS, tokens.features.T, strict=True))
    assert np.isnan(tokens.xyz_m[0]).all()
    assert np.isnan(named["normal_x"][0])
    assert tokens.confidence[0] == 0
    assert named["valid_fraction"][0] == 0
    assert named["valid_fraction"][4] == pytest.approx(0.5)
    assert np.isfinite(tokens.xyz_m[1:]).all()
    assert np.isfinite(tokens.features[1:]).all()
    np.testing.assert_allclose(tokens.confidence[1:], 0.8, atol=1e-6)
    np.testing.assert_allclose(named["red"], 1.0)
    np.testing.assert_allclose(named["blue"], 0.0)


def test_colours_are_means_per_patch():
    image = torch.as_tensor(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    colors = patch_colors(PatchGrid(2, 3, 20, 30, CPU), image)
    expected = image.numpy().reshape(2, 10, 3, 10, 3).mean(axis=(1, 3)).reshape(6, 3) / 255
    np.testing.assert_allclose(colors.numpy(), expected, atol=1e-6)


def test_too_few_points_or_points_on_a_line_have_no_normal():
    camera = pinhole(20, 20, 20.0)
    depth = np.full((20, 20), np.nan, np.float32)
    depth[2, 1:9] = 1.0
    depth[12, 12:14] = 1.0
    surfaces = surfaces_of(depth, camera, 2, 2)
    assert surfaces.normal.isnan().all()
    assert surfaces.xyz_m[0].isfinite().all()
    assert surfaces.xyz_m[3].isfinite().all()
    assert surfaces.xyz_m[1].isnan().all()
