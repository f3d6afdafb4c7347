"""JointTrajectory in, as ros2_controllers' joint_trajectory_controller takes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from trajectory_msgs.msg import JointTrajectory

from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.header import NS_PER_S, stamp_from_time
from sensorium.tabletop.runner import JointCommand


class TrajectoryRefused(ValueError):  # noqa: N818 - the name says what happened
    """A trajectory that is not followed.

    Attributes:
        reason: short name for diagnostics.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def command_from_trajectory(
    message: JointTrajectory, arm_joints: Sequence[str], finger_joint: str
) -> JointCommand:
    """Return the command of a message.

    It names all joints of the arm, or the finger joint, or both, in any order. Only positions are
    read: velocities and accelerations of the points are ignored. Without points it says: stop.

    Args:
        message: stamp 0 starts now, another one at that time.
        arm_joints: in the order of the command.
        finger_joint: the gripper's joint.

    Raises:
        TrajectoryRefused: unknown, doubled or missing joints, another number of positions,
            non-finite positions, times that do not rise, or an invalid stamp.
    """
    try:
        stamp_ns = stamp_from_time(message.header.stamp)
    except ConversionError as error:
        raise TrajectoryRefused("stamp", str(error)) from error
    names = list(message.joint_names)
    if not message.points:
        return JointCommand(
            stamp_ns, np.empty(0, dtype=np.int64), np.empty((0, len(arm_joints))), None
        )
    has_arm = _check_names(names, arm_joints, finger_joint)
    for i, point in enumerate(message.points):
        if len(point.positions) != len(names):
            raise TrajectoryRefused(
                "positions",
                f"point {i} has {len(point.positions)} positions for {len(names)} joints "
                f"({', '.join(names)}); give one each",
            )
    positions = np.array([point.positions for point in message.points], dtype=np.float64)
    bad = np.argwhere(~np.isfinite(positions))
    if bad.size:
        row, column = bad[0]
        raise TrajectoryRefused(
            "not_finite",
            f"point {row} commands joint '{names[column]}' to {positions[row, column]}; nothing of "
            "the trajectory is followed",
        )
    offsets_ns = np.array(
        [p.time_from_start.sec * NS_PER_S + p.time_from_start.nanosec for p in message.points],
        dtype=np.int64,
    )
    if (np.diff(offsets_ns) <= 0).any() or offsets_ns[0] < 0:
        raise TrajectoryRefused(
            "times", f"time_from_start is {offsets_ns.tolist()} ns; it must rise from 0 or more"
        )
    arm = positions[:, [names.index(name) for name in arm_joints]] if has_arm else None
    finger = positions[:, names.index(finger_joint)] if finger_joint in names else None
    return JointCommand(stamp_ns, offsets_ns, arm, finger)


def _check_names(names: Sequence[str], arm_joints: Sequence[str], finger_joint: str) -> bool:
    """Return whether the arm is named."""
    known = [*arm_joints, finger_joint]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise TrajectoryRefused(
            "joint_names",
            f"joint '{unknown[0]}' is not commanded here; known: {', '.join(known)}",
        )
    if not names or len(set(names)) != len(names):
        raise TrajectoryRefused(
            "joint_names", f"joints {list(names)} must be named once each, and at least one"
        )
    missing = [name for name in arm_joints if name not in names]
    if missing and len(missing) < len(arm_joints):
        raise TrajectoryRefused(
            "joint_names",
            f"joint '{missing[0]}' is missing; name all joints of the arm "
            f"({', '.join(arm_joints)}), or only '{finger_joint}'",
        )
    return not missing
