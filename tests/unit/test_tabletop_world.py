"""The tabletop world: geometry that agrees with itself, determinism, tasks, physics, expert."""

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="mujoco is not installed")

from sensorium.poses import inverse
from sensorium.tabletop import (
    HELD_OUT_PHRASE,
    TASKS,
    CameraRange,
    Expert,
    TabletopOptions,
    TabletopWorld,
    TaskError,
)
from sensorium.tabletop.arm import HOME_RAD, VELOCITY_LIMITS
from sensorium.tabletop.options import CONTROL_PERIOD_NS
from sensorium.tabletop.tasks import COLORS


@pytest.fixture(scope="module")
def world():
    return TabletopWorld()


def play(world, noise_m=0.0):
    """Lets the expert finish the episode; returns the actions."""
    expert = Expert(world, noise_m)
    actions = []
    while not world.done:
        actions.append(expert.act())
        expert.execute(actions[-1])
        world.step()
    return actions


def test_the_urdf_and_the_simulated_arm_have_the_same_kinematics(world):
    world.reset(0)
    random = np.random.default_rng(0)
    kinematics = world.kinematics
    for _ in range(25):
        positions = random.uniform(kinematics.lower_rad, kinematics.upper_rad)
        world.simulation.begin(world.episode.layout, positions, 0.02)
        np.testing.assert_allclose(
            kinematics.forward(positions), world.simulation.base_from_tip, rtol=0, atol=1e-9
        )
    assert len(kinematics.joint_names) == 7


def test_an_episode_is_determined_by_seed_task_and_phrase():
    first, second = TabletopWorld(), TabletopWorld()
    second.reset(99)
    play(second)
    for world in (first, second):
        world.reset(7, "pick_blue", 1)
    actions = [play(world, 0.01) for world in (first, second)]
    assert first.success
    assert second.success
    for one, other in zip(*actions, strict=True):
        np.testing.assert_array_equal(one.executed_target_m, other.executed_target_m)
    one, other = first.observe(), second.observe()
    np.testing.assert_array_equal(one.rgb, other.rgb)
    np.testing.assert_array_equal(one.depth_m, other.depth_m)
    np.testing.assert_array_equal(one.joint_positions_rad, other.joint_positions_rad)
    assert one.stamp_ns != other.stamp_ns, "time goes on over resets"


def test_the_scene_comes_from_the_seed_alone_and_differs_between_seeds(world):
    red = world.reset(5, "place_red").layout
    blue = world.reset(5, "touch_blue", HELD_OUT_PHRASE).layout
    other = world.reset(6, "place_red").layout
    assert red.cubes == blue.cubes
    np.testing.assert_array_equal(red.base_from_camera, blue.base_from_camera)
    assert red.cubes != other.cubes
    assert not np.allclose(red.base_from_camera, other.base_from_camera)


def test_there_are_twelve_tasks_with_held_out_paraphrases():
    assert len(TASKS) >= 12
    said = [phrase for task in TASKS for phrase in task.all_phrases]
    assert len(set(said)) == len(said), "every sentence means one task"
    for task in TASKS:
        assert len(task.all_phrases) >= 4
        assert task.held_out_phrases
        assert all(task.color in phrase.split() for phrase in task.all_phrases)
    assert "put the red cube on the tray" in said


def test_unknown_tasks_and_phrases_are_refused_with_what_is_known(world):
    before = world.reset(3)
    with pytest.raises(TaskError, match="no task 'juggle'; known: touch_red"):
        world.reset(4, "juggle")
    with pytest.raises(TaskError, match="'touch_red' has no phrase 99; give 0 to"):
        world.reset(4, "touch_red", 99)
    assert world.episode is before


def test_phrases_are_drawn_from_the_asked_part(world):
    for seed in range(10):
        assert world.reset(seed).phrase < 5
        episode = world.reset(seed, "pick_red", HELD_OUT_PHRASE)
        assert episode.instruction in episode.task.held_out_phrases


def test_depth_and_pose_put_every_visible_cube_where_it_is(world):
    """Unprojects the pixels of a cube's colour by hand; they must lie on the cube."""
    seen = 0
    for seed in range(6):
        world.reset(seed)
        view = world.observe()
        for color, (red, green, blue) in COLORS.items():
            pure = np.array((red, green, blue)) * 255
            share = view.rgb @ pure / (np.linalg.norm(view.rgb, axis=2) * np.linalg.norm(pure))
            v, u = np.nonzero(share > 0.9995)
            if len(v) < 4:
                continue
            seen += 1
            K, z = view.intrinsics, view.depth_m[v, u].astype(float)
            camera = np.stack(((u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z), 1)
            points = camera @ view.base_from_camera[:3, :3].T + view.base_from_camera[:3, 3]
            center = world.simulation.cube_m(color)
            assert np.abs(points - center).max() < 0.03
            inside = np.abs(points - center).max(axis=1) < 0.0205 * np.sqrt(2)
            assert inside.mean() > 0.9
    assert seen > 15


def test_the_camera_stays_in_its_range_and_sees_the_workspace():
    options = TabletopOptions(
        image_width_px=64, image_height_px=48, camera=CameraRange(range_y_m=0.0)
    )
    world = TabletopWorld(options)
    for seed in range(8):
        world.reset(seed)
        view = world.observe()
        assert view.rgb.shape == (48, 64, 3)
        assert view.rgb.dtype == np.uint8
        assert view.depth_m.dtype == np.float32
        assert view.base_from_camera[1, 3] == 0.0
        camera_from_base = inverse(view.base_from_camera)
        for corner in ((0.37, -0.2, 0.02), (0.63, 0.2, 0.12), (0.63, -0.2, 0.02)):
            point = camera_from_base[:3, :3] @ corner + camera_from_base[:3, 3]
            u, v = (view.intrinsics @ point)[:2] / point[2]
            assert 0 <= u < 64
            assert 0 <= v < 48


def test_the_arm_never_moves_faster_than_its_velocity_limits(world):
    world.reset(1)
    goal = HOME_RAD + np.array((2.0, 0.5, 0, 0, 0, 0, 0))
    world.command(goal, 1.0)
    before, reference = world.simulation.arm_rad, world.commanded_rad
    fastest, fastest_reference = np.zeros(7), np.zeros(7)
    for _ in range(75):
        world.tick()
        after = world.simulation.arm_rad
        fastest = np.maximum(fastest, np.abs(after - before) / 0.02)
        fastest_reference = np.maximum(
            fastest_reference, np.abs(world.commanded_rad - reference) / 0.02
        )
        before, reference = after, world.commanded_rad
    assert (fastest_reference <= VELOCITY_LIMITS * (1 + 1e-9)).all()
    assert fastest_reference[0] > 0.99 * VELOCITY_LIMITS[0]
    # The simulated arm overshoots where the reference jumps to full speed.
    assert (fastest <= VELOCITY_LIMITS * 1.2).all()
    np.testing.assert_allclose(after, goal, atol=2e-3)


def test_a_trajectory_rests_at_its_end_and_drops_its_past(world):
    world.reset(2)
    start = world.simulation.arm_rad
    times = world.now_ns + np.array((-1, 1, 2)) * CONTROL_PERIOD_NS
    points = start + np.array((5.0, 0.03, 0.06))[:, None] * np.eye(7)[0]
    assert world.follow(times, points) == 1
    for _ in range(20):
        world.step()
    np.testing.assert_allclose(world.simulation.arm_rad, points[-1], atol=1e-3)
    assert np.abs(world.simulation.arm_velocity).max() < 1e-3


@pytest.mark.parametrize("positions", [np.full(7, np.nan), np.zeros(6)])
def test_commands_that_make_no_sense_are_refused(world, positions):
    with pytest.raises(ValueError, match="commanded positions"):
        world.command(positions, 1.0)


def test_the_expert_does_every_task(world):
    for i, task in enumerate(TASKS):
        world.reset(200 + i, task.name)
        play(world)
        assert world.success, task.name
        assert world.steps < 60


def test_doing_another_task_is_no_success(world):
    """The expert grasps the blue cube while the red one was asked for."""
    world.reset(11, "pick_blue")
    blue = [action.executed_target_m for action in play(world)]
    assert world.success
    for task in ("pick_red", "touch_red", "place_blue"):
        world.reset(11, task)
        for target in blue:
            world.command(world.joints_at(target), 0.0)
            world.step()
        assert not world.success, task


def test_an_episode_ends_when_its_steps_are_used_up():
    world = TabletopWorld(TabletopOptions(max_steps=3))
    world.reset(0)
    for _ in range(3):
        assert not world.done
        world.step()
    assert world.done
    assert not world.success
    world.reset(1)
    assert not world.done
