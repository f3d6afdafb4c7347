"""The fused map against analytic shapes, and its bounds."""

import geometry_scenes as scenes
import numpy as np
import pytest
import torch

from sensorium.frames import pinhole
from sensorium.geometry.blocks import COORDINATE_LIMIT, VoxelBlocks, pack, unpack
from sensorium.geometry.fusion import FusedMap, FusionConfiguration, FusionError

CAMERA = pinhole(160, 120, 140.0)
CPU = torch.device("cpu")
WALL_NORMAL = np.array((0.0, 0.0, 1.0))


def wall(distance_m: float) -> np.ndarray:
    return np.full((CAMERA.height_px, CAMERA.width_px), distance_m, np.float32)


def fused(depths, poses, device="cpu", **settings) -> FusedMap:
    fused_map = FusedMap(FusionConfiguration(**settings), device)
    for depth, pose in zip(depths, poses, strict=True):
        fused_map.integrate(depth, CAMERA, pose)
    return fused_map


def test_a_wall_is_recovered_between_the_voxels():
    # 1.013 m is on no voxel centre: only interpolation finds it.
    cloud = fused([wall(1.013)] * 2, [np.eye(4)] * 2).points()
    assert len(cloud) > 1000
    assert np.abs(cloud.points_m[:, 2] - 1.013).max() < 1e-4
    np.testing.assert_allclose(cloud.normals, np.tile((0, 0, -1), (len(cloud), 1)), atol=2e-3)


def test_a_tilted_plane_seen_from_two_sides_is_recovered():
    normal = np.array((0.3, -0.5, 0.8)) / np.linalg.norm((0.3, -0.5, 0.8))
    poses = [scenes.looking_at(eye, (0.1, 0.1, 0.1)) for eye in ((0.5, 0.2, 1.4), (0.0, -0.9, 1.1))]
    depths = [scenes.plane_depth(CAMERA, pose, normal, 0.1) for pose in poses]
    cloud = fused(depths * 2, poses * 2).points()
    assert np.abs(cloud.points_m @ normal - 0.1).max() < 0.006
    assert np.abs(cloud.points_m @ normal - 0.1).mean() < 0.0015
    # Within 8 degrees: a pixel covers 1 cm of the plane here, half a voxel.
    assert np.median(cloud.normals @ normal) > 0.99


@pytest.mark.parametrize(("axes", "name"), [((1, 1, 1), "sphere"), ((1, 1, 0), "cylinder")])
def test_a_round_shape_is_recovered_from_all_around(axes, name):
    poses = scenes.orbit(1.5, 12)
    depths = [scenes.quadric_depth(CAMERA, pose, np.zeros(3), 0.4, axes) for pose in poses]
    cloud = fused(depths, poses).points()
    weights = np.array(axes, np.float64)
    height = np.abs(cloud.points_m[:, 2])
    seen_well = height < 0.25
    radial = (cloud.points_m * weights)[seen_well]
    radius = np.linalg.norm(radial, axis=1)
    assert np.abs(radius - 0.4).mean() < 0.004, name
    assert np.median(np.abs(radius - 0.4)) < 0.003
    outward = (cloud.normals[seen_well] * radial).sum(axis=1) / radius
    assert np.median(outward) > 0.985
    # All around: every 10 degrees hold points.
    angle = np.degrees(np.arctan2(radial[:, 1], radial[:, 0]))
    assert (np.histogram(angle, 36, (-180, 180))[0] > 10).all()


def test_the_field_is_the_distance_in_front_of_and_behind_a_wall():
    fused_map = fused([wall(1.0)] * 2, [np.eye(4)] * 2)
    z = np.array((0.95, 0.99, 1.0, 1.03))
    points = np.stack((np.zeros(4), np.zeros(4), z), axis=1)
    np.testing.assert_allclose(fused_map.signed_distance_m(points), 1.0 - z, atol=1e-5)
    assert np.isnan(fused_map.signed_distance_m(np.array([[0.0, 0.0, 3.0]]))).all()


def test_depths_are_averaged_with_their_weights():
    fused_map = FusedMap(FusionConfiguration())
    fused_map.integrate(wall(1.0), CAMERA, np.eye(4), weight=1.0)
    fused_map.integrate(wall(1.03), CAMERA, np.eye(4), weight=np.full((120, 160), 2, np.float32))
    assert fused_map.points().points_m[:, 2] == pytest.approx(1.02, abs=1e-4)


def test_the_weight_is_capped_so_that_the_map_keeps_learning():
    fused_map = fused([wall(1.0)] * 50, [np.eye(4)] * 50, max_weight=4.0)
    for _ in range(12):
        fused_map.integrate(wall(1.03), CAMERA, np.eye(4))
    assert float(fused_map.blocks.weight.max()) == 4.0
    assert fused_map.points().points_m[:, 2] == pytest.approx(1.03, abs=0.003)


def test_pixels_without_weight_or_depth_change_nothing():
    depth = wall(1.0)
    depth[:60] = np.nan
    depth[60:70] = 0
    depth[70:80] = -1
    depth[80:90] = np.inf
    weight = np.ones_like(depth)
    weight[:, :80] = 0
    fused_map = FusedMap(FusionConfiguration(min_weight=0.5))
    fused_map.integrate(depth, CAMERA, np.eye(4), weight=weight)
    points = fused_map.points().points_m
    assert points[:, 0].min() > -0.02
    assert points[:, 1].min() > (90 - 59.5) / 140 - 0.02
    fused_map.reset()
    fused_map.integrate(np.full_like(depth, np.nan), CAMERA, np.eye(4))
    assert fused_map.blocks.count == 0
    assert len(fused_map.points()) == 0


def test_what_was_removed_from_the_scene_leaves_the_map():
    fused_map = FusedMap(FusionConfiguration(max_weight=8.0))
    box = wall(2.0)
    box[40:80, 60:100] = 1.0
    for _ in range(4):
        fused_map.integrate(box, CAMERA, np.eye(4))
    assert (fused_map.points().points_m[:, 2] < 1.2).sum() > 50
    for _ in range(40):
        fused_map.integrate(wall(2.0), CAMERA, np.eye(4))
    assert (fused_map.points().points_m[:, 2] < 1.2).sum() == 0
    assert (fused_map.points().points_m[:, 2] > 1.9).sum() > 1000


def test_what_hides_behind_a_nearer_surface_is_not_carved():
    fused_map = fused([wall(2.0)] * 3, [np.eye(4)] * 3)
    before = (fused_map.points().points_m[:, 2] > 1.9).sum()
    for _ in range(20):
        fused_map.integrate(wall(1.0), CAMERA, np.eye(4))
    assert (fused_map.points().points_m[:, 2] > 1.9).sum() == before


def test_colours_follow_the_pixels_and_unseen_colour_is_grey():
    color = np.zeros((120, 160, 3), np.uint8)
    color[:, :80] = (200, 40, 10)
    color[:, 80:] = (20, 60, 250)
    fused_map = FusedMap(FusionConfiguration())
    for _ in range(3):
        fused_map.integrate(wall(1.0), CAMERA, np.eye(4), color)
    cloud = fused_map.points()
    left, right = cloud.points_m[:, 0] < -0.03, cloud.points_m[:, 0] > 0.03
    assert np.abs(cloud.colors[left].astype(int) - (200, 40, 10)).max() <= 1
    assert np.abs(cloud.colors[right].astype(int) - (20, 60, 250)).max() <= 1
    assert (fused([wall(1.0)] * 2, [np.eye(4)] * 2).points().colors == 128).all()


def test_the_map_is_bounded_and_evicts_what_was_seen_longest_ago():
    poses = []
    for step in range(12):
        pose = np.eye(4)
        pose[0, 3] = 1.5 * step
        poses.append(pose)
    fused_map = fused([wall(1.0)] * 12, poses, max_blocks=200)
    assert fused_map.blocks.count == 200
    assert fused_map.blocks.capacity == 200
    assert fused_map.evicted_blocks > 0
    assert fused_map.dropped_blocks == 0
    columns = fused_map.blocks.coordinates[:200, 0] * fused_map.block_size_m
    assert float(columns.max()) > 16.0, "the newest view is in the map"
    assert float(columns.min()) > 8.0, "the oldest views are not"


def test_a_frame_that_needs_more_than_the_bound_is_counted():
    fused_map = fused([wall(3.0)], [np.eye(4)], max_blocks=64)
    assert fused_map.blocks.count == 64
    assert fused_map.dropped_blocks > 0


def test_memory_grows_with_use_and_reset_gives_it_back():
    fused_map = FusedMap(FusionConfiguration())
    empty = fused_map.memory_bytes
    for step in range(10):
        pose = np.eye(4)
        pose[0, 3] = 3.0 * step
        fused_map.integrate(wall(2.0), CAMERA, pose)
    assert fused_map.memory_bytes > 1.5 * empty
    assert fused_map.memory_bytes >= 14 * 512 * fused_map.blocks.count
    fused_map.reset()
    assert fused_map.memory_bytes == empty
    assert fused_map.frames == 0


def test_precision_holds_a_kilometre_from_the_origin():
    pose = np.eye(4)
    pose[:3, 3] = (1000.0, -2000.0, 500.0)
    fused_map = fused([wall(1.013)] * 2, [pose] * 2)
    points = np.array([[1000.0, -2000.0, 501.013]])
    assert fused_map.signed_distance_m(points) == pytest.approx(0.0, abs=2e-4)


def test_bad_input_is_refused_with_the_remedy():
    fused_map = FusedMap(FusionConfiguration())
    with pytest.raises(FusionError, match=r"depth_m has shape \(10, 10\).*resized"):
        fused_map.integrate(np.ones((10, 10), np.float32), CAMERA, np.eye(4))
    with pytest.raises(FusionError, match="weight has shape"):
        fused_map.integrate(wall(1), CAMERA, np.eye(4), weight=np.ones((2, 2), np.float32))
    far = np.eye(4)
    far[0, 3] = 1e9
    with pytest.raises(FusionError, match="nearer map_frame"):
        fused_map.integrate(wall(1), CAMERA, far)


def test_blocks_are_found_by_coordinates_of_any_sign():
    random = np.random.default_rng(1)
    limit = COORDINATE_LIMIT - 1
    coordinates = torch.as_tensor(np.unique(random.integers(-limit, limit, (500, 3)), axis=0))
    assert torch.equal(unpack(pack(coordinates)), coordinates)
    blocks = VoxelBlocks(400, CPU)
    slots = blocks.allocate(coordinates[:300], 1)
    assert torch.equal(blocks.coordinates[slots], coordinates[:300])
    found = blocks.find(coordinates[:400])
    assert torch.equal(found[:300], slots)
    assert (found[300:] == -1).all()
    # The next frame needs 200 more: 100 of the first 300 give way.
    newer = blocks.allocate(coordinates[300:500], 2)
    assert torch.equal(blocks.coordinates[newer], coordinates[300:500])
    assert blocks.evicted == 100
    assert int((blocks.find(coordinates[:300]) >= 0).sum()) == 200


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_the_map_is_the_same_on_the_gpu():
    poses = scenes.orbit(1.5, 8, 0.3)
    depths = [scenes.quadric_depth(CAMERA, pose, np.zeros(3), 0.4) for pose in poses]
    on_cpu, on_gpu = (fused(depths, poses, device).points() for device in ("cpu", "cuda"))
    assert abs(len(on_cpu) - len(on_gpu)) <= 0.01 * len(on_cpu)
    for cloud in (on_cpu, on_gpu):
        assert np.abs(np.linalg.norm(cloud.points_m, axis=1) - 0.4).mean() < 0.004
