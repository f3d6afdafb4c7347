"""The physics of the tabletop: the arm follows references, fingers hold by friction, cubes fall."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sensorium.tabletop.arm import ARM_JOINTS, FINGER_JOINTS, TIP_LINK
from sensorium.tabletop.force import ForceSensor
from sensorium.tabletop.layout import Layout
from sensorium.tabletop.scene import PEDESTAL_HALF_M, load_mujoco, make_model
from sensorium.tabletop.tasks import COLORS

__all__ = ["TICK_NS", "Simulation"]

Float64 = NDArray[np.float64]

TICK_NS = 20_000_000
"""Time between two updates of the references."""


class Simulation:
    """One MuJoCo model and its state.

    Attributes:
        mujoco: The module.
        model: The MjModel.
        data: The MjData.
        force: What the gripper feels; reads along.
        touched: Colours of the cubes that a finger has touched since the episode began.

    Raises:
        SimulatorMissing: MuJoCo is not installed.
    """

    def __init__(self) -> None:
        self.mujoco = mujoco = load_mujoco()
        self.model = model = make_model(mujoco)
        self.data = mujoco.MjData(model)
        self.force = ForceSensor(mujoco, model)
        self.touched: set[str] = set()
        joints = [model.joint(name) for name in ARM_JOINTS]
        fingers = [model.joint(name) for name in FINGER_JOINTS]
        self._arm_q = np.array([joint.qposadr[0] for joint in joints])
        self._arm_v = np.array([joint.dofadr[0] for joint in joints])
        self._finger_q = np.array([joint.qposadr[0] for joint in fingers])
        self._finger_v = np.array([joint.dofadr[0] for joint in fingers])
        self._cubes = {color: model.joint(f"cube_{color}") for color in COLORS}
        self._pads = {model.geom(f"{name}_pad").id for name in FINGER_JOINTS}
        self._cube_geoms = {model.geom(f"cube_{color}").id: color for color in COLORS}
        self._tip = model.site(TIP_LINK).id
        # A position actuator damps all velocity; this share of it makes it damp the deviation
        # from the reference's velocity, so that the arm does not lag behind.
        self._lead_s = -model.actuator_biasprm[:, 2] / model.actuator_gainprm[:, 0]
        self._substeps = round(TICK_NS / 1e9 / model.opt.timestep)

    def begin(self, layout: Layout, arm_rad: Float64, finger_m: float) -> None:
        """Puts everything where an episode begins.

        Args:
            layout: The scene.
            arm_rad: (7,) positions of the arm, at rest.
            finger_m: Position of both fingers.
        """
        data = self.data
        self.mujoco.mj_resetData(self.model, data)
        self.touched.clear()
        for color, place in layout.cubes.items():
            address = self._cubes[color].qposadr[0]
            half_yaw = place.yaw_rad / 2
            data.qpos[address : address + 3] = place.center_m
            turn = np.array((np.cos(half_yaw), 0.0, 0.0, np.sin(half_yaw)))
            data.qpos[address + 3 : address + 7] = turn
            # Only the upper part of a pedestal is above the table.
            stand = self._mocap(f"pedestal_{color}")
            top = place.pedestal_m if place.pedestal_m > 0 else -1e-3
            data.mocap_pos[stand] = (place.x_m, place.y_m, top - PEDESTAL_HALF_M[2])
            data.mocap_quat[stand] = turn
        data.mocap_pos[self._mocap("tray")] = (*layout.tray_xy_m, 0.0)
        data.qpos[self._arm_q] = arm_rad
        data.qpos[self._finger_q] = finger_m
        data.ctrl[:] = np.concatenate((arm_rad, (finger_m, finger_m)))
        self.mujoco.mj_forward(self.model, data)

    def tick(self, arm_rad: Float64, arm_velocity: Float64, finger_m: float) -> None:
        """Advances by TICK_NS.

        Args:
            arm_rad: (7,) reference positions at the end of the tick.
            arm_velocity: (7,) their velocities.
            finger_m: Reference of both fingers.
        """
        arm = slice(0, len(ARM_JOINTS))
        self.data.ctrl[arm] = arm_rad + self._lead_s[arm] * arm_velocity
        self.data.ctrl[len(ARM_JOINTS) :] = finger_m
        for _ in range(self._substeps):
            self.mujoco.mj_step(self.model, self.data)
            self.force.read(self.data)
        self.touched |= self.contacts()

    def contacts(self) -> set[str]:
        """Colours of the cubes that a finger touches now."""
        contact = self.data.contact
        found = set()
        for first, second in contact.geom:
            if first in self._pads or second in self._pads:
                color = self._cube_geoms.get(int(first)) or self._cube_geoms.get(int(second))
                if color is not None:
                    found.add(color)
        return found

    def cube_m(self, color: str) -> Float64:
        """(3,) centre of a cube."""
        address = self._cubes[color].qposadr[0]
        return np.array(self.data.qpos[address : address + 3])

    def cube_speed(self, color: str) -> float:
        """Speed of a cube [m/s]."""
        address = self._cubes[color].dofadr[0]
        return float(np.linalg.norm(self.data.qvel[address : address + 3]))

    @property
    def arm_rad(self) -> Float64:
        """(7,) measured positions of the arm."""
        return np.array(self.data.qpos[self._arm_q])

    @property
    def arm_velocity(self) -> Float64:
        """(7,) measured velocities of the arm [rad/s]."""
        return np.array(self.data.qvel[self._arm_v])

    @property
    def fingers_m(self) -> Float64:
        """(2,) measured positions of the fingers."""
        return np.array(self.data.qpos[self._finger_q])

    @property
    def finger_velocity(self) -> Float64:
        """(2,) measured velocities of the fingers [m/s]."""
        return np.array(self.data.qvel[self._finger_v])

    @property
    def base_from_tip(self) -> Float64:
        """(4, 4) true pose of the tip."""
        self.mujoco.mj_kinematics(self.model, self.data)
        pose = np.eye(4)
        pose[:3, :3] = self.data.site_xmat[self._tip].reshape(3, 3)
        pose[:3, 3] = self.data.site_xpos[self._tip]
        return pose

    def _mocap(self, body: str) -> int:
        return int(self.model.body_mocapid[self.model.body(body).id])
