"""What the page draws: thinned clouds, curves over the last seconds, entries as typed."""

import sys

import numpy as np
import pytest

from sensorium.viewer.controls import entries
from sensorium.viewer.panel import stamp_text
from sensorium.viewer.server import MissingLibraryError, ViewerServer
from sensorium.viewer.strips import SignalStrip
from sensorium.viewer.thinning import thinned


def test_an_organised_cloud_is_thinned_evenly_and_loses_what_is_no_point():
    rows, columns = np.mgrid[0:120, 0:160]
    points = np.stack([columns, rows, np.ones_like(rows)], axis=-1).astype(np.float32)
    points[:60] = np.nan
    colors = np.repeat((rows % 256).astype(np.uint8)[..., None], 3, axis=-1)
    shown, shown_colors = thinned(points, colors, 1000)
    assert 500 <= len(shown) <= 1000
    assert np.isfinite(shown).all()
    assert (shown[:, 1] >= 60).all()
    # Each point keeps its own colour, and every quarter of the picture its share.
    np.testing.assert_array_equal(shown_colors[:, 0], shown[:, 1])
    left = np.count_nonzero(shown[:, 0] < 80) / len(shown)
    assert 0.4 < left < 0.6


def test_a_small_cloud_is_shown_whole():
    points = np.arange(30, dtype=np.float64).reshape(10, 3)
    shown, colors = thinned(points, np.zeros((10, 3), np.uint8), 10)
    np.testing.assert_array_equal(shown, points)
    assert shown.dtype == np.float32
    assert colors.shape == (10, 3)


def test_a_curve_stands_against_seconds_ago_and_moves_on_by_itself():
    clock = [100.0]
    strip = SignalStrip(("a",), 10.0, lambda: clock[0])
    strip.add(5_000_000_000, [1.0])
    strip.add(9_000_000_000, [2.0])
    axis, curve = strip.curves()
    assert (axis[0], axis[-1]) == (-10.0, 0.0)
    assert curve[-1] == 2.0
    assert curve[np.argmin(abs(axis + 3.9))] == 1.0
    assert np.isnan(curve[np.argmin(abs(axis + 5.0))]), "a value holds for a tenth of the window"
    clock[0] += 4.0
    _, later = strip.curves()
    assert np.isnan(later[-1])
    assert later[np.argmin(abs(axis + 3.9))] == 2.0


def test_a_clock_that_went_back_starts_the_curve_anew():
    strip = SignalStrip(("a",), 10.0)
    strip.add(9_000_000_000, [2.0])
    strip.add(1_000_000_000, [3.0])
    _, curve = strip.curves()
    assert set(curve[~np.isnan(curve)]) == {3.0}
    with pytest.raises(ValueError, match="2 values for 1 curves"):
        strip.add(2_000_000_000, [1.0, 2.0])


def test_entries_are_separated_by_lines_or_semicolons_and_keep_their_synonyms():
    assert entries(" mug, cup \n\nfloor;wall; ") == ["mug, cup", "floor", "wall"]
    assert entries("") == []


def test_stamps_show_all_nine_digits():
    assert stamp_text(1_700_000_000_000_000_007) == "1700000000.000000007"


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(MissingLibraryError, match=r"pip install 'viser==1\.1\.1'"):
        ViewerServer("127.0.0.1", 0)
