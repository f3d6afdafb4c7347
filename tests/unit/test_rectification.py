"""Rectification against the published lens formulas, written out here."""

import numpy as np
import pytest

from sensorium.frames import CameraModel, FrameError, pinhole
from sensorium.rectification import rectified_camera, rectified_color, rectified_depth

K = np.array(((210.0, 0, 158.0), (0, 205.0, 122.0), (0, 0, 1)))
W, H = 320, 240


def brown(x, y, k1, k2, p1, p2, k3=0.0, k4=0.0, k5=0.0, k6=0.0):
    r2 = x * x + y * y
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


def equidistant(x, y, k1, k2, k3, k4):
    r = np.hypot(x, y)
    theta = np.arctan(r)
    bent = theta * (1 + k1 * theta**2 + k2 * theta**4 + k3 * theta**6 + k4 * theta**8)
    scale = np.where(r > 1e-9, bent / np.maximum(r, 1e-9), 1.0)
    return x * scale, y * scale


LENSES = {
    "plumb_bob": (brown, (-0.28, 0.09, 0.001, -0.0015, 0.01)),
    "rational_polynomial": (brown, (0.4, -0.2, 0.001, 0.0007, 0.05, 0.6, -0.1, 0.02)),
    "equidistant": (equidistant, (0.05, -0.01, 0.004, -0.001)),
}


def source_pixels(model):
    """(u, v) in the distorted image for every rectified pixel, by the formula of the model."""
    formula, coefficients = LENSES[model]
    u, v = np.meshgrid(np.arange(W, dtype=float), np.arange(H, dtype=float))
    x, y = formula((u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], *coefficients)
    return x * K[0, 0] + K[0, 2], y * K[1, 1] + K[1, 2]


@pytest.mark.parametrize("model", list(LENSES))
def test_every_rectified_pixel_shows_what_the_lens_formula_says(model):
    camera = CameraModel(W, H, K, model, LENSES[model][1])
    u, v = source_pixels(model)
    inside = (u > 1) & (u < W - 2) & (v > 1) & (v < H - 2)
    assert inside.mean() > 0.6
    # Images whose value is the position: linear interpolation of a ramp is exact.
    columns, rows = np.meshgrid(np.arange(W), np.arange(H))
    color = np.stack((columns // 2, rows, np.full((H, W), 7)), axis=-1).astype(np.uint8)
    shown = rectified_color(color, camera).astype(float)
    assert np.abs(shown[..., 1] - v)[inside].max() < 0.6
    assert np.abs(shown[..., 0] - (u - 0.5) / 2)[inside].max() < 0.9
    depth = rectified_depth((1000.0 * rows + columns).astype(np.float32), camera)
    expected = 1000.0 * np.rint(v) + np.rint(u)
    assert np.isfinite(depth[inside]).all()
    row_error = np.abs(np.floor(depth / 1000.0) - v)[inside]
    column_error = np.abs(depth % 1000.0 - u)[inside]
    # The nearest pixel: half a pixel away, never a mixture of two depths.
    assert row_error.max() < 0.55 and column_error.max() < 0.55
    assert np.mean(depth[inside] == expected[inside]) > 0.9


def test_what_the_lens_does_not_see_is_invalid_depth_and_black():
    # A pincushion lens: the corners of the rectified image lie outside of the distorted one.
    camera = CameraModel(W, H, K, "plumb_bob", (0.3, 0.0, 0.0, 0.0, 0.0))
    depth = rectified_depth(np.ones((H, W), np.float32), camera)
    assert np.isnan(depth[0, 0]) and depth[H // 2, W // 2] == 1.0
    assert not rectified_color(np.full((H, W, 3), 200, np.uint8), camera)[0, 0].any()


def test_a_rectified_image_is_handed_back_untouched():
    color = np.zeros((H, W, 3), np.uint8)
    depth = np.ones((H, W), np.float32)
    zeros = CameraModel(W, H, K, "plumb_bob", (0.0,) * 5)
    assert rectified_color(color, zeros) is color
    assert rectified_depth(depth, pinhole(W, H, 200.0)) is depth
    assert rectified_camera(zeros).distortion_model == ""


def test_the_rectified_camera_keeps_size_and_intrinsics():
    camera = CameraModel(W, H, K, "equidistant", LENSES["equidistant"][1])
    rectified = rectified_camera(camera)
    assert rectified.is_rectified and np.array_equal(rectified.K, K)
    assert (rectified.width_px, rectified.height_px) == (W, H)


def test_unknown_models_and_wrong_coefficients_are_refused_by_name():
    depth = np.ones((H, W), np.float32)
    with pytest.raises(FrameError, match="'thin_prism' is not known; known are plumb_bob"):
        rectified_depth(depth, CameraModel(W, H, K, "thin_prism", (0.1,)))
    with pytest.raises(FrameError, match="has 3 coefficients; it takes 4 or 5"):
        rectified_camera(CameraModel(W, H, K, "plumb_bob", (0.1, 0.0, 0.0)))
    with pytest.raises(FrameError, match="CameraInfo of this image"):
        rectified_color(np.zeros((10, 10, 3), np.uint8), CameraModel(W, H, K))
