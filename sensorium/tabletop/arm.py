"""The arm of the tabletop world: one description, from which URDF and MuJoCo model are made.

Proportions, joint limits and speeds are those of the Franka Panda (Craig's Denavit-Hartenberg
parameters of the Franka Control Interface documentation); shapes, masses and gripper are our own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ACCELERATION_LIMIT",
    "ARM_JOINTS",
    "BASE_LINK",
    "FINGER_JOINTS",
    "GRIPPER_OPENING_M",
    "GRIPPER_SPEED",
    "HOME_RAD",
    "TIP_LINK",
    "VELOCITY_LIMITS",
    "actuators_mjcf",
    "arm_mjcf",
    "arm_urdf",
    "link_poses",
]  # fmt: skip

Float64 = NDArray[np.float64]

BASE_LINK = "base_link"
TIP_LINK = "tip"
GRIPPER_OPENING_M = 0.08
GRIPPER_SPEED = 0.2
"""Largest speed of a finger [m/s]."""
ACCELERATION_LIMIT = 20.0
"""Acceleration limit of the joints [rad/s^2], for what guards the arm (URDF has none)."""


@dataclass(frozen=True)
class _Capsule:
    start_m: tuple[float, float, float]
    end_m: tuple[float, float, float]
    radius_m: float


@dataclass(frozen=True)
class _Joint:
    """A joint by Craig's parameters, and the link behind it."""

    a_m: float
    d_m: float
    alpha_rad: float
    lower_rad: float
    upper_rad: float
    velocity: float
    stiffness: float
    mass_kg: float
    capsules: tuple[_Capsule, ...]

    @property
    def origin_m(self) -> tuple[float, float, float]:
        """Where the joint stands in the link before it, at any position."""
        sine, cosine = np.sin(self.alpha_rad), np.cos(self.alpha_rad)
        return self.a_m, float(-self.d_m * sine), float(self.d_m * cosine)


_QUARTER = float(np.pi / 2)
_FOOT = _Capsule((0, 0, 0.03), (0, 0, 0.2), 0.065)
_JOINTS = (
    _Joint(0.0, 0.333, 0.0, -2.8973, 2.8973, 2.175, 4500, 3.0,
           (_Capsule((0, 0, -0.12), (0, 0, 0), 0.06),)),
    _Joint(0.0, 0.0, -_QUARTER, -1.7628, 1.7628, 2.175, 4500, 3.0,
           (_Capsule((0, 0, 0), (0, -0.22, 0), 0.06),)),
    _Joint(0.0, 0.316, _QUARTER, -2.8973, 2.8973, 2.175, 3500, 2.5,
           (_Capsule((0, 0, -0.06), (0.0825, 0, 0), 0.055),)),
    _Joint(0.0825, 0.0, _QUARTER, -3.0718, -0.0698, 2.175, 3500, 2.5,
           (_Capsule((-0.0825, 0.08, 0), (-0.0825, 0.3, 0), 0.05),)),
    _Joint(-0.0825, 0.384, -_QUARTER, -2.8973, 2.8973, 2.61, 2000, 2.0,
           (_Capsule((0, 0.02, -0.08), (0, 0, 0), 0.048),)),
    _Joint(0.0, 0.0, _QUARTER, -0.0175, 3.7525, 2.61, 2000, 1.5,
           (_Capsule((0, 0, 0), (0.088, 0, 0), 0.045),)),
    _Joint(0.088, 0.0, _QUARTER, -2.8973, 2.8973, 2.61, 2000, 0.5,
           (_Capsule((0, 0, 0), (0, 0, 0.08), 0.04),)),
)  # fmt: skip

ARM_JOINTS = tuple(f"joint{i + 1}" for i in range(len(_JOINTS)))
FINGER_JOINTS = ("finger_joint1", "finger_joint2")
VELOCITY_LIMITS: Float64 = np.array([joint.velocity for joint in _JOINTS])
VELOCITY_LIMITS.setflags(write=False)
HOME_RAD: Float64 = np.array((0.0, -0.32, 0.0, -2.28, 0.0, 1.96, 0.7854))
"""(7,) positions with the gripper above the middle of the workspace, pointing down."""
HOME_RAD.setflags(write=False)

_HAND_YAW_RAD = -float(np.pi / 4)
_HAND_OFFSET_M = 0.107
_PALM_HALF_M = (0.02, 0.06, 0.03)
_FINGER_ORIGIN_M = 0.06
_FINGER_HALF_M = (0.01, 0.006, 0.035)
_TIP_OFFSET_M = 0.12
_WHITE = "0.87 0.88 0.9 1"
_DARK = "0.35 0.36 0.4 1"


def arm_mjcf() -> str:
    """The arm as MJCF bodies, to stand in a worldbody; its base is the world's origin."""
    lines = [f'<body name="{BASE_LINK}">', _capsule_geom(_FOOT)]
    for name, joint in zip(ARM_JOINTS, _JOINTS, strict=True):
        w_xyz = np.array((np.cos(joint.alpha_rad / 2), np.sin(joint.alpha_rad / 2), 0.0, 0.0))
        lines.append(
            f'<body name="{name}_link" pos="{_text(joint.origin_m)}" quat="{_text(w_xyz)}" '
            'gravcomp="1">'
            f'<joint name="{name}" class="arm" range="{joint.lower_rad} {joint.upper_rad}"/>'
        )
        share = joint.mass_kg / len(joint.capsules)
        lines += [_capsule_geom(capsule, f'mass="{share}"') for capsule in joint.capsules]
    yaw = np.array((np.cos(_HAND_YAW_RAD / 2), 0.0, 0.0, np.sin(_HAND_YAW_RAD / 2)))
    lines.append(
        f'<body name="hand" pos="0 0 {_HAND_OFFSET_M}" quat="{_text(yaw)}" gravcomp="1">'
        f'<geom class="arm" type="box" size="{_text(_PALM_HALF_M)}" pos="0 0 {_PALM_HALF_M[2]}" '
        f'rgba="{_DARK}" mass="0.5"/>'
        f'<site name="{TIP_LINK}" pos="0 0 {_TIP_OFFSET_M}"/>'
    )
    for side, name in zip((1, -1), FINGER_JOINTS, strict=True):
        center = (0.0, side * _FINGER_HALF_M[1], _FINGER_HALF_M[2])
        lines.append(
            f'<body name="{name}_link" pos="0 0 {_FINGER_ORIGIN_M}" gravcomp="1">'
            f'<joint name="{name}" class="finger" axis="0 {side} 0"/>'
            f'<geom name="{name}_pad" class="finger" size="{_text(_FINGER_HALF_M)}" '
            f'pos="{_text(center)}" rgba="{_DARK}" mass="0.05"/></body>'
        )
    return "\n".join([*lines, "</body>" * (len(_JOINTS) + 2)])


def actuators_mjcf() -> str:
    """Position actuators of arm joints and fingers, in the order of their names."""
    lines = [
        f'<position joint="{name}" kp="{joint.stiffness}" dampratio="4"/>'
        for name, joint in zip(ARM_JOINTS, _JOINTS, strict=True)
    ]
    lines += [
        f'<position joint="{name}" kp="2000" kv="40" forcerange="-15 15"/>'
        for name in FINGER_JOINTS
    ]
    return "\n".join(lines)


def arm_urdf() -> str:
    """The same arm as URDF text, with limits and simple visuals."""
    lines = ['<?xml version="1.0"?>', '<robot name="tabletop_arm">']
    lines.append(_urdf_link(BASE_LINK, _capsule_visual(_FOOT)))
    parent = BASE_LINK
    for name, joint in zip(ARM_JOINTS, _JOINTS, strict=True):
        link = f"{name}_link"
        lines.append(_urdf_link(link, "".join(_capsule_visual(one) for one in joint.capsules)))
        lines.append(
            _urdf_joint(name, "revolute", parent, link, joint.origin_m, (joint.alpha_rad, 0, 0))
            + '<axis xyz="0 0 1"/>'
            f'<limit lower="{joint.lower_rad}" upper="{joint.upper_rad}" '
            f'velocity="{joint.velocity}" effort="87"/></joint>'
        )
        parent = link
    lines.append(_urdf_link("hand", _box_visual(_PALM_HALF_M, (0, 0, _PALM_HALF_M[2]))))
    lines.append(
        _urdf_joint(
            "hand_joint", "fixed", parent, "hand", (0, 0, _HAND_OFFSET_M), (0, 0, _HAND_YAW_RAD)
        )
        + "</joint>"
    )
    for side, name in zip((1, -1), FINGER_JOINTS, strict=True):
        center = (0.0, side * _FINGER_HALF_M[1], _FINGER_HALF_M[2])
        mimic = "" if side == 1 else f'<mimic joint="{FINGER_JOINTS[0]}"/>'
        lines.append(_urdf_link(f"{name}_link", _box_visual(_FINGER_HALF_M, center)))
        lines.append(
            _urdf_joint(name, "prismatic", "hand", f"{name}_link", (0, 0, _FINGER_ORIGIN_M))
            + f'<axis xyz="0 {side} 0"/><limit lower="0" upper="{GRIPPER_OPENING_M / 2}" '
            f'velocity="{GRIPPER_SPEED}" effort="15"/>{mimic}</joint>'
        )
    lines.append(_urdf_link(TIP_LINK, ""))
    lines.append(_urdf_joint("tip_joint", "fixed", "hand", TIP_LINK, (0, 0, _TIP_OFFSET_M)))
    return "\n".join([*lines, "</joint>", "</robot>", ""])


def link_poses(arm_rad: Float64, fingers_m: Float64) -> list[tuple[str, str, Float64]]:
    """Every joint of the URDF as a transform.

    Args:
        arm_rad: (7,) positions of the arm.
        fingers_m: (2,) positions of the fingers.

    Returns:
        (parent link, child link, (4, 4) parent_from_child) from the base to the tip.
    """
    poses = []
    parent = BASE_LINK
    for name, joint, angle in zip(ARM_JOINTS, _JOINTS, arm_rad, strict=True):
        tilted, turned = np.eye(4), np.eye(4)
        sine, cosine = np.sin(joint.alpha_rad), np.cos(joint.alpha_rad)
        tilted[1:3, 1:3] = (cosine, -sine), (sine, cosine)
        tilted[:3, 3] = joint.origin_m
        turned[:2, :2] = _turn(float(angle))
        poses.append((parent, f"{name}_link", tilted @ turned))
        parent = f"{name}_link"
    hand = np.eye(4)
    hand[:2, :2] = _turn(_HAND_YAW_RAD)
    hand[2, 3] = _HAND_OFFSET_M
    poses.append((parent, "hand", hand))
    for side, name, position in zip((1, -1), FINGER_JOINTS, fingers_m, strict=True):
        finger = np.eye(4)
        finger[1:3, 3] = side * position, _FINGER_ORIGIN_M
        poses.append(("hand", f"{name}_link", finger))
    tip = np.eye(4)
    tip[2, 3] = _TIP_OFFSET_M
    poses.append(("hand", TIP_LINK, tip))
    return poses


def _turn(angle_rad: float) -> tuple[tuple[float, float], tuple[float, float]]:
    sine, cosine = float(np.sin(angle_rad)), float(np.cos(angle_rad))
    return (cosine, -sine), (sine, cosine)


def _capsule_geom(capsule: _Capsule, extra: str = "") -> str:
    ends = _text((*capsule.start_m, *capsule.end_m))
    return f'<geom class="arm" fromto="{ends}" size="{capsule.radius_m}" rgba="{_WHITE}" {extra}/>'


def _urdf_link(name: str, visuals: str) -> str:
    return f'<link name="{name}">{visuals}</link>'


def _urdf_joint(
    name: str,
    joint_type: str,
    parent: str,
    child: str,
    origin_m: tuple[float, float, float],
    rpy_rad: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> str:
    return (
        f'<joint name="{name}" type="{joint_type}"><parent link="{parent}"/>'
        f'<child link="{child}"/><origin xyz="{_text(origin_m)}" rpy="{_text(rpy_rad)}"/>'
    )


def _capsule_visual(capsule: _Capsule) -> str:
    """A cylinder between the ends of the capsule and a ball at each: URDF has no capsules."""
    start, end = np.array(capsule.start_m, float), np.array(capsule.end_m, float)
    length = float(np.linalg.norm(end - start))
    direction = (end - start) / length
    pitch = float(np.arccos(np.clip(direction[2], -1.0, 1.0)))
    yaw = float(np.arctan2(direction[1], direction[0]))
    radius = capsule.radius_m
    balls = "".join(
        _visual(f'<sphere radius="{radius}"/>', point, (0, 0, 0), _WHITE) for point in (start, end)
    )
    return balls + _visual(
        f'<cylinder radius="{radius}" length="{length}"/>', (start + end) / 2, (0, pitch, yaw),
        _WHITE,
    )  # fmt: skip


def _box_visual(half_m: tuple[float, float, float], center_m: tuple[float, float, float]) -> str:
    size = _text([2 * half for half in half_m])
    return _visual(f'<box size="{size}"/>', center_m, (0, 0, 0), _DARK)


def _visual(
    geometry: str,
    origin_m: tuple[float, float, float] | Float64,
    rpy_rad: tuple[float, float, float],
    rgba: str,
) -> str:
    return (
        f'<visual><origin xyz="{_text(origin_m)}" rpy="{_text(rpy_rad)}"/>'
        f"<geometry>{geometry}</geometry>"
        f'<material name="{"light" if rgba == _WHITE else "dark"}"><color rgba="{rgba}"/>'
        "</material></visual>"
    )


def _text(numbers: tuple[float, ...] | list[float] | Float64) -> str:
    return " ".join(repr(float(number)) for number in numbers)
