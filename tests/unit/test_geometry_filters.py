"""Range, crop box and robot self-filter."""

import geometry_scenes as scenes
import numpy as np
import pytest

from sensorium.frames import pinhole
from sensorium.geometry.capsules import Capsule, UrdfError, capsules_from_urdf
from sensorium.geometry.filters import (
    CropConfiguration,
    FilterConfiguration,
    PointFilter,
    SelfFilter,
)

CAMERA = pinhole(80, 60, 70.0)


def cloud(depth) -> np.ndarray:
    return (scenes.rays(CAMERA) * depth[..., None]).astype(np.float32)


def random_depth() -> np.ndarray:
    depth = np.random.default_rng(3).uniform(0.05, 6.0, (60, 80))
    depth[::7, ::5] = np.nan
    return depth


def random_pose() -> np.ndarray:
    return scenes.looking_at((1.0, -2.0, 0.7), (-0.4, 0.3, 0.2))


def test_range_limits_keep_what_lies_between():
    depth = random_depth()
    kept = PointFilter(FilterConfiguration(min_range_m=0.5, max_range_m=3.0)).kept(
        cloud(depth), np.eye(4)
    )
    np.testing.assert_array_equal(kept, (depth >= 0.5) & (depth <= 3.0))


def test_the_crop_box_is_in_the_map_frame():
    crop = CropConfiguration(True, (-1.0, -0.8, 0.0), (0.9, 1.5, 1.2))
    points, pose = cloud(random_depth()), random_pose()
    kept = PointFilter(FilterConfiguration(crop=crop)).kept(points, pose)
    world = points.astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
    with np.errstate(invalid="ignore"):
        inside = ((world >= crop.min_m) & (world <= crop.max_m)).all(axis=-1)
        inside &= (points[..., 2] >= 0.1) & (points[..., 2] <= 5.0)
    assert 20 < inside.sum() < 3000
    np.testing.assert_array_equal(kept, inside)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min_range_m": 2.0, "max_range_m": 1.0}, "not below max_range_m"),
        ({"crop": CropConfiguration(True, (0.0, 0.0), (1.0, 1.0, 1.0))}, "three numbers"),
        ({"crop": CropConfiguration(True, (0.0, 2.0, 0.0), (1.0, 1.0, 1.0))}, "every coordinate"),
    ],
)
def test_contradicting_limits_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        PointFilter(FilterConfiguration(**settings))


def test_points_on_the_robot_are_exactly_those_within_the_padded_capsules():
    random = np.random.default_rng(5)
    capsules = tuple(
        Capsule(
            f"link_{n % 3}", random.normal(0, 0.3, 3), random.normal(0, 0.3, 3), 0.05 + 0.05 * n
        )
        for n in range(6)
    )
    poses = {}
    for n in range(3):
        poses[f"link_{n}"] = scenes.looking_at(random.normal(0, 1, 3), random.normal(0, 1, 3))
        poses[f"link_{n}"][:3, 3] = (random.normal(0, 0.5), random.normal(0, 0.4), 0.2 + n)
    points = cloud(random_depth())
    result = SelfFilter(capsules, 0.03).masked(points, CAMERA, poses)
    expected = np.zeros((60, 80), bool)
    for capsule in capsules:
        pose = poses[capsule.link]
        start = pose[:3, :3] @ capsule.start_m + pose[:3, 3]
        end = pose[:3, :3] @ capsule.end_m + pose[:3, 3]
        # Distance to many points of the segment: independent of the projection under test.
        along = start + np.linspace(0, 1, 400)[:, None] * (end - start)
        distance = np.linalg.norm(points[:, :, None].astype(np.float64) - along, axis=-1).min(-1)
        expected |= distance <= capsule.radius_m + 0.03
    assert expected.sum() > 80
    assert (result.on_robot != expected).sum() <= 2
    assert result.missing_links == ()


def test_links_without_a_pose_are_named_and_not_filtered():
    capsules = (Capsule("hand", np.zeros(3), np.zeros(3), 0.5),)
    depth = np.ones((60, 80))
    seen = SelfFilter(capsules, 0.0).masked(cloud(depth), CAMERA, {})
    assert seen.missing_links == ("hand",)
    assert not seen.on_robot.any()
    behind = np.eye(4)
    behind[2, 3] = -3.0
    assert (
        not SelfFilter(capsules, 0.0).masked(cloud(depth), CAMERA, {"hand": behind}).on_robot.any()
    )


ROBOT = """<?xml version="1.0"?>
<robot name="arm">
  <link name="base">
    <collision><origin xyz="0.1 0 0.2" rpy="0 1.5707963267948966 0"/>
      <geometry><cylinder radius="0.1" length="0.4"/></geometry></collision>
    <collision><geometry><box size="0.6 0.1 0.4"/></geometry></collision>
  </link>
  <link name="hand">
    <collision><origin xyz="0 0 0.05"/><geometry><sphere radius="0.07"/></geometry></collision>
    <collision><geometry><mesh filename="package://arm/hand.stl"/></geometry></collision>
  </link>
  <link name="tool0"/>
</robot>"""


def test_capsules_cover_cylinder_box_and_sphere():
    robot = capsules_from_urdf(ROBOT)
    assert robot.bare_links == ("tool0",)
    (skipped,) = robot.skipped
    assert "hand" in skipped
    assert "package://arm/hand.stl" in skipped
    random = np.random.default_rng(0)
    angle, along = random.uniform(0, 2 * np.pi, 2000), random.uniform(-0.2, 0.2, 2000)
    # Rolled about y by 90 degrees, the cylinder's axis z becomes x.
    rim = np.stack((0.1 + along, 0.1 * np.cos(angle), 0.2 + 0.1 * np.sin(angle)), axis=1)
    corners = random.uniform(-1, 1, (2000, 3)) * (0.3, 0.05, 0.2)
    corners[:8] = [(x, y, z) for x in (-0.3, 0.3) for y in (-0.05, 0.05) for z in (-0.2, 0.2)]
    for points in (rim, corners):
        covered = np.zeros(len(points), bool)
        for capsule in robot.capsules:
            if capsule.link == "base":
                axis = capsule.end_m - capsule.start_m
                t = ((points - capsule.start_m) @ axis / (axis @ axis)).clip(0, 1)[:, None]
                gap = np.linalg.norm(points - capsule.start_m - t * axis, axis=1)
                covered |= gap <= capsule.radius_m + 1e-9
        assert covered.all()
    (hand,) = (capsule for capsule in robot.capsules if capsule.link == "hand")
    np.testing.assert_allclose(hand.start_m, (0, 0, 0.05))
    np.testing.assert_allclose(hand.start_m, hand.end_m)
    assert hand.radius_m == 0.07
    # The box of 0.6 x 0.1 x 0.4 m is four strips, not one fat capsule.
    assert sum(capsule.link == "base" for capsule in robot.capsules) == 5
    assert max(capsule.radius_m for capsule in robot.capsules) <= 0.1


def collision(shape: str, origin: str = "") -> str:
    return (
        f'<robot><link name="elbow"><collision>{origin}<geometry>{shape}</geometry></collision>'
        "</link></robot>"
    )


@pytest.mark.parametrize(
    ("urdf", "words"),
    [
        ("<robot", "not well-formed"),
        ("<sdf/>", "root element is <sdf>"),
        ("<robot/>", "no links"),
        ("<robot><link/></robot>", "has no name"),
        ('<robot><link name="a"/><link name="a"/></robot>', "'a' appears twice"),
        (collision('<sphere radius="-1"/>'), "'elbow'.*must be positive"),
        (collision('<sphere radius="big"/>'), "'elbow'.*radius='big'.*1 finite"),
        (collision('<sphere radius="nan"/>'), "'elbow'.*finite"),
        (collision("<sphere/>"), "'elbow'.*lacks attribute 'radius'"),
        (collision('<box size="1 2"/>'), "'elbow'.*3 finite"),
        (collision('<capsule radius="1"/>'), "'elbow'.*<capsule> is unknown"),
        (collision('<sphere radius="1"/>', '<origin xyz="0 0"/>'), "'elbow'.*xyz='0 0'"),
        (collision(""), "'elbow'.*exactly one shape"),
        (
            '<!DOCTYPE r [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><robot><link name="&c;"/></robot>',
            "entities, which are not accepted",
        ),
    ],
)
def test_a_bad_urdf_is_refused_by_the_name_of_the_link(urdf, words):
    with pytest.raises(UrdfError, match=words):
        capsules_from_urdf(urdf)
