"""What the gripper feels: forces on fingers and wrist and the fingers' effort, every physics step.

Read from the solution of the physics, which it does not change. The fingers' pads and the wrist
measure contact: weight and inertia of the hand are taken off, as drivers of real wrist sensors do.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.tabletop.arm import FINGER_JOINTS

__all__ = [
    "CONTACT_CLASSES", "FORCE_CHANNELS", "FORCE_FRAME", "FORCE_UNITS", "ForceBlock", "ForceSensor",
]  # fmt: skip

Float64 = NDArray[np.float64]

FORCE_FRAME = "hand"
FORCE_CHANNELS = (
    *(f"{name}.force" for name in FINGER_JOINTS),
    *(f"{name}.effort" for name in FINGER_JOINTS),
    *(f"wrist.force.{axis}" for axis in "xyz"),
)
"""Pressure on each pad from whatever side [N], force of each finger's motor, positive opens [N],
and the force on hand and fingers together, axes of the frame ``hand``: z out of the gripper [N]."""
FORCE_UNITS = ("N",) * len(FORCE_CHANNELS)
CONTACT_CLASSES = ("free", "contact", "holding")
"""Nothing presses the gripper; something does; the same thing is between both fingers."""

_NOISE_N = np.array((0.05, 0.05, 0.2, 0.2, 0.05, 0.05, 0.05))
_PRESSES_N = 0.2
_ON_FACE = 0.7
_KEPT = 250


@dataclass(frozen=True, eq=False)
class ForceBlock:
    """Consecutive samples.

    Attributes:
        stamp_ns: Of the first sample: the end of the physics step in which the force acted.
        period_ns: From one sample to the next.
        samples: (N, 7) float32 in the order of FORCE_CHANNELS.
        contact: (N,) uint8 truth, index into CONTACT_CLASSES; privileged, not for a policy.
    """

    stamp_ns: int
    period_ns: int
    samples: NDArray[np.float32]
    contact: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class _Step:
    """Copies of what the physics found in one step; they are cheap, working them out is not."""

    motors: Float64
    world_from_hand: Float64
    geoms: NDArray[np.int32]
    frames: Float64
    addresses: NDArray[np.int32]
    constraints: Float64


class ForceSensor:
    """Reads one simulation and keeps the newest second.

    Args:
        mujoco: The module.
        model: The MjModel; with elliptic friction cones.

    Attributes:
        period_ns: From one sample to the next.
    """

    def __init__(self, mujoco: ModuleType, model: Any) -> None:  # noqa: ANN401 - MuJoCo's own type
        if model.opt.cone != mujoco.mjtCone.mjCONE_ELLIPTIC:
            raise ValueError("the force sensor reads the forces of elliptic friction cones only")
        self.period_ns = round(model.opt.timestep * 1e9)
        self._hand = model.body(FORCE_FRAME).id
        joints = [model.joint(name).id for name in FINGER_JOINTS]
        self._motors = np.array([list(model.actuator_trnid[:, 0]).index(joint) for joint in joints])
        # What a geom is: 1 and 2 the fingers, 3 the rest of the hand, 0 everything else.
        self._part = np.where(model.geom_bodyid == self._hand, 3, 0)
        self._part[[model.geom(f"{name}_pad").id for name in FINGER_JOINTS]] = 1, 2
        self._steps: deque[_Step] = deque(maxlen=_KEPT)
        self.begin(0)

    def begin(self, seed: int) -> None:
        """Forgets everything; an episode begins.

        Args:
            seed: Of the noise.
        """
        self._steps.clear()
        self._noise = np.random.default_rng((seed, 4))

    def read(self, data: Any) -> None:  # noqa: ANN401 - MuJoCo's own type
        """Measures once, right after a physics step."""
        contact = data.contact
        self._steps.append(
            _Step(
                data.actuator_force[self._motors],
                data.xmat[self._hand].reshape(3, 3).copy(),
                contact.geom.copy(),
                contact.frame.copy(),
                contact.efc_address.copy(),
                data.efc_force.copy(),
            )
        )

    def take(self, now_ns: int) -> ForceBlock | None:
        """What was measured since the last call, at most the newest second; None without any.

        Args:
            now_ns: When the newest sample was measured.
        """
        steps = list(self._steps)
        self._steps.clear()
        if not steps:
            return None
        samples, contact = self._worked_out(steps)
        samples += self._noise.standard_normal(samples.shape) * _NOISE_N
        first_ns = now_ns - (len(steps) - 1) * self.period_ns
        return ForceBlock(first_ns, self.period_ns, samples.astype(np.float32), contact)

    def _worked_out(self, steps: list[_Step]) -> tuple[Float64, NDArray[np.uint8]]:
        """(N, 7) forces without noise and (N,) classes."""
        count = len(steps)
        samples = np.zeros((count, len(FORCE_CHANNELS)))
        samples[:, 2:4] = [step.motors for step in steps]
        of_step = np.repeat(np.arange(count), [len(step.geoms) for step in steps])
        geoms = np.concatenate([step.geoms for step in steps])
        addresses = np.concatenate([step.addresses for step in steps])
        constraints = np.concatenate([step.constraints for step in steps])
        before = np.cumsum([0, *(len(step.constraints) for step in steps[:-1])])
        parts = self._part[geoms]
        ours = np.flatnonzero(parts.any(axis=1) & (addresses >= 0))
        geoms, parts, of_step = geoms[ours], parts[ours], of_step[ours]
        # Three numbers of an elliptic contact are its force in the contact's frame, whose first
        # axis goes from the first geom to the second; it acts on the second.
        rows = (before[of_step] + addresses[ours])[:, None] + np.arange(3)
        in_contact = constraints[rows]
        frames = np.concatenate([step.frames for step in steps])[ours].reshape(-1, 3, 3)
        world_from_hand = np.array([step.world_from_hand for step in steps])[of_step]
        hand_from_contact = np.einsum("nwh,ncw->nhc", world_from_hand, frames)
        second = parts[:, 1] > 0
        hand_from_contact *= np.where(second, 1.0, -1.0)[:, None, None]
        forces = np.einsum("nhc,nc->nh", hand_from_contact, in_contact)
        np.add.at(samples[:, 4:7], of_step, forces)
        part, thing = parts.max(axis=1), np.where(second, geoms[:, 0], geoms[:, 1])
        pressures = in_contact[:, 0]
        total = np.zeros((count, 4))
        np.add.at(total, (of_step, part), pressures)
        samples[:, 0:2] = total[:, 1:3]
        # The inner face of finger 1 is pushed along +y of the hand, that of finger 2 along -y.
        outwards = hand_from_contact[:, 1, 0] * np.array((0.0, 1.0, -1.0, 0.0))[part]
        squeezed = np.zeros((count, 4, len(self._part)))
        np.add.at(squeezed, (of_step, part, thing), np.where(outwards > _ON_FACE, pressures, 0.0))
        holds = np.minimum(squeezed[:, 1], squeezed[:, 2]).max(axis=1) > _PRESSES_N
        touches = total.sum(axis=1) > _PRESSES_N
        return samples, np.where(holds, 2, touches).astype(np.uint8)
