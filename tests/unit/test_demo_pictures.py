import numpy as np

from sensorium.demo.pictures import depth_picture, map_picture
from sensorium.demo.recorded import RecordedFrame
from sensorium.geometry.surface import MapPoints

GREEN, RED = (0, 200, 0), (200, 0, 0)
DOWN = np.array(((1, 0, 0, 0), (0, -1, 0, 0), (0, 0, -1, 2.0), (0, 0, 0, 1)), np.float64)


def plane(normal, color, u, v, origin=(0.0, 0.0, 0.0)):
    grid = np.stack(np.meshgrid(np.arange(-1, 1, 0.02), np.arange(-1, 1, 0.02)), -1).reshape(-1, 2)
    points = np.array(origin) + grid[:, :1] * np.array(u) + grid[:, 1:] * np.array(v)
    return points, np.tile(normal, (len(points), 1)), np.tile(color, (len(points), 1))


def cloud(*planes):
    points, normals, colors = (np.concatenate(column) for column in zip(*planes, strict=True))
    return MapPoints(
        points.astype(np.float32), normals.astype(np.float32), colors.astype(np.uint8),
        np.ones(len(points), np.float32), 0.02,
    )  # fmt: skip


def level_frame(depth_m=2.0, truth=None, color=None):
    """A camera at 1 m that looks along +x."""
    pose = np.eye(4)
    pose[:3, :3] = ((0, 0, 1), (-1, 0, 0), (0, -1, 0))
    pose[2, 3] = 1.0
    K = np.array(((60.0, 0, 39.5), (0, 60, 29.5), (0, 0, 1)))
    return RecordedFrame(
        0, K, np.full((60, 80), depth_m, np.float32), color, pose, truth_depth_m=truth
    )


def share(picture, color):
    """Share of the pixels of the overview (left) that have a hue."""
    overview = picture[30:870, :1080].astype(int)
    channel = int(np.argmax(color))
    others = [c for c in range(3) if c != channel]
    return float((overview[..., channel] > overview[..., others].max(axis=-1) + 40).mean())


FLOOR = plane((0, 0, 1), GREEN, (1, 0, 0), (0, 1, 0))


def test_the_map_fills_its_picture_without_leaving_it():
    picture = map_picture(cloud(FLOOR), [level_frame()], None)
    overview = picture[30:870, :1080].astype(int)
    rows, columns = np.nonzero(overview[..., 1] > 100)
    assert columns.min() > 0
    assert columns.max() < 1079
    assert rows.min() > 0
    assert rows.max() < 839
    assert np.ptp(columns) > 0.85 * 1080 or np.ptp(rows) > 0.85 * 840


def test_a_surface_seen_from_behind_does_not_hide_the_floor():
    # The camera looks along +x, so the picture is taken from -x and above: this wall is between.
    wall = plane((1, 0, 0), RED, (0, 1, 0), (0, 0, 1), origin=(-1.05, 0, 1))
    assert share(map_picture(cloud(FLOOR, wall), [level_frame()], None), RED) < 0.002
    facing = plane((-1, 0, 0), RED, (0, 1, 0), (0, 0, 1), origin=(1.05, 0, 1))
    assert share(map_picture(cloud(FLOOR, facing), [level_frame()], None), RED) > 0.05


def test_single_wrong_normals_change_nothing():
    points, normals, colors = FLOOR
    noisy = normals.copy()
    noisy[::5] *= -1
    right = map_picture(cloud((points, normals, colors)), [level_frame()], None)
    wrong = map_picture(cloud((points, noisy, colors)), [level_frame()], None)
    assert abs(share(right, GREEN) - share(wrong, GREEN)) < 0.01


def test_a_map_without_points_or_poses_still_gives_a_picture():
    nothing = MapPoints(
        np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8),
        np.zeros(0, np.float32), 0.02,
    )  # fmt: skip
    assert map_picture(nothing, [], None).any()
    assert map_picture(cloud(FLOOR), [], None).any()


def test_depth_is_shown_with_its_error_where_the_truth_is_known():
    alone = depth_picture(level_frame(), None)
    color = np.full((60, 80, 3), 90, np.uint8)
    with_color = depth_picture(level_frame(color=color), None)
    truth = np.full((60, 80), 2.01, np.float32)
    full = depth_picture(level_frame(truth=truth, color=color), None)
    assert alone.shape[1] < with_color.shape[1]
    assert alone.shape[0] == with_color.shape[0] < full.shape[0]


def test_a_frame_without_any_valid_depth_gives_a_picture():
    depth_picture(level_frame(np.nan), None)
    depth_picture(level_frame(np.nan, truth=np.full((60, 80), 2.0, np.float32)), None)
