"""The ray caster against MuJoCo's rays, marched implicit solids and plane equations."""

import numpy as np
import pytest

from sensorium.frames import CameraModel, FrameError, pinhole
from sensorium.sources.random_scene import random_scene
from sensorium.sources.ray_caster import RayCaster
from sensorium.sources.scene import CLASS_NAMES, Light, Part, Room, Scene, SceneObject
from sensorium.sources.textures import Texture
from sensorium.sources.trajectory import Orbit, look_at

CAMERA = pinhole(160, 120, 130.0)
GRAY = Texture("plain", (128.0, 128.0, 128.0))
TILTED = np.array(
    ((0.36, 0.48, -0.8, 0.05), (-0.8, 0.6, 0.0, -0.03), (0.48, 0.64, 0.6, 0.8), (0, 0, 0, 1.0))
)
EYE = look_at(np.array((0.9, -0.5, 1.2)), np.array((0.0, 0.0, 0.8)))


def scene_of(*parts, pose=TILTED, room=None):
    things = tuple(
        SceneObject(i + 1, "box", "gray", "plain", "small", pose, (part,))
        for i, part in enumerate(parts)
    )
    return Scene(things, room)


def rays_in_world(camera, pose):
    u, v = np.meshgrid(np.arange(camera.width_px), np.arange(camera.height_px))
    K = camera.K
    directions = np.stack(
        ((u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)), axis=-1
    )
    return directions @ pose[:3, :3].T


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ("box", (0.1, 0.2, 0.15)),
        ("ellipsoid", (0.1, 0.2, 0.15)),
        ("cylinder", (0.12, 0.12, 0.2)),
        ("capsule", (0.08, 0.08, 0.22)),
    ],
)
def test_depth_of_a_solid_is_that_of_mujocos_rays(shape, size):
    mujoco = pytest.importorskip("mujoco", reason="mujoco-core is not installed")
    extents = {
        "cylinder": (size[0], size[2], 0),
        "capsule": (size[0], size[2] - size[0], 0),
    }.get(shape, size)
    spec = mujoco.MjSpec()
    kind = getattr(mujoco.mjtGeom, f"mjGEOM_{shape.upper()}")
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, TILTED[:3, :3].ravel().copy())
    spec.worldbody.add_geom(type=kind, size=extents, pos=TILTED[:3, 3], quat=quaternion)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    directions = rays_in_world(CAMERA, EYE).reshape(-1, 3)
    count = len(directions)
    ids, expected = np.empty(count, np.int32), np.empty(count)
    normal = np.empty((count, 3))
    mujoco.mj_multiRay(
        model, data, EYE[:3, 3], directions.ravel(), None, True, -1, ids, expected,
        normal.ravel(), count, 1e10,
    )  # fmt: skip

    view = RayCaster(scene_of(Part(shape, size, np.eye(4), GRAY)), CAMERA).render(EYE, True)

    expected = np.where(ids >= 0, expected, np.nan).reshape(view.depth_m.shape)
    assert 500 < np.isfinite(expected).sum() < CAMERA.width_px * CAMERA.height_px
    # Rays that graze the silhouette may hit for one and miss for the other.
    assert (np.isfinite(view.depth_m) != np.isfinite(expected)).sum() <= 2
    both = np.isfinite(view.depth_m) & np.isfinite(expected)
    assert np.abs(view.depth_m[both] - expected[both]).max() < 2e-6
    cosine = (view.normals[both] * normal.reshape(*both.shape, 3)[both]).sum(axis=1)
    assert np.quantile(cosine, 0.01) > 0.999


def inside_cup(p):
    radius = np.hypot(p[..., 0], p[..., 1])
    solid = (radius < 0.15) & (np.abs(p[..., 2]) < 0.12)
    return solid & ~((radius < 0.15 - 0.02) & (p[..., 2] > -0.12 + 0.02))


def inside_bowl(p):
    radius = np.linalg.norm(p, axis=-1)
    return (p[..., 2] < 0) & (radius < 0.2) & (radius > 0.2 - 0.025)


@pytest.mark.parametrize(
    ("part", "inside"),
    [
        (Part("cup", (0.15, 0.15, 0.12), np.eye(4), GRAY, 0.02), inside_cup),
        (Part("bowl", (0.2, 0.2, 0.2), np.eye(4), GRAY, 0.025), inside_bowl),
    ],
)
@pytest.mark.parametrize("eye", [(0.5, 0.1, 1.4), (0.9, -0.5, 0.9), (0.6, 0.2, 0.3)])
def test_hollow_solids_have_the_depth_of_a_marched_ray(part, inside, eye):
    camera = pinhole(40, 30, 40.0)
    target = np.array((0.0, 0.0, 0.8))
    pose = look_at(np.array(eye), target)
    world_from_part = np.eye(4)
    world_from_part[:3, 3] = target
    view = RayCaster(scene_of(part, pose=world_from_part), camera).render(pose)
    directions = rays_in_world(camera, pose)
    step = 5e-4
    steps = np.arange(0.1, 1.6, step)
    points = pose[:3, 3] - target + steps[:, None, None, None] * directions
    hit = inside(points)
    marched = np.where(hit.any(axis=0), steps[hit.argmax(axis=0)], np.nan)
    differ = np.isfinite(view.depth_m) != np.isfinite(marched)
    assert differ.sum() <= 3
    both = np.isfinite(view.depth_m) & np.isfinite(marched)
    assert both.sum() > 60
    late = marched[both] - view.depth_m[both]
    # Marching skips walls thinner than a step at silhouettes; everywhere else it is a step late.
    assert np.mean((late > -1e-5) & (late < step + 1e-5)) > 0.99


def test_the_room_has_its_planes_and_names():
    room = Room((4.0, 5.0, 2.5), GRAY, (GRAY,) * 4, GRAY)
    pose = look_at(np.array((0.5, -0.4, 1.1)), np.array((0.9, 0.2, 0.9)))
    camera = pinhole(320, 240, 90.0)
    view = RayCaster(Scene((), room), camera).render(pose)
    points = pose[:3, 3] + view.depth_m[..., None] * rays_in_world(camera, pose)
    distance = np.stack(
        (
            np.abs(points[..., 2]),
            np.abs(2.5 - points[..., 2]),
            np.abs(2.0 - np.abs(points[..., 0])),
            np.abs(2.5 - np.abs(points[..., 1])),
        )
    )
    assert distance.min(axis=0).max() < 1e-5
    names = np.array(CLASS_NAMES)[view.class_ids]
    nearest = np.array(("floor", "ceiling", "wall", "wall"))[distance.argmin(axis=0)]
    assert (names == nearest).mean() > 0.999
    assert set(np.unique(names)) == {"floor", "ceiling", "wall"}
    assert not view.instance_ids.any()


def test_where_nothing_is_there_is_no_depth_and_no_class():
    view = RayCaster(scene_of(Part("ellipsoid", (0.1, 0.1, 0.1), np.eye(4), GRAY)), CAMERA).render(
        EYE
    )
    nothing = view.class_ids == 0
    assert nothing.any() and not nothing.all()
    assert np.isnan(view.depth_m[nothing]).all() and not view.color[nothing].any()
    assert np.isfinite(view.depth_m[~nothing]).all()


def test_light_is_ambient_plus_lambert():
    light = Light(0.25, ((0.0, 0.0, 1.0),), (0.5,))
    pose = np.eye(4)
    part = Part("box", (0.2, 0.2, 0.1), pose, Texture("plain", (200.0, 100.0, 40.0)))
    thing = SceneObject(1, "box", "gray", "plain", "small", pose, (part,))
    scene = Scene((thing,), None, light)
    view = RayCaster(scene, CAMERA).render(look_at(np.array((0.0, 0.9, 0.9)), np.zeros(3)), True)
    top = view.normals[..., 2] > 0.99
    side = view.normals[..., 1] > 0.99
    assert top.any() and side.any()
    assert np.abs(view.color[top].astype(int) - (150, 75, 30)).max() <= 1
    assert np.abs(view.color[side].astype(int) - (50, 25, 10)).max() <= 1


def test_the_true_box_holds_exactly_the_pixels_of_its_object():
    scene = random_scene(5)
    camera = pinhole(320, 240, 260.0)
    caster = RayCaster(scene, camera)
    orbit = Orbit(scene, 5)
    seen = 0
    for phase in (0.0, 0.3, 0.6):
        pose = orbit.pose(phase)
        view = caster.render(pose)
        points = pose[:3, 3] + view.depth_m[..., None] * rays_in_world(camera, pose)
        for thing in scene.objects:
            mine = view.instance_ids == thing.instance_id
            if mine.any():
                box = thing.box()
                local = (points[mine] - box.world_from_box[:3, 3]) @ box.world_from_box[:3, :3]
                assert (np.abs(local) <= box.size_m / 2 + 1e-5).all(), thing.name
                assert (view.class_ids[mine] == thing.class_id).all()
                seen += 1
    assert seen > 30


def test_a_point_has_the_same_colour_from_every_view():
    scene = random_scene(3)
    camera = pinhole(320, 240, 260.0)
    caster = RayCaster(scene, camera)
    orbit = Orbit(scene, 3)
    first, second = orbit.pose(0.0), orbit.pose(0.03)
    a, b = caster.render(first), caster.render(second)
    points = first[:3, 3] + a.depth_m[..., None] * rays_in_world(camera, first)
    local = (points - second[:3, 3]) @ second[:3, :3]
    pixels = np.rint((local @ camera.K.T)[..., :2] / local[..., 2:]).astype(int)
    inside = (pixels >= 0).all(axis=-1) & (pixels < (320, 240)).all(axis=-1)
    column, row = pixels[inside].T
    same = np.abs(b.depth_m[row, column] - local[inside][:, 2]) < 0.01
    assert same.mean() > 0.8
    difference = np.abs(a.color[inside].astype(int) - b.color[row, column]).max(axis=1)[same]
    # Pixels on the border between two squares or stripes may fall on either side.
    assert np.mean(difference <= 12) > 0.85


def test_a_camera_outside_of_the_room_or_with_a_lens_is_refused():
    room = Room((4.0, 5.0, 2.5), GRAY, (GRAY,) * 4, GRAY)
    with pytest.raises(FrameError, match="outside of the room"):
        RayCaster(Scene((), room), CAMERA).render(look_at(np.array((3.0, 0, 1)), np.zeros(3)))
    lens = CameraModel(160, 120, CAMERA.K, "plumb_bob", (0.1, 0, 0, 0, 0))
    with pytest.raises(FrameError, match="plumb_bob"):
        RayCaster(Scene(()), lens)


def test_a_part_behind_the_camera_is_not_seen_and_one_beside_it_is():
    behind = look_at(np.array((0.9, 0.0, 0.8)), np.array((2.0, 0.0, 0.8)))
    caster = RayCaster(scene_of(Part("box", (0.1, 0.1, 0.1), np.eye(4), GRAY)), CAMERA)
    assert not caster.render(behind).class_ids.any()
    # A long box of which a part is behind the image plane.
    long = np.eye(4)
    long[:3, 3] = (0.0, 0.0, 0.5)
    caster = RayCaster(scene_of(Part("box", (3.0, 0.1, 0.1), np.eye(4), GRAY), pose=long), CAMERA)
    assert caster.render(
        look_at(np.array((0.0, 0.3, 1.2)), np.array((1.0, 0.0, 0.5)))
    ).class_ids.any()
