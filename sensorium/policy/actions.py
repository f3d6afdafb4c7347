"""From the columns of a policy's actions to positions of the commanded joints."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sensorium.policy.contract import Contract, ContractError, JointTargets, TipTargets
from sensorium.policy.kinematics import Kinematics, Unreachable
from sensorium.policy.rejections import Reason, Rejection
from sensorium.poses import pose_from_quaternion

__all__ = ["ActionMapper"]

Float64 = NDArray[np.float64]


class ActionMapper:
    """Turns a chunk of actions into a chunk of joint positions.

    Args:
        contract: What the columns mean.
        kinematics: The chain to the tip; needed for tip targets only.

    Raises:
        ContractError: Tip targets without kinematics, or of other joints than its chain has.
    """

    def __init__(self, contract: Contract, kinematics: Kinematics | None) -> None:
        self._contract = contract
        self._kinematics = kinematics
        action = contract.action
        if isinstance(action, TipTargets):
            chain = () if kinematics is None else kinematics.joint_names
            if set(chain) != set(action.joints):
                raise ContractError(
                    f"the contract commands {', '.join(action.joints)}, but the robot's chain to "
                    f"'{contract.general.tip_link}' has {', '.join(chain) or 'no joints'}"
                )

    def positions(
        self, actions: NDArray[np.floating], chain_positions: Float64 | None
    ) -> Float64 | Rejection:
        """Positions of the commanded joints, in command order.

        Args:
            actions: (T, A) as the policy gave them.
            chain_positions: (n,) positions of the kinematic chain at the observation, in its
                order; needed for tip targets only.

        Returns:
            (T, J) float64 [rad or m], or why there is none: the first target is out of reach. A
            later target out of reach repeats the row before. Values that are not finite are
            handed on for the guards to refuse.
        """
        rows = np.array(actions, dtype=np.float64)
        action = self._contract.action
        if isinstance(action, JointTargets):
            return rows
        if not np.isfinite(rows).all():
            return np.full((len(rows), len(self._contract.commanded_joints)), np.nan)
        assert chain_positions is not None  # noqa: S101 - the contract asked for it
        arm = self._arm_positions(action, rows[:, :3], chain_positions)
        if isinstance(arm, Rejection) or not action.gripper_joint:
            return arm
        share = np.clip(rows[:, 3], 0.0, 1.0)
        gripper = action.gripper_at_0 + share * (action.gripper_at_1 - action.gripper_at_0)
        return np.column_stack((arm, gripper))

    def action(self, commanded: Float64, chain_positions: Float64 | None) -> NDArray[np.float32]:
        """The action that commands positions of joints: a row of a training set.

        Of a tip target the rotation is not kept; a gripper beyond its two positions counts as at
        the nearer one.

        Args:
            commanded: (J,) positions of the commanded joints, in command order.
            chain_positions: (n,) positions of the kinematic chain at the observation, in its
                order; needed for tip targets only.

        Returns:
            (A,) float32, one value per column of the contract.
        """
        action = self._contract.action
        if isinstance(action, JointTargets):
            return commanded.astype(np.float32)
        kinematics = self._kinematics
        assert kinematics is not None  # noqa: S101 - checked when made
        assert chain_positions is not None  # noqa: S101 - the contract asked for it
        by_name = dict(zip(self._contract.commanded_joints, commanded, strict=True))
        target = kinematics.forward([by_name[joint] for joint in kinematics.joint_names])
        origin = kinematics.forward(chain_positions)
        row = list((target[:3, 3] - origin[:3, 3]) / action.scale_m)
        if action.gripper_joint:
            share = (by_name[action.gripper_joint] - action.gripper_at_0) / (
                action.gripper_at_1 - action.gripper_at_0
            )
            row.append(float(np.clip(share, 0.0, 1.0)))
        return np.array(row, dtype=np.float32)

    def _arm_positions(
        self, action: TipTargets, offsets: Float64, chain_positions: Float64
    ) -> Float64 | Rejection:
        kinematics = self._kinematics
        assert kinematics is not None  # noqa: S101 - checked when made
        order = [kinematics.joint_names.index(joint) for joint in action.joints]
        target = kinematics.forward(chain_positions)
        origin = target[:3, 3].copy()
        if action.quaternion_xyzw:
            target = pose_from_quaternion((0.0, 0.0, 0.0), action.quaternion_xyzw)
        posture = None
        if action.posture_rad:
            by_name: Mapping[str, float] = dict(zip(action.joints, action.posture_rad, strict=True))
            posture = np.array([by_name[joint] for joint in kinematics.joint_names])
        positions = chain_positions
        result = np.empty((len(offsets), len(order)))
        for i, offset in enumerate(offsets):
            target[:3, 3] = origin + action.scale_m * offset
            try:
                positions = kinematics.inverse(target, positions, posture_rad=posture)
            except Unreachable as error:
                if i == 0:
                    return Rejection(Reason.UNREACHABLE, str(error))
            result[i] = positions[order]
        return result
