"""Forward and inverse kinematics of the chain between two links of a URDF. NumPy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sensorium.policy.chain import KinematicsError, chain_from_urdf
from sensorium.poses import validated_pose

__all__ = ["Kinematics", "KinematicsError", "Unreachable"]

Float64 = NDArray[np.float64]

_DAMPING = 0.02
_LARGEST_STEP_RAD = 0.3
_POSTURE_GAIN = 0.1


class Unreachable(ValueError):  # noqa: N818 - the name says what happened
    """A pose of the tip that no joint positions within the limits reach.

    Attributes:
        position_error_m: How far the best found tip position is off [m].
        rotation_error_rad: How far the best found tip rotation is off [rad].
    """

    def __init__(self, text: str, position_error_m: float, rotation_error_rad: float) -> None:
        super().__init__(text)
        self.position_error_m = position_error_m
        self.rotation_error_rad = rotation_error_rad


class Kinematics:
    """The serial chain from one link of a robot to another.

    Args:
        urdf_text: The URDF as text.
        base_link: Link in which poses are given.
        tip_link: Link that is posed.

    Attributes:
        joint_names: The n moving joints from base to tip; every ``positions_rad`` is in this order
            (metres where a joint is prismatic).
        lower_rad: (n,) float64 lowest positions; -inf for continuous joints.
        upper_rad: (n,) float64 highest positions; inf for continuous joints.

    Raises:
        KinematicsError: The text is no URDF, the tip does not hang on the base, no joint between
            them moves, or one is of a type that is not supported.
    """

    def __init__(self, urdf_text: str, base_link: str, tip_link: str) -> None:
        self._chain = chain = chain_from_urdf(urdf_text, base_link, tip_link)
        self._base_link = base_link
        self._tip_link = tip_link
        self.joint_names = chain.names
        self.lower_rad = chain.lower
        self.upper_rad = chain.upper
        self._cross = _cross_matrices(chain.axes)
        self._cross_twice = self._cross @ self._cross

    def forward(self, positions_rad: ArrayLike) -> Float64:
        """Pose of the tip, (4, 4) ``base_from_tip``.

        Args:
            positions_rad: (n,) joint positions in the order of ``joint_names``.

        Raises:
            ValueError: Another number of positions.
        """
        frames = self._joint_frames(self._vector(positions_rad, "positions_rad"))
        tip: Float64 = frames[-1] @ self._chain.last_from_tip
        return tip

    def inverse(
        self,
        base_from_tip: ArrayLike,
        seed_rad: ArrayLike,
        *,
        posture_rad: ArrayLike | None = None,
        position_tolerance_m: float = 1e-4,
        rotation_tolerance_rad: float = 1e-3,
        max_iterations: int = 100,
    ) -> Float64:
        """Joint positions that bring the tip to a pose, near the seed.

        Damped least squares (Wampler 1986; Nakamura and Hanafusa 1986); joints that run into a
        limit are held there and the others solved again. It finds a local solution: seed it with
        the present positions.

        Args:
            base_from_tip: (4, 4) wanted pose.
            seed_rad: (n,) where to start; clipped to the limits.
            posture_rad: (n,) positions towards which a redundant arm is drawn where that does not
                move the tip; None leaves them where the iteration ends.
            position_tolerance_m: Largest accepted position error.
            rotation_tolerance_rad: Largest accepted rotation error.
            max_iterations: Iterations before it gives up.

        Returns:
            (n,) float64 positions within the limits.

        Raises:
            Unreachable: No positions within the limits were found; names the residual.
            PoseError: The pose is not rigid.
            ValueError: Another number of positions.
        """
        wanted = validated_pose(base_from_tip, "base_from_tip")
        posture = None if posture_rad is None else self._vector(posture_rad, "posture_rad")
        seed = self._vector(seed_rad, "seed_rad")
        positions = np.clip(seed, self.lower_rad, self.upper_rad)
        best = (np.inf, np.inf)
        for _ in range(max_iterations):
            frames = self._joint_frames(positions)
            tip = frames[-1] @ self._chain.last_from_tip
            error = np.concatenate(
                (wanted[:3, 3] - tip[:3, 3], _rotation_vector(wanted[:3, :3] @ tip[:3, :3].T))
            )
            distance = float(np.linalg.norm(error[:3]))
            angle = float(np.linalg.norm(error[3:]))
            best = min(best, (distance, angle), key=sum)
            if distance <= position_tolerance_m and angle <= rotation_tolerance_rad:
                return positions
            jacobian = self._jacobian(frames, tip[:3, 3])
            step = self._step(jacobian, error, positions, posture)
            positions = np.clip(positions + step, self.lower_rad, self.upper_rad)
        raise Unreachable(
            f"'{self._tip_link}' cannot be brought to {wanted[:3, 3].round(4).tolist()} m in "
            f"'{self._base_link}' with the wanted rotation: {best[0] * 1e3:.1f} mm and "
            f"{best[1]:.3f} rad remain after {max_iterations} iterations; ask for a pose within "
            "the joint limits, or seed nearer to it",
            *best,
        )

    def _step(
        self, jacobian: Float64, error: Float64, positions: Float64, posture: Float64 | None
    ) -> Float64:
        free = np.ones(positions.size, dtype=bool)
        while True:
            active = jacobian * free
            gram = active @ active.T
            gram[np.diag_indices_from(gram)] += _DAMPING**2 * min(1.0, float(error @ error) * 10)
            gram[np.diag_indices_from(gram)] += 1e-9
            if posture is None:
                step = active.T @ np.linalg.solve(gram, error)
            else:
                pull = _POSTURE_GAIN * (posture - positions) * free
                step = pull + active.T @ np.linalg.solve(gram, error - active @ pull)
            step *= min(1.0, _LARGEST_STEP_RAD / max(float(np.abs(step).max()), 1e-12))
            blocked = free & (
                ((positions <= self.lower_rad) & (step < 0))
                | ((positions >= self.upper_rad) & (step > 0))
            )
            if not blocked.any() or not (free & ~blocked).any():
                return np.asarray(np.where(blocked, 0.0, step), dtype=np.float64)
            free &= ~blocked

    def _joint_frames(self, positions: Float64) -> Float64:
        """(n, 4, 4) pose of every joint's moving frame in the base."""
        chain = self._chain
        angle = np.where(chain.prismatic, 0.0, positions)
        moved = np.tile(np.eye(4), (positions.size, 1, 1))
        moved[:, :3, :3] += np.sin(angle)[:, None, None] * self._cross
        moved[:, :3, :3] += (1.0 - np.cos(angle))[:, None, None] * self._cross_twice
        moved[:, :3, 3] = np.where(chain.prismatic, positions, 0.0)[:, None] * chain.axes
        frames = chain.parent_from_joint @ moved
        for i in range(1, len(frames)):
            frames[i] = frames[i - 1] @ frames[i]
        return np.asarray(frames, dtype=np.float64)

    def _jacobian(self, frames: Float64, tip_m: Float64) -> Float64:
        """(6, n) linear and angular velocity of the tip in the base per joint velocity."""
        axes = np.einsum("nij,nj->ni", frames[:, :3, :3], self._chain.axes)
        levers = np.cross(axes, tip_m - frames[:, :3, 3])
        prismatic = self._chain.prismatic[:, None]
        linear = np.where(prismatic, axes, levers)
        angular = np.where(prismatic, 0.0, axes)
        return np.concatenate((linear, angular), axis=1).T

    def _vector(self, values: ArrayLike, name: str) -> Float64:
        vector = np.array(values, dtype=np.float64)
        if vector.shape != (len(self.joint_names),):
            raise ValueError(
                f"{name} has shape {vector.shape}; give one number per joint "
                f"({', '.join(self.joint_names)})"
            )
        if not np.isfinite(vector).all():
            raise ValueError(f"{name} is {vector.tolist()}; every number must be finite")
        return vector


def _cross_matrices(axes: Float64) -> Float64:
    """(n, 3, 3) matrices K with ``K @ v == cross(axis, v)``."""
    matrices = np.zeros((len(axes), 3, 3))
    matrices[:, 2, 1], matrices[:, 1, 2] = axes[:, 0], -axes[:, 0]
    matrices[:, 0, 2], matrices[:, 2, 0] = axes[:, 1], -axes[:, 1]
    matrices[:, 1, 0], matrices[:, 0, 1] = axes[:, 2], -axes[:, 2]
    return matrices


def _rotation_vector(rotation: Float64) -> Float64:
    """(3,) axis times angle [rad] of a rotation (3, 3)."""
    twice_sine = np.array(
        (
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        )
    )
    norm = float(np.linalg.norm(twice_sine))
    angle = float(np.arctan2(norm, np.trace(rotation) - 1.0))
    if norm > 1e-6:
        vector: Float64 = twice_sine * (angle / norm)
        return vector
    if angle < 1.0:
        half: Float64 = twice_sine / 2.0
        return half
    # Half a turn: the antisymmetric part vanishes, the axis stands in the symmetric one.
    symmetric = (rotation + np.eye(3)) / 2.0
    column = int(np.argmax(np.diag(symmetric)))
    turned: Float64 = angle * symmetric[:, column] / np.linalg.norm(symmetric[:, column])
    return turned
