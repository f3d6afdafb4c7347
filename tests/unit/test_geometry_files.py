"""PLY files and pictures."""

import cv2
import geometry_scenes as scenes
import numpy as np
import pytest

from sensorium.frames import pinhole
from sensorium.geometry.picture import (
    draw_depth,
    draw_map,
    draw_map_from_above,
    look_at,
    save_png,
)
from sensorium.geometry.ply import PlyError, read_ply, write_ply
from sensorium.geometry.surface import MapPoints

RANDOM = np.random.default_rng(0)


def grid_cloud(colors) -> MapPoints:
    """A square of 1 m in the plane z = 0, coloured by quadrant."""
    x, y = np.meshgrid(np.arange(-0.5, 0.5, 0.02), np.arange(-0.5, 0.5, 0.02))
    points = np.stack((x, y, np.zeros_like(x)), axis=-1).reshape(-1, 3).astype(np.float32)
    quadrant = (points[:, 0] > 0).astype(int) + 2 * (points[:, 1] > 0)
    normals = np.tile(np.float32((0, 0, 1)), (len(points), 1))
    weights = np.ones(len(points), np.float32)
    return MapPoints(points, normals, np.asarray(colors, np.uint8)[quadrant], weights, 0.02)


def test_a_cloud_comes_back_from_its_file_as_it_was(tmp_path):
    points = RANDOM.normal(size=(100, 3)).astype(np.float32)
    normals = RANDOM.normal(size=(100, 3)).astype(np.float32)
    colors = RANDOM.integers(0, 256, (100, 3), dtype=np.uint8)
    write_ply(tmp_path / "map.ply", points, normals, colors, "frame map")
    read = read_ply(tmp_path / "map.ply")
    written = {
        ("x", "y", "z"): points,
        ("nx", "ny", "nz"): normals,
        ("red", "green", "blue"): colors,
    }
    for names, expected in written.items():
        np.testing.assert_array_equal(np.stack([read[name] for name in names], axis=1), expected)
    header = (tmp_path / "map.ply").read_bytes().split(b"end_header\n")[0].decode()
    assert header.splitlines()[:4] == [
        "ply", "format binary_little_endian 1.0", "comment frame map", "element vertex 100",
    ]  # fmt: skip
    assert list(tmp_path.iterdir()) == [tmp_path / "map.ply"]


def test_an_empty_cloud_is_a_valid_file(tmp_path):
    write_ply(tmp_path / "map.ply", np.zeros((0, 3), np.float32))
    assert len(read_ply(tmp_path / "map.ply")["x"]) == 0


def test_a_failed_write_keeps_the_earlier_file_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "map.ply"
    write_ply(path, np.ones((2, 3), np.float32))

    def no_space(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_ply(path, np.zeros((5, 3), np.float32))
    assert len(read_ply(path)["x"]) == 2
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        write_ply(tmp_path / "nowhere" / "map.ply", np.zeros((5, 3), np.float32))


def test_broken_clouds_and_files_are_refused(tmp_path):
    path = tmp_path / "map.ply"
    with pytest.raises(PlyError, match=r"must be \(4, 3\)"):
        write_ply(path, np.zeros((4, 3), np.float32), colors=np.zeros((3, 3), np.uint8))
    with pytest.raises(PlyError, match="one line"):
        write_ply(path, np.zeros((4, 3), np.float32), comment="a\nend_header")
    path.write_bytes(b"hello")
    with pytest.raises(PlyError, match="not a PLY"):
        read_ply(path)
    write_ply(path, np.zeros((4, 3), np.float32))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(PlyError, match="truncated"):
        read_ply(path)


def test_the_map_picture_shows_each_colour_where_its_points_project():
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0)]
    cloud = grid_cloud(colors)
    camera = pinhole(200, 200, 150.0)
    pose = scenes.looking_at((0.0, 0.0, 1.0), (0, 0, 0), (0.0, 1.0, 0.0))
    picture = draw_map(cloud, camera, pose)
    # Seen from +z with y up: x to the right, y upward.
    for (x, y), color in zip([(-1, -1), (1, -1), (-1, 1), (1, 1)], colors, strict=True):
        pixel = picture[round(99.5 - 37 * y), round(99.5 + 37 * x)]
        assert np.abs(pixel.astype(int) - color).max() < 25
    assert (picture[50:150, 50:150].max(axis=-1) > 100).mean() > 0.99, "the surface has no holes"


def test_nearer_points_hide_farther_ones():
    near, far = grid_cloud([(250, 0, 0)] * 4), grid_cloud([(0, 250, 0)] * 4)
    points = np.concatenate((near.points_m, far.points_m - np.float32((0, 0, 0.5))))
    both = MapPoints(
        points, np.tile(near.normals, (2, 1)), np.concatenate((near.colors, far.colors)),
        np.ones(len(points), np.float32), 0.02,
    )  # fmt: skip
    pose = scenes.looking_at((0.0, 0.0, 1.0), (0, 0, 0), (0.0, 1.0, 0.0))
    picture = draw_map(both, pinhole(200, 200, 150.0), pose)
    centre = picture[60:140, 60:140]
    assert (centre[..., 0] > 100).all()
    assert (centre[..., 1] < 60).all()


def test_the_view_from_above_contains_the_map_and_an_empty_map_says_so():
    picture = draw_map_from_above(grid_cloud([(250, 250, 250)] * 4), width_px=320, height_px=240)
    lit = (picture.max(axis=-1) > 90).mean()
    assert 0.05 < lit < 0.9
    nothing = np.zeros((0, 3), np.float32)
    empty = MapPoints(nothing, nothing, nothing.astype(np.uint8), np.zeros(0, np.float32), 0.02)
    assert (draw_map_from_above(empty) == 255).any()


def test_look_at_is_a_camera_with_its_target_in_the_middle_and_up_upward():
    eye, target = np.array((1.0, 2.0, 3.0)), np.array((0.0, -1.0, 0.5))
    pose = look_at(eye, target, np.array((0.0, 0.0, 1.0)))
    np.testing.assert_allclose(pose, scenes.looking_at(eye, target), atol=1e-12)
    with pytest.raises(ValueError, match="across the sight"):
        look_at(eye, eye - (0, 0, 1), np.array((0.0, 0.0, 1.0)))


def test_the_depth_picture_has_black_holes_a_scale_and_one_colour_per_depth(tmp_path):
    depth = np.tile(np.linspace(0.5, 4.5, 320, dtype=np.float32), (240, 1))
    depth[100:120, 100:120] = np.nan
    picture = draw_depth(depth, 0.5, 4.5)
    assert picture.shape == (240, 320 + 88, 3)
    assert (picture[100:120, 100:120] == 0).all()
    assert (picture[:100, :320] == picture[:1, :320]).all()
    # Near is red, far is blue, as in the legend beside it.
    assert picture[0, 5, 0] > picture[0, 5, 2]
    assert picture[0, 314, 2] > picture[0, 314, 0]
    np.testing.assert_array_equal(picture[16, 320 + 10], picture[0, 0])
    save_png(tmp_path / "depth.png", picture)
    read = cv2.cvtColor(cv2.imread(str(tmp_path / "depth.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(read, picture)
    assert draw_depth(np.full((30, 40), np.nan, np.float32)).shape == (30, 128, 3)
