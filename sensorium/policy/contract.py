"""The contract between a policy and a robot: which topic makes which feature, what actions mean.

One YAML file (see contract_file.py) serves the live node and whoever makes training sets from bags.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sensorium.configuration import parameter

__all__ = [
    "Contract",
    "ContractError",
    "General",
    "JointStates",
    "JointTargets",
    "Picture",
    "PooledTokens",
    "SignalScores",
    "StateVector",
    "TipTargets",
    "TokenBank",
    "check_contract",
]

PICTURE_TYPES = ("rgbd_frame", "image", "compressed_image")
TIP_POSITION = "tip.position"
"""Entry of ``select`` that stands for x, y, z of the tip in the base frame [m]."""
QUANTITIES = ("position", "velocity", "effort")
ALIGNMENTS = ("newest", "nearest")
POOLINGS = ("mean", "max")


class ContractError(ValueError):
    """A contract that cannot be read or does not fit the policy; the text names the entry."""


@dataclass(frozen=True)
class General:
    """Section ``general``."""

    rate_hz: float = parameter(
        10.0, "Rows of a chunk per second: row i is for the observation's stamp + (i + 1) / rate.",
        minimum=0.1, maximum=1000.0,
    )  # fmt: skip
    max_skew_s: float = parameter(
        0.05, "Largest distance between the stamps of one observation [s].", minimum=0.0,
        maximum=10.0,
    )  # fmt: skip
    clock_tolerance_s: float = parameter(
        0.02, "How far in the future a stamp may lie [s].", minimum=0.0, maximum=1.0
    )
    base_frame: str = parameter(
        "base_link", "Robot base: TF frame of tokens and URDF link of tip positions."
    )
    tip_link: str = parameter("", "URDF link of tip positions and targets; empty where unused.")


@dataclass(frozen=True)
class JointStates:
    """Section ``joint_states``: where the positions of joints come from."""

    topic: str = parameter("joint_states", "Topic of sensor_msgs/JointState.")
    max_age_s: float = parameter(0.2, "Oldest stamp [s].", minimum=0.001, maximum=60.0)
    max_silence_s: float = parameter(0.2, "Longest silence [s].", minimum=0.001, maximum=60.0)
    align: str = parameter(
        "nearest", "The newest message, or the one nearest to the other inputs' stamp.",
        choices=ALIGNMENTS,
    )  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """Observation of type rgbd_frame, image or compressed_image: (H, W, 3) uint8 RGB."""

    topic: str = parameter("", "Topic of the pictures.")
    type: str = parameter("rgbd_frame", "Type of its messages.", choices=PICTURE_TYPES)
    max_age_s: float = parameter(0.2, "Oldest stamp [s].", minimum=0.001, maximum=60.0)
    max_silence_s: float = parameter(0.2, "Longest silence [s].", minimum=0.001, maximum=60.0)
    align: str = parameter(
        "newest", "The newest picture, or the one nearest to the tokens' stamp: where tokens are "
        "made from this camera.", choices=ALIGNMENTS,
    )  # fmt: skip
    size_px: tuple[int, ...] = parameter(
        (), "Height and width to which pictures are resized (mean over areas) [px]; empty for as "
        "they are.", minimum=1, maximum=8192,
    )  # fmt: skip


@dataclass(frozen=True)
class StateVector:
    """Observation of type joint_state: numbers of ``joint_states`` and of the tip, float32."""

    type: str = parameter("joint_state", "Type of the observation.", choices=("joint_state",))
    select: tuple[str, ...] = parameter(
        (), "What the vector holds, in order: position.JOINT, velocity.JOINT, effort.JOINT, or "
        "tip.position for x, y, z in the base frame by forward kinematics.",
    )  # fmt: skip

    @property
    def size(self) -> int:
        """Number of values."""
        return sum(3 if entry == TIP_POSITION else 1 for entry in self.select)


HINTS = "What the network was shown beside images, in this order: depth, intrinsics, poses."


@dataclass(frozen=True)
class TokenBank:
    """Observation of type tokens: NAME.points, NAME.features and NAME.valid of one camera.

    Points are (N, 3) in the base frame [m] by TF at the tokens' stamp, features (N, C), valid (N,)
    1 or 0; float32. Tokens without depth have zeros and valid 0.
    """

    topic: str = parameter("geometry/tokens", "Topic of the tokens; their TokensInfo is beside it.")
    type: str = parameter("tokens", "Type of the observation.", choices=("tokens",))
    max_age_s: float = parameter(0.5, "Oldest stamp [s].", minimum=0.001, maximum=60.0)
    max_silence_s: float = parameter(0.5, "Longest silence [s].", minimum=0.001, maximum=60.0)
    backend: str = parameter("sensor", "Backend that made the tokens of the training set.")
    weights_sha256: str = parameter("", "SHA-256 of its weights; empty for a backend without.")
    rows: int = parameter(32, "Rows of the token grid.", minimum=1, maximum=512)
    columns: int = parameter(32, "Columns of the token grid.", minimum=1, maximum=512)
    channels: int = parameter(7, "Values per token.", minimum=1, maximum=65536)
    window_views: int = parameter(1, "Images looked at together.", minimum=1, maximum=64)
    hints: tuple[str, ...] = parameter((), HINTS)
    tf_timeout_s: float = parameter(
        0.1, "How long to wait for transforms that are under way [s].", minimum=0.0, maximum=5.0
    )


@dataclass(frozen=True)
class PooledTokens:
    """Observation of type pooled_tokens: one vector (C,) float32 of all tokens of one camera.

    For ``geometry: pooled``: the geometry node runs the backend `omnivggt` on one view at a time
    (``omnivggt.window_views: 1``) with the hints of the training; the policy's config.json has
    what belongs here under ``pooled_tokens``.
    """

    topic: str = parameter("geometry/tokens", "Topic of the tokens; their TokensInfo is beside it.")
    type: str = parameter("pooled_tokens", "Type of the observation.", choices=("pooled_tokens",))
    max_age_s: float = parameter(0.5, "Oldest stamp [s].", minimum=0.001, maximum=60.0)
    max_silence_s: float = parameter(0.5, "Longest silence [s].", minimum=0.001, maximum=60.0)
    backend: str = parameter(
        "omnivggt", "Backend that made the tokens of the training set.", choices=("omnivggt",)
    )
    weights_sha256: str = parameter("", "SHA-256 of its weights.")
    rows: int = parameter(6, "Rows of the token grid.", minimum=1, maximum=512)
    columns: int = parameter(8, "Columns of the token grid.", minimum=1, maximum=512)
    channels: int = parameter(384, "Values per token.", minimum=1, maximum=65536)
    hints: tuple[str, ...] = parameter((), HINTS)
    pooling: str = parameter("mean", "How tokens become one vector.", choices=POOLINGS)


@dataclass(frozen=True)
class SignalScores:
    """Observation of type signal_estimate: the scores of a valid SignalEstimate, float32."""

    topic: str = parameter("", "Topic of sensorium_ros/SignalEstimate.")
    type: str = parameter(
        "signal_estimate", "Type of the observation.", choices=("signal_estimate",)
    )
    max_age_s: float = parameter(2.0, "Oldest stamp [s].", minimum=0.001, maximum=60.0)
    max_silence_s: float = parameter(2.0, "Longest silence [s].", minimum=0.001, maximum=60.0)
    classes: tuple[str, ...] = parameter((), "Class names in the order the policy was trained on.")


@dataclass(frozen=True)
class JointTargets:
    """Action of type joint_positions: one column per joint [rad or m]."""

    type: str = parameter("joint_positions", "Meaning.", choices=("joint_positions",))
    joints: tuple[str, ...] = parameter((), "Joints in the order of the action's columns.")


@dataclass(frozen=True)
class TipTargets:
    """Action of type tip_targets: x, y, z of the tip in the base frame and the gripper.

    Positions of all rows are relative to the tip at the observation; they become joint positions by
    inverse kinematics, row after row.
    """

    type: str = parameter("tip_targets", "Meaning.", choices=("tip_targets",))
    joints: tuple[str, ...] = parameter((), "The arm's joints from base to tip.")
    scale_m: float = parameter(
        1.0, "Metres per unit of the first three columns.", minimum=1e-6, maximum=1e3
    )
    quaternion_xyzw: tuple[float, ...] = parameter(
        (), "Rotation of the tip in the base frame; empty keeps the one it has."
    )
    posture_rad: tuple[float, ...] = parameter(
        (), "Positions towards which a redundant arm is drawn; empty for none."
    )
    gripper_joint: str = parameter("", "Joint of the fourth column; empty for none.")
    gripper_at_0: float = parameter(0.0, "Its position where the column is 0 [rad or m].")
    gripper_at_1: float = parameter(1.0, "Its position where the column is 1 [rad or m].")


@dataclass(frozen=True, eq=False)
class Contract:
    """A contract, read and checked in itself.

    Attributes:
        general: Rate, skew and base frame.
        joint_states: Where joint positions come from.
        pictures: By feature name.
        states: By feature name.
        tokens: By the name that .points, .features and .valid are put behind.
        pooled: By feature name.
        signals: By feature name.
        action: What the columns of an action mean.
    """

    general: General
    joint_states: JointStates
    pictures: Mapping[str, Picture]
    states: Mapping[str, StateVector]
    tokens: Mapping[str, TokenBank]
    pooled: Mapping[str, PooledTokens]
    signals: Mapping[str, SignalScores]
    action: JointTargets | TipTargets

    @property
    def period_ns(self) -> int:
        """Time from row to row of a chunk."""
        return round(1e9 / self.general.rate_hz)

    @property
    def commanded_joints(self) -> tuple[str, ...]:
        """The joints that are commanded, in command order."""
        action = self.action
        if isinstance(action, TipTargets) and action.gripper_joint:
            return (*action.joints, action.gripper_joint)
        return action.joints

    @property
    def action_names(self) -> tuple[str, ...]:
        """One name with unit per column of an action."""
        if isinstance(self.action, JointTargets):
            return tuple(f"{joint} [rad or m]" for joint in self.action.joints)
        unit = "m" if self.action.scale_m == 1.0 else f"{self.action.scale_m:g} m"
        gripper = ("gripper [0..1]",) if self.action.gripper_joint else ()
        return (*(f"tip_{axis} [{unit}]" for axis in "xyz"), *gripper)

    @property
    def has_tip_actions(self) -> bool:
        """Whether actions are Cartesian, in the base frame."""
        return isinstance(self.action, TipTargets)

    @property
    def needs_kinematics(self) -> bool:
        """Whether the robot's description is needed for tip positions or targets."""
        reads = any(TIP_POSITION in state.select for state in self.states.values())
        return reads or self.has_tip_actions

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Shape of every feature it makes, as a policy declares it; None is known when it runs."""
        shapes: dict[str, tuple[int | None, ...]] = {}
        for name, picture in self.pictures.items():
            shapes[name] = (3, *(picture.size_px or (None, None)))
        for name, state in self.states.items():
            shapes[name] = (state.size,)
        for name, bank in self.tokens.items():
            count = bank.rows * bank.columns
            shapes[f"{name}.points"] = (count, 3)
            shapes[f"{name}.features"] = (count, bank.channels)
            shapes[f"{name}.valid"] = (count,)
        for name, pooled in self.pooled.items():
            shapes[name] = (pooled.channels,)
        for name, signal in self.signals.items():
            shapes[name] = (len(signal.classes),)
        return shapes


def check_contract(
    contract: Contract, features: Mapping[str, tuple[int, ...]], action_size: int
) -> None:
    """Checks that a contract makes what a policy needs.

    Args:
        contract: The contract.
        features: Shape of every feature that the policy needs.
        action_size: Columns of its actions.

    Raises:
        ContractError: A feature is not made or has another shape, or actions have another number
            of columns.
    """
    shapes = contract.shapes
    problems = []
    for name, shape in features.items():
        if name not in shapes:
            made = ", ".join(sorted(shapes)) or "none"
            problems.append(f"the policy needs '{name}', the contract makes {made}")
            continue
        ours = shapes[name]
        fits = len(ours) == len(shape) and all(
            o in (None, s) for o, s in zip(ours, shape, strict=True)
        )
        if not fits:
            problems.append(f"'{name}' has shape {ours} by the contract, {shape} for the policy")
    columns = len(contract.action_names)
    if columns != action_size:
        problems.append(
            f"actions have {action_size} columns, the contract names {columns} "
            f"({', '.join(contract.action_names)})"
        )
    if problems:
        raise ContractError("the contract does not fit the policy: " + "; ".join(problems))
