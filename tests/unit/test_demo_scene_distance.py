"""Exact distances against the ray caster, against formulas and against sampled surfaces."""

import numpy as np
import pytest

from sensorium.demo.evaluation import back_projected
from sensorium.demo.scene_distance import distance_to_box, distance_to_scene
from sensorium.poses import transform_points
from sensorium.sources import RenderedConfiguration
from sensorium.sources.rendered import RenderedSource
from sensorium.sources.scene import Part, Scene, SceneObject
from sensorium.sources.textures import Texture

LIMIT_M = 0.5
LOOK = Texture("plain", (1.0, 2.0, 3.0))


def scene_of(shape, size_m, pose=None, wall_m=0.0):
    part = Part(shape, size_m, np.eye(4), LOOK, wall_m)
    pose = np.eye(4) if pose is None else pose
    return Scene((SceneObject(1, "box", "red", "plain", "small", pose, (part,)),))


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_what_the_renderer_sees_lies_on_the_surfaces(seed):
    configuration = RenderedConfiguration(seed=seed, width_px=160, height_px=120, focal_px=120.0)
    with RenderedSource(configuration) as source:
        for index in (0, 200, 400):
            view = source.frame(index)
            points = back_projected(view.truth.depth_m, source.camera.K).reshape(-1, 3)
            points = points[np.isfinite(points[:, 0])][::7]
            world = transform_points(view.frame.world_from_camera, points)
            assert distance_to_scene(world, source.scene, LIMIT_M).max() < 2e-5


def test_a_box_has_the_distance_of_its_nearest_corner_edge_or_face():
    points = np.array(((2.0, 0, 0), (2, 3, 0), (2, 3, 4), (0.9, 0, 0), (0, 0, 0), (1, 2, 3)))
    expected = (1, np.sqrt(2), np.sqrt(3), 0.1, 1, 0)
    assert distance_to_box(points, np.array((1.0, 2, 3))) == pytest.approx(expected)


def test_a_ball_has_the_distance_to_its_centre_less_the_radius():
    random = np.random.default_rng(0)
    points = random.uniform(-0.3, 0.3, (500, 3))
    found = distance_to_scene(points, scene_of("ellipsoid", (0.1, 0.1, 0.1)), LIMIT_M)
    assert found == pytest.approx(np.abs(np.linalg.norm(points, axis=1) - 0.1), abs=1e-5)


def test_a_capsule_has_the_distance_to_its_axis_less_the_radius():
    points = np.random.default_rng(1).uniform(-0.3, 0.3, (500, 3))
    axis = np.zeros_like(points)
    axis[:, 2] = points[:, 2].clip(-0.15, 0.15)
    expected = np.abs(np.linalg.norm(points - axis, axis=1) - 0.05)
    found = distance_to_scene(points, scene_of("capsule", (0.05, 0.05, 0.2)), LIMIT_M)
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_cup_is_hollow_from_the_top():
    points = np.array(((0, 0, 0.0), (0.1, 0, 0), (0.095, 0, 0), (0, 0, -0.2), (0, 0, 0.3)))
    found = distance_to_scene(points, scene_of("cup", (0.1, 0.1, 0.2), wall_m=0.01), LIMIT_M)
    assert found == pytest.approx((0.09, 0, 0.005, 0, np.hypot(0.09, 0.1)), abs=1e-9)


def test_a_bowl_is_a_lower_half_shell():
    points = np.array(((0, 0, -0.1), (0, 0, -0.09), (0.095, 0, 0), (0, 0, 0), (0.1, 0, 0.05)))
    found = distance_to_scene(points, scene_of("bowl", (0.1, 0.1, 0.1), wall_m=0.01), LIMIT_M)
    assert found == pytest.approx((0, 0, 0, 0.09, 0.05), abs=1e-5)


def test_the_pose_of_an_object_counts_and_far_points_get_the_limit():
    pose = np.eye(4)
    pose[:3, 3] = (5, 6, 7)
    points = np.array(((5, 6, 7.3), (5, 6, 20)))
    found = distance_to_scene(points, scene_of("cylinder", (0.1, 0.1, 0.2), pose), LIMIT_M)
    assert found == pytest.approx((0.1, LIMIT_M))


def test_without_anything_every_point_is_far():
    assert (distance_to_scene(np.zeros((3, 3)), Scene(()), LIMIT_M) == LIMIT_M).all()
