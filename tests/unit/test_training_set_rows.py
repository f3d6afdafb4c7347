"""Rows of a training set: one period apart, every missing one accounted for; labels; files."""

import json

import numpy as np
import pytest

from sensorium.policy.keyframes import cell_of, grid_from_base
from sensorium.policy.sampling import NO_NEW_OBSERVATION, RowSampler
from sensorium.policy.training_set_writer import TrainingSetError, TrainingSetWriter

PERIOD = 100
RANDOM = np.random.default_rng(3)


def offered(stamps, sampler=None):
    sampler = sampler or RowSampler(PERIOD)
    sampler.begin()
    return sampler, [stamp for stamp in stamps if sampler.offer(stamp, stamp + 30)]


def test_a_faster_camera_gives_every_second_picture():
    sampler, rows = offered(range(1000, 2001, 50))
    assert rows == list(range(1000, 2001, 100))
    assert not sampler.lost


def test_jitter_loses_no_row_and_breaks_no_segment():
    stamps = 1000 + PERIOD * np.arange(200) + RANDOM.integers(-15, 16, 200)
    sampler, rows = offered(stamps.tolist())
    assert rows == stamps.tolist()
    assert (sampler.segment, sampler.lost.total()) == (1, 0)


def test_a_slightly_slower_camera_loses_no_row():
    stamps = (1000 + 100.7 * np.arange(500)).astype(int).tolist()
    sampler, rows = offered(stamps)
    assert rows == stamps
    assert (sampler.segment, sampler.lost.total()) == (1, 0)


def test_a_missing_row_begins_a_segment_and_is_counted_by_its_reason():
    sampler, _ = offered([1000, 1100])
    for now in range(1230, 1430, 10):
        sampler.refuse("observation_stale" if now < 1330 else "observation_skewed", now)
    assert sampler.offer(1400, 1430)
    assert sampler.segment == 2
    assert sampler.lost == {"observation_stale": 1, "observation_skewed": 1}


def test_a_refusal_that_costs_no_row_is_not_counted():
    sampler, _ = offered([1000])
    sampler.refuse("observation_skewed", 1110)
    assert sampler.offer(1100, 1130)
    assert not sampler.lost


def test_silence_is_counted_and_a_leap_of_the_clock_takes_no_time():
    sampler, _ = offered([1000, 1200])
    assert sampler.lost == {NO_NEW_OBSERVATION: 1}
    assert sampler.offer(10**15, 10**15)
    assert sampler.lost.total() > 10**12


def test_the_grid_is_found_from_tokens_with_outliers():
    rows, columns, size, focal = 8, 10, 12.0, 90.0
    pose = np.eye(4)
    pose[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    pose[:3, 3] = 0.1, 0.2, 0.3
    j, i = np.meshgrid(np.arange(columns), np.arange(rows))
    depth = RANDOM.uniform(0.5, 1.5, (rows, columns))
    u, v = (j + 0.5) * size - 0.5, (i + 0.5) * size - 0.5
    cu, cv = columns * size / 2, rows * size / 2
    camera = np.stack(((u - cu) / focal * depth, (v - cv) / focal * depth, depth), -1)
    points = camera.reshape(-1, 3) @ pose[:3, :3].T + pose[:3, 3]
    valid = np.ones(rows * columns)
    points[7] += 0.4
    valid[3] = 0
    points[3] = 0
    projection = grid_from_base(points, valid, pose, rows, columns)
    for cell in (0, 12, 45, rows * columns - 1):
        assert cell_of(projection, points[cell], rows, columns) == cell
    assert cell_of(projection, pose[:3, 3] - pose[:3, 2], rows, columns) == -1
    assert cell_of(projection, pose[:3, 3] + (1.0, 5.0, 0.0), rows, columns) == -1
    assert grid_from_base(points, 0 * valid, pose, rows, columns) is None
    assert cell_of(None, points[0], rows, columns) == -1


def test_arrays_grow_and_are_read_by_numpy(tmp_path):
    first, second = RANDOM.normal(size=(3, 2)), RANDOM.normal(size=(1200, 2))
    with TrainingSetWriter(tmp_path) as writer:
        writer.append({"a": first, "b": np.arange(3)})
        writer.append({"a": second, "b": np.arange(1200)})
        writer.finish({"made_by": "test"})
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.concatenate((first, second)))
    assert np.load(tmp_path / "b.npy", mmap_mode="r").shape == (1203,)
    assert json.loads((tmp_path / "meta.json").read_text())["steps"] == 1203


def test_arrays_of_two_setups_are_refused_and_half_a_set_is_left_nowhere(tmp_path):
    writer = TrainingSetWriter(tmp_path)
    with pytest.raises(TrainingSetError, match="recordings of one setup"), writer:
        writer.append({"a": np.zeros((2, 3))})
        writer.append({"a": np.zeros((2, 4))})
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").touch()
    with pytest.raises(TrainingSetError, match="not an empty folder"):
        TrainingSetWriter(tmp_path)
