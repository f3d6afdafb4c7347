"""Kinematics of a URDF chain: forward against hand formulas, inverse within the limits."""

import numpy as np
import pytest

from sensorium.policy.kinematics import Kinematics, KinematicsError, Unreachable

PLANAR = """<robot name="planar">
  <link name="base"/><link name="upper"/><link name="lower"/><link name="tip"/><link name="loose"/>
  <joint name="shoulder" type="revolute"><parent link="base"/><child link="upper"/>
    <origin xyz="0 0 0.5"/><axis xyz="0 0 1"/><limit lower="-2" upper="2" velocity="1"/></joint>
  <joint name="elbow" type="revolute"><parent link="upper"/><child link="lower"/>
    <origin xyz="0.4 0 0"/><axis xyz="0 0 2"/><limit lower="-2.5" upper="2.5" velocity="1"/></joint>
  <joint name="tool" type="fixed"><parent link="lower"/><child link="tip"/>
    <origin xyz="0.3 0 0"/></joint>
</robot>"""

# Craig's parameters of the Franka Panda (Franka Control Interface documentation) as URDF origins.
PANDA_DH = [
    (0.0, 0.333, 0.0, -2.8973, 2.8973),
    (0.0, 0.0, -np.pi / 2, -1.7628, 1.7628),
    (0.0, 0.316, np.pi / 2, -2.8973, 2.8973),
    (0.0825, 0.0, np.pi / 2, -3.0718, -0.0698),
    (-0.0825, 0.384, -np.pi / 2, -2.8973, 2.8973),
    (0.0, 0.0, np.pi / 2, -0.0175, 3.7525),
    (0.088, 0.0, np.pi / 2, -2.8973, 2.8973),
]


def panda_urdf():
    parts = ['<robot name="panda"><link name="link0"/>']
    for i, (a, d, alpha, lower, upper) in enumerate(PANDA_DH, 1):
        # Craig: turn about x by alpha, move a along x, then d along the new z.
        y, z = -d * np.sin(alpha), d * np.cos(alpha)
        parts.append(
            f'<link name="link{i}"/><joint name="joint{i}" type="revolute">'
            f'<parent link="link{i - 1}"/><child link="link{i}"/>'
            f'<origin xyz="{a!r} {float(y)!r} {float(z)!r}" rpy="{float(alpha)!r} 0 0"/>'
            f'<axis xyz="0 0 1"/><limit lower="{lower}" upper="{upper}" velocity="2"/></joint>'
        )
    return "".join(parts) + "</robot>"


def panda_forward(positions):
    """Product of Craig's link matrices, written down from the table."""
    pose = np.eye(4)
    for (a, d, alpha, _, _), q in zip(PANDA_DH, positions, strict=True):
        ca, sa, cq, sq = np.cos(alpha), np.sin(alpha), np.cos(q), np.sin(q)
        pose = pose @ np.array(
            (
                (cq, -sq, 0, a),
                (sq * ca, cq * ca, -sa, -d * sa),
                (sq * sa, cq * sa, ca, d * ca),
                (0, 0, 0, 1),
            )
        )
    return pose


@pytest.fixture(scope="module")
def panda():
    return Kinematics(panda_urdf(), "link0", "link7")


def random_positions(panda, rng, margin=0.15):
    span = panda.upper_rad - panda.lower_rad
    return panda.lower_rad + span * rng.uniform(margin, 1 - margin, len(span))


def test_a_planar_arm_follows_the_school_formula():
    arm = Kinematics(PLANAR, "base", "tip")
    assert arm.joint_names == ("shoulder", "elbow")
    a, b = 0.3, 0.9
    tip = arm.forward([a, b])
    expected = (
        0.4 * np.cos(a) + 0.3 * np.cos(a + b),
        0.4 * np.sin(a) + 0.3 * np.sin(a + b),
        0.5,
    )
    np.testing.assert_allclose(tip[:3, 3], expected, atol=1e-12)
    np.testing.assert_allclose(tip[:2, 0], (np.cos(a + b), np.sin(a + b)), atol=1e-12)


def test_the_panda_agrees_with_its_denavit_hartenberg_table(panda):
    rng = np.random.default_rng(0)
    for _ in range(20):
        positions = random_positions(panda, rng)
        np.testing.assert_allclose(
            panda.forward(positions), panda_forward(positions), rtol=0, atol=1e-12
        )


def test_inverse_reaches_poses_near_the_seed_within_the_limits(panda):
    rng = np.random.default_rng(1)
    for _ in range(40):
        positions = random_positions(panda, rng)
        wanted = panda_forward(positions)
        seed = positions + rng.normal(0.0, 0.15, 7)
        found = panda.inverse(wanted, seed)
        reached = panda_forward(found)
        assert np.linalg.norm(reached[:3, 3] - wanted[:3, 3]) <= 1e-4
        assert np.arccos(min(1.0, (np.trace(reached[:3, :3] @ wanted[:3, :3].T) - 1) / 2)) <= 2e-3
        assert (found >= panda.lower_rad).all()
        assert (found <= panda.upper_rad).all()


def test_a_posture_draws_the_redundant_joint_without_moving_the_tip(panda):
    home = np.array((0.0, -0.5, 0.0, -2.2, 0.0, 1.8, 0.8))
    wanted = panda_forward(home)
    seed = home + np.array((0.6, 0.2, -0.6, 0.0, 0.2, 0.0, 0.2))
    free = panda.inverse(wanted, seed)
    drawn = panda.inverse(wanted, seed, posture_rad=home)
    assert np.linalg.norm(drawn - home) < np.linalg.norm(free - home)
    np.testing.assert_allclose(panda_forward(drawn)[:3, 3], wanted[:3, 3], atol=1e-4)


def test_what_is_out_of_reach_is_refused_with_the_residual(panda):
    wanted = np.eye(4)
    wanted[:3, 3] = (2.0, 0.0, 0.4)
    with pytest.raises(Unreachable, match=r"'link7' cannot be brought to \[2.0, 0.0, 0.4\]") as no:
        panda.inverse(wanted, (0.0, -0.5, 0.0, -2.2, 0.0, 1.8, 0.8))
    assert no.value.position_error_m > 1.0
    assert "mm" in str(no.value)


def test_limits_are_kept_where_the_pose_lies_beyond_them():
    arm = Kinematics(PLANAR, "base", "tip")
    free = Kinematics(PLANAR.replace('upper="2.5"', 'upper="3.1"'), "base", "tip")
    wanted = free.forward([0.2, 3.0])
    with pytest.raises(Unreachable):
        arm.inverse(wanted, [0.2, 2.4])


@pytest.mark.parametrize(
    ("text", "base", "tip", "reason"),
    [
        ("<robot", "base", "tip", "no XML"),
        (PLANAR, "base", "hand", "link 'hand' is not in"),
        (PLANAR, "base", "loose", "does not hang on 'base'"),
        (PLANAR, "lower", "tip", "no joint between 'lower' and 'tip' moves"),
        (PLANAR.replace('name="elbow" type="revolute"', 'name="elbow" type="planar"'),
         "base", "tip", "'elbow' is of type 'planar'"),
        (PLANAR.replace('xyz="0 0 2"', 'xyz="0 0 0"'), "base", "tip", "'elbow' has an axis of"),
        (PLANAR.replace('xyz="0.4 0 0"', 'xyz="0.4 0"'), "base", "tip", "'elbow': '0.4 0' must"),
    ],
)  # fmt: skip
def test_descriptions_without_a_usable_chain_are_refused_by_name(text, base, tip, reason):
    with pytest.raises(KinematicsError, match=reason):
        Kinematics(text, base, tip)


@pytest.mark.parametrize("positions", [[0.0], [0.0, np.nan]])
def test_positions_that_do_not_fit_are_refused(positions):
    with pytest.raises(ValueError, match="positions_rad"):
        Kinematics(PLANAR, "base", "tip").forward(positions)
