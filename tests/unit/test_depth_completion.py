"""Completion on hand-made depth: what must stay, what must be filled and with what."""

import numpy as np
import pytest

from sensorium.geometry.completion import LEAST_MEASURED_PX, complete_depth

HEIGHT, WIDTH = 96, 128


def slanted_plane() -> np.ndarray:
    """Inverse depth is linear in the image: a plane seen by a pinhole camera, 1.2 to 3.4 m."""
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH]
    return (1 / (0.3 + 0.5 * u / WIDTH + 0.02 * v / HEIGHT)).astype(np.float32)


def step() -> np.ndarray:
    """A near thing before a far wall, the edge in the middle column."""
    depth = np.full((HEIGHT, WIDTH), 3.0, np.float32)
    depth[:, WIDTH // 2 :] = 1.0
    return depth


def with_hole(depth: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    measured = depth.copy()
    measured[rows, columns] = np.nan
    return measured


MIDDLE = (slice(30, 66), slice(44, 84))
EVEN = np.ones((HEIGHT, WIDTH), np.float32)


def test_measurements_come_back_unchanged():
    measured = with_hole(slanted_plane(), *MIDDLE)
    depth, is_filled = complete_depth(measured, slanted_plane() * 0.3, EVEN)
    kept = np.isfinite(measured)
    np.testing.assert_array_equal(depth[kept], measured[kept])
    np.testing.assert_array_equal(is_filled, ~kept)


@pytest.mark.parametrize("unit", [0.02, 1.0, 30.0])
def test_the_unit_of_the_model_does_not_matter(unit):
    truth = step()
    depth, _ = complete_depth(with_hole(truth, *MIDDLE), truth * np.float32(unit), EVEN)
    np.testing.assert_allclose(depth, truth, rtol=1e-3)


def test_an_edge_inside_the_hole_is_the_models():
    truth = step()
    depth, is_filled = complete_depth(with_hole(truth, *MIDDLE), truth, EVEN)
    assert is_filled[48, 60]
    assert is_filled[48, 70]
    np.testing.assert_allclose(depth[48, [60, 63, 64, 70]], [3, 3, 1, 1], rtol=1e-3)


def test_a_slow_drift_of_the_model_is_taken_out():
    truth = slanted_plane()
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH]
    drift = (0.4 + 0.3 * u / WIDTH + 0.2 * v / HEIGHT).astype(np.float32)
    depth, is_filled = complete_depth(with_hole(truth, *MIDDLE), truth * drift, EVEN)
    assert np.abs(depth / truth - 1)[is_filled].max() < 0.01


def test_a_flat_model_continues_a_plane():
    truth = slanted_plane()
    depth, is_filled = complete_depth(with_hole(truth, *MIDDLE), EVEN, EVEN)
    assert np.abs(depth / truth - 1)[is_filled].max() < 0.015


def test_what_nobody_knows_stays_nan():
    truth = slanted_plane()
    model = truth.copy()
    model[30:50, 44:84] = np.nan
    depth, is_filled = complete_depth(with_hole(truth, *MIDDLE), model, EVEN)
    assert np.isnan(depth[30:50, 44:84]).all()
    assert not is_filled[30:50, 44:84].any()
    assert np.isfinite(depth[50:66, 44:84]).all()


def test_without_measurements_nothing_is_filled_because_the_unit_is_unknown():
    nothing = np.full((HEIGHT, WIDTH), np.nan, np.float32)
    depth, is_filled = complete_depth(nothing, slanted_plane(), EVEN)
    assert np.isnan(depth).all()
    assert not is_filled.any()
    few = nothing.copy()
    few[0, : LEAST_MEASURED_PX - 1] = 2.0
    depth, is_filled = complete_depth(few, slanted_plane(), EVEN)
    assert np.isfinite(depth).sum() == LEAST_MEASURED_PX - 1
    assert not is_filled.any()


@pytest.mark.parametrize("invalid", [0.0, -1.0, np.inf, np.nan])
def test_zero_negative_and_infinite_depth_count_as_holes(invalid):
    truth = slanted_plane()
    measured = truth.copy()
    measured[MIDDLE] = invalid
    depth, is_filled = complete_depth(measured, truth, EVEN)
    assert is_filled[MIDDLE].all()
    np.testing.assert_allclose(depth, truth, rtol=1e-3)


def test_a_model_that_contradicts_the_measurements_has_no_say():
    truth = slanted_plane()
    waves = np.sin(np.arange(WIDTH) / 3.0).astype(np.float32)
    model = truth * np.exp(0.3 * waves)
    depth, is_filled = complete_depth(with_hole(truth, *MIDDLE), model, EVEN)
    assert np.abs(depth / truth - 1)[is_filled].max() < 0.02


def test_colour_puts_the_edge_where_the_colours_change_when_the_model_is_flat():
    truth = step()
    color = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    color[:, WIDTH // 2 :] = 40
    hole = (slice(30, 66), slice(50, 82))
    errors = []
    for guide in (None, color):
        depth, is_filled = complete_depth(with_hole(truth, *hole), EVEN, EVEN, guide)
        errors.append(np.abs(depth / truth - 1)[is_filled].mean())
    assert errors[1] < 0.4 * errors[0]


def test_colour_inside_of_one_surface_changes_little():
    truth = slanted_plane()
    stripes = np.where(np.arange(WIDTH) // 8 % 2, 220, 60).astype(np.uint8)
    color = np.broadcast_to(stripes[None, :, None], (HEIGHT, WIDTH, 3)).copy()
    depth, is_filled = complete_depth(with_hole(truth, *MIDDLE), EVEN, EVEN, color)
    assert np.abs(depth / truth - 1)[is_filled].max() < 0.06


def test_a_lone_flying_pixel_is_replaced_and_an_edge_is_not():
    truth = step()
    measured = truth.copy()
    measured[20, 20] = 0.7
    depth, is_filled = complete_depth(measured, truth, EVEN)
    assert is_filled.sum() == 1
    assert depth[20, 20] == pytest.approx(3.0, rel=0.01)


def test_a_measured_thing_that_the_model_does_not_see_stays():
    measured = np.full((HEIGHT, WIDTH), 3.0, np.float32)
    measured[40:60, 50:70] = 1.5
    depth, is_filled = complete_depth(measured, EVEN * 3, EVEN)
    np.testing.assert_array_equal(depth, measured)
    assert not is_filled.any()


def test_the_inputs_are_not_written_to():
    measured, model = with_hole(slanted_plane(), *MIDDLE), slanted_plane() * 2
    before = measured.copy(), model.copy()
    complete_depth(measured, model, EVEN)
    np.testing.assert_array_equal(measured, before[0])
    np.testing.assert_array_equal(model, before[1])


def test_differing_shapes_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"model_depth has shape \(48, 64\).*resize the model"):
        complete_depth(slanted_plane(), np.ones((48, 64), np.float32), EVEN)
    with pytest.raises(ValueError, match=r"color is uint8 \(4, 4, 3\).*pixels of measured"):
        complete_depth(slanted_plane(), EVEN, EVEN, np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match=r"an image \(H, W\)"):
        complete_depth(np.ones(5, np.float32), np.ones(5, np.float32), np.ones(5, np.float32))
