"""What the simulated gripper feels: nothing in the air, a held cube's weight, on a grid of 4 ms."""

import copy

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="mujoco is not installed")

from sensorium.tabletop import Expert, TabletopOptions, TabletopWorld
from sensorium.tabletop.arm import FINGER_JOINTS
from sensorium.tabletop.force import CONTACT_CLASSES, FORCE_CHANNELS
from sensorium.tabletop.options import CONTROL_PERIOD_NS
from sensorium.tabletop.scene import TRAY_FLOOR_M

PERIOD_NS = 4_000_000
FREE, CONTACT, HOLDING = range(len(CONTACT_CLASSES))
CUBE_WEIGHT_N = 0.05 * 9.81


@pytest.fixture(scope="module")
def world():
    return TabletopWorld(TabletopOptions(image_width_px=16, image_height_px=16))


def expert_steps(world):
    """Lets the expert act step by step; yields what the gripper felt in each."""
    expert = Expert(world)
    while not world.done:
        expert.execute(expert.act())
        world.step()
        yield world.take_force()


def hold(world, steps):
    """Blocks of `steps` steps in which nobody commands anything new."""
    blocks = []
    for _ in range(steps):
        world.step()
        blocks.append(world.take_force())
    return blocks


def test_the_gripper_feels_nothing_in_the_air_and_the_cube_when_it_holds_it(world):
    world.reset(22, "pick_blue")
    blocks = list(expert_steps(world))
    assert (blocks[0].contact == FREE).all()
    first = blocks[0].samples
    assert np.abs(first[:, [0, 1, 4, 5, 6]]).max() < 0.3, "noise of 0.05 N and no more"
    still = hold(world, 12)[-1]
    assert (still.contact == HOLDING).all()
    mean = still.samples.mean(axis=0)
    assert (mean[:2] > 10).all(), "both fingers press"
    # The motors push with all they have.
    np.testing.assert_allclose(mean[2:4], -15.0, atol=0.3)
    # The hand points down, so that its z is the way of the weight.
    np.testing.assert_allclose(mean[4:], (0.0, 0.0, CUBE_WEIGHT_N), atol=0.2)


def test_pressing_from_above_with_both_fingers_is_contact_and_no_hold(world):
    world.reset(23, "touch_green")
    for block in expert_steps(world):
        assert (block.contact != HOLDING).all()
    assert (block.contact == CONTACT).any()
    pressing = block.samples[block.contact == CONTACT]
    assert pressing[:, :2].max() > 1.0
    assert pressing[:, 6].mean() < -1.0, "pushed back into the hand"


def test_forces_are_those_that_mujoco_tells_contact_by_contact(world):
    world.reset(21, "place_red")
    simulation = world.simulation
    model, data, mujoco = simulation.model, simulation.data, simulation.mujoco
    hand = model.body("hand").id
    felt = [model.body(name).id for name in ("hand", *(f"{n}_link" for n in FINGER_JOINTS))]
    checked = 0
    for block in expert_steps(world):
        in_world, pressed = np.zeros(3), np.zeros(2)
        for i in range(data.ncon):
            bodies = model.geom_bodyid[data.contact[i].geom]
            ours = [body in felt for body in bodies]
            if not any(ours):
                continue
            wrench = np.zeros(6)
            mujoco.mj_contactForce(model, data, i, wrench)
            frame = data.contact[i].frame.reshape(3, 3)
            in_world += (1 if ours[1] else -1) * frame.T @ wrench[:3]
            if bodies[ours.index(True)] in felt[1:]:
                pressed[felt.index(bodies[ours.index(True)]) - 1] += wrench[0]
            checked += 1
        in_hand = data.xmat[hand].reshape(3, 3).T @ in_world
        np.testing.assert_allclose(block.samples[-1, 4:], in_hand, atol=0.3)
        np.testing.assert_allclose(block.samples[-1, :2], pressed, atol=0.3)
    assert checked > 50


def test_reading_does_not_change_the_physics(world):
    world.reset(5, "pick_red")
    simulation, mujoco = world.simulation, world.simulation.mujoco
    blind = copy.copy(simulation.data)
    reference, still = world.commanded_rad + 0.05, np.zeros(7)
    for _ in range(10):
        simulation.tick(reference, still, 0.01)
        blind.ctrl[:] = simulation.data.ctrl
        mujoco.mj_step(simulation.model, blind, nstep=5)
    np.testing.assert_array_equal(simulation.data.qpos, blind.qpos)
    np.testing.assert_array_equal(simulation.data.qvel, blind.qvel)


def test_samples_lie_on_a_grid_of_4_ms_that_ends_with_every_step(world):
    world.reset(5, "pick_red")
    before_ns = world.now_ns
    assert world.take_force() is None
    for _ in range(3):
        world.step()
        block = world.take_force()
        assert block.samples.shape == (25, len(FORCE_CHANNELS))
        assert block.stamp_ns == before_ns + PERIOD_NS
        assert block.stamp_ns + 24 * block.period_ns == world.now_ns
        before_ns = world.now_ns
    world.step()
    world.reset(6, "pick_red")
    assert world.take_force() is None, "of the episode before"
    world.step()
    assert world.take_force().stamp_ns == before_ns + 2 * CONTROL_PERIOD_NS + PERIOD_NS


def test_the_same_is_felt_however_often_it_is_taken(world):
    def felt(take_after):
        world.reset(21, "place_red")
        expert, blocks = Expert(world), []
        for _ in range(12):
            expert.execute(expert.act())
            for tick in range(5):
                world.tick()
                if tick % take_after == take_after - 1:
                    blocks.append(world.take_force())
        return np.concatenate([block.samples for block in blocks])

    np.testing.assert_array_equal(felt(1), felt(5))


def test_who_does_not_read_finds_the_newest_second(world):
    world.reset(5, "pick_red")
    for _ in range(15):
        world.step()
    block = world.take_force()
    assert len(block.samples) == 250
    assert block.stamp_ns + 249 * block.period_ns == world.now_ns


def test_a_released_cube_is_no_longer_felt(world):
    world.reset(21, "place_red")
    blocks = list(expert_steps(world))
    assert world.success
    assert world.simulation.cube_m("red")[2] < TRAY_FLOOR_M + 0.05
    assert any((block.contact == HOLDING).any() for block in blocks)
    after = hold(world, 3)[-1]
    assert (after.contact == FREE).all()
    assert np.abs(after.samples[:, :2]).max() < 0.3
