"""From a camera image to the model's input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sensorium.models.omnivggt import OmniVGGTProcessor


def _smooth(height, width, seed=0):
    """An image without noise, on which resampling is well defined."""
    coarse = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return (fine[0].permute(1, 2, 0) * 255).round().to(torch.uint8)


def _intrinsics(fx, fy, cx, cy):
    return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("height", "width", "wanted"),
    # round(h * 518 / w / 14) * 14, rows beyond 518 cut off; halves go to the even number.
    [
        (480, 640, 392),
        (720, 1280, 294),
        (518, 518, 518),
        (1000, 500, 518),
        (5, 4, 518),
        (35, 74, 252),
        (33, 74, 224),
    ],
)
def test_the_published_sizes_come_out(height, width, wanted):
    view = OmniVGGTProcessor()(_smooth(height, width))
    assert tuple(view.image.shape) == (3, wanted, 518)
    assert view.image.dtype == torch.float32


@pytest.mark.parametrize(("height", "width"), [(480, 640), (720, 500)])
def test_pixels_equal_a_bicubic_resize_by_pillow(height, width):
    image_module = pytest.importorskip("PIL.Image")
    rgb = _smooth(height, width)
    full = round(height * 518 / width / 14) * 14
    resized = image_module.fromarray(rgb.numpy()).resize(
        (518, full), image_module.Resampling.BICUBIC
    )
    start = max(0, (full - 518) // 2)
    wanted = np.asarray(resized, dtype=np.int32)[start : start + 518]
    got = (OmniVGGTProcessor()(rgb).image * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(got - wanted).max() <= 2
    assert (got != wanted).mean() < 0.02


@pytest.mark.parametrize("centred", [True, False])
def test_a_ray_keeps_its_pixel_through_crop_and_resize(centred):
    # A bright blob around a known ray: it is found where the new intrinsics say.
    height, width, fx, fy, cx, cy = 480, 640, 500.0, 510.0, 300.3, 251.7
    column, row = 402, 173
    rgb = torch.zeros(height, width, 3, dtype=torch.uint8)
    rgb[row - 6 : row + 7, column - 6 : column + 7] = 255
    processor = OmniVGGTProcessor(width_px=392, centre_principal_point=centred)
    view = processor(rgb, _intrinsics(fx, fy, cx, cy))
    bright = view.image[0].double()
    rows = torch.arange(bright.shape[0], dtype=torch.float64)
    columns = torch.arange(bright.shape[1], dtype=torch.float64)
    found_row = float((bright.sum(1) * rows).sum() / bright.sum())
    found_column = float((bright.sum(0) * columns).sum() / bright.sum())
    k = view.intrinsics
    assert found_column == pytest.approx(float(k[0, 0] * (column - cx) / fx + k[0, 2]), abs=0.02)
    assert found_row == pytest.approx(float(k[1, 1] * (row - cy) / fy + k[1, 2]), abs=0.02)


def test_the_principal_point_ends_in_the_middle():
    view = OmniVGGTProcessor()(_smooth(480, 640), _intrinsics(500, 500, 300.3, 251.7))
    left, top, width, height = view.source_box
    # Half a pixel of the camera image is left at most.
    assert abs(float(view.intrinsics[0, 2]) - (518 - 1) / 2) <= 0.5 * 518 / width
    rows = view.image.shape[1]
    assert abs(float(view.intrinsics[1, 2]) - (rows - 1) / 2) <= 0.5 * rows / height
    assert (left, top) == (0, 25)
    assert (width, height) == (601, 455)


def test_cut_rows_move_the_principal_point():
    view = OmniVGGTProcessor(centre_principal_point=False)(
        _smooth(1000, 500), _intrinsics(400, 400, 249.5, 499.5)
    )
    assert float(view.intrinsics[1, 2]) == pytest.approx((518 - 1) / 2)
    assert float(view.intrinsics[0, 0]) == pytest.approx(400 * 518 / 500)
    assert view.source_box == (0, 250, 500, 500)


def test_invalid_depth_becomes_zero_under_a_mask():
    depth_m = torch.full((14, 28), 2.0)
    depth_m[0, :4] = torch.tensor([float("nan"), float("inf"), 0.0, -1.0])
    view = OmniVGGTProcessor(width_px=28, max_height_px=14)(_smooth(14, 28), None, depth_m)
    assert view.depth_m[0, :5].tolist() == [0, 0, 0, 0, 2]
    assert view.mask[0, :5].tolist() == [False, False, False, False, True]
    assert bool(view.depth_m.isfinite().all())


def test_depth_is_never_averaged_across_an_edge():
    depth_m = torch.ones(120, 160)
    depth_m[:, 80:] = 5
    view = OmniVGGTProcessor(width_px=70)(_smooth(120, 160), None, depth_m)
    assert set(view.depth_m.unique().tolist()) == {1.0, 5.0}
    assert view.depth_m[0, 34] == 1
    assert view.depth_m[0, 35] == 5


def test_a_map_returns_to_the_camera_image_and_is_unknown_outside():
    rgb, intrinsics = _smooth(480, 640), _intrinsics(500, 500, 300.3, 239.5)
    view = OmniVGGTProcessor()(rgb, intrinsics)
    columns = torch.arange(518.0).expand(view.image.shape[1], 518)
    restored = view.restore(columns)
    assert tuple(restored.shape) == (480, 640)
    left, _, width, _ = view.source_box
    inside = restored[100, left : left + width]
    wanted = (torch.arange(width) + 0.5) * 518 / width - 0.5
    assert float((inside - wanted).abs().max()) < 0.51
    assert bool(restored[:, left + width :].isnan().all())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((torch.zeros(3, 28, 28, dtype=torch.uint8),), r"\(H, W, 3\) uint8"),
        ((torch.zeros(28, 28, 3),), "8-bit RGB"),
        ((_smooth(28, 28), torch.eye(4)), r"one \(3, 3\) matrix"),
        ((_smooth(28, 28), None, torch.zeros(14, 14)), "register depth to colour"),
        ((_smooth(28, 28), _intrinsics(30, 30, 4, 14)), "outer quarter"),
    ],
)
def test_what_cannot_be_prepared_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        OmniVGGTProcessor()(*arguments)


def test_sizes_that_are_not_whole_patches_are_refused():
    with pytest.raises(ValueError, match="width_px=500 must be a positive multiple of 14"):
        OmniVGGTProcessor(width_px=500)


@pytest.mark.parametrize(
    ("height", "width", "box"),
    # Largest boxes of aspect 4:3 around the middle, of cameras with other aspects.
    [(480, 640, (0, 0, 640, 480)), (720, 1280, (160, 0, 960, 720)), (640, 480, (0, 140, 480, 360))],
)
def test_a_fixed_height_makes_all_cameras_one_size(height, width, box):
    processor = OmniVGGTProcessor(width_px=112, height_px=84)
    depth_m = torch.ones(height, width)
    view = processor(_smooth(height, width), None, depth_m)
    assert tuple(view.image.shape) == (3, 84, 112)
    assert tuple(view.depth_m.shape) == (84, 112)
    assert view.source_box == box
    restored = view.restore(view.depth_m)
    assert tuple(restored.shape) == (height, width)
    assert int(restored.isfinite().sum()) == box[2] * box[3]


def test_a_fixed_height_keeps_the_principal_point_in_the_middle_and_the_rays_exact():
    processor = OmniVGGTProcessor(width_px=112, height_px=84)
    intrinsics = _intrinsics(600, 610, 650.3, 350.2)
    view = processor(_smooth(720, 1280), intrinsics)
    left, top, width, height = view.source_box
    scale_x, scale_y = 112 / width, 84 / height
    wanted = _intrinsics(
        600 * scale_x, 610 * scale_y,
        (650.3 - left + 0.5) * scale_x - 0.5, (350.2 - top + 0.5) * scale_y - 0.5,
    )  # fmt: skip
    torch.testing.assert_close(view.intrinsics, wanted)
    assert abs(float(view.intrinsics[0, 2]) - (112 - 1) / 2) <= scale_x / 2
    assert abs(float(view.intrinsics[1, 2]) - (84 - 1) / 2) <= scale_y / 2


def test_restored_depth_is_smooth_on_a_surface_and_sharp_at_an_edge():
    processor = OmniVGGTProcessor(width_px=28, height_px=14)
    view = processor(_smooth(56, 112))
    # A ramp that rises by 2 % per pixel, and behind column 14 a wall twice as far.
    ramp = 1 + 0.02 * torch.arange(14.0)
    depth = torch.cat((ramp, torch.full((14,), 4.0))).expand(14, 28)
    restored = view.restore_depth(depth)[20]
    # Four columns of the image to one of the model: column u is at (u + 0.5) / 4 - 0.5.
    columns = (torch.arange(2, 54) + 0.5) / 4 - 0.5
    torch.testing.assert_close(restored[2:54], 1 + 0.02 * columns, atol=1e-5, rtol=0)
    assert restored[54:56].tolist() == pytest.approx([1.26, 1.26])
    assert (restored[56:] == 4.0).all()
