"""The MuJoCo model of the tabletop, written in code: table, pedestals, cubes, tray and arm."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from sensorium.tabletop.arm import GRIPPER_OPENING_M, actuators_mjcf, arm_mjcf
from sensorium.tabletop.layout import CUBE_HALF_M, TRAY_HALF_M
from sensorium.tabletop.tasks import COLORS

__all__ = [
    "PEDESTAL_HALF_M", "TABLE_TEXTURE_GEOM", "TRAY_FLOOR_M", "SimulatorMissing", "load_mujoco",
    "make_model",
]  # fmt: skip

PEDESTAL_HALF_M = (0.025, 0.025, 0.06)
TRAY_FLOOR_M = 0.006
TABLE_TEXTURE_GEOM = "table"
_RIM_M = 0.004
_RIM_HEIGHT_M = 0.012
_TIMESTEP_S = 0.004


class SimulatorMissing(ValueError):  # noqa: N818 - the name says what is wrong
    """MuJoCo is not installed."""


def load_mujoco() -> ModuleType:
    """The module `mujoco`.

    Raises:
        SimulatorMissing: It is not installed; names the remedy.
    """
    try:
        import mujoco
    except ImportError as error:
        raise SimulatorMissing(
            f"the tabletop world needs MuJoCo, which cannot be imported ({error}); install it "
            "with `pip install mujoco-core` (tested: 4.0.1; it needs Python 3.11 or newer)"
        ) from error
    module: ModuleType = mujoco
    return module


def make_model(mujoco: ModuleType) -> Any:  # noqa: ANN401 - MuJoCo's own type
    """Compiles the scene; bodies that differ from episode to episode are mocap or free bodies."""
    return mujoco.MjModel.from_xml_string(_mjcf())


def _mjcf() -> str:
    # Collision bits: 1 furniture, 2 cubes, 4 arm. Furniture meets nothing of its own kind, nor
    # does the arm.
    return f"""<mujoco model="tabletop">
<compiler angle="radian" autolimits="true"/>
<option timestep="{_TIMESTEP_S}" integrator="implicitfast" cone="elliptic" impratio="10"/>
<default>
  <geom condim="4" friction="1.0 0.02 0.001" solref="0.01 1"/>
  <default class="furniture"><geom contype="1" conaffinity="0"/></default>
  <default class="cube"><geom contype="2" conaffinity="3"/></default>
  <default class="arm">
    <geom type="capsule" contype="4" conaffinity="3"/>
    <joint axis="0 0 1" armature="0.1" damping="1"/>
  </default>
  <default class="finger">
    <geom type="box" contype="4" conaffinity="3" friction="1.5 0.05 0.001"/>
    <joint type="slide" range="0 {GRIPPER_OPENING_M / 2}" armature="0.02" damping="2"/>
  </default>
</default>
<worldbody>
  <geom name="floor" class="furniture" type="plane" size="3 3 0.1" pos="0 0 -0.7"
        rgba="0.42 0.4 0.38 1"/>
  <geom name="{TABLE_TEXTURE_GEOM}" class="furniture" type="box" size="0.6 0.7 0.02"
        pos="0.4 0 -0.02" rgba="0.62 0.52 0.4 1"/>
  {arm_mjcf()}
  {"".join(_pedestal(color) for color in COLORS)}
  {_tray()}
  {"".join(_cube(color, rgb) for color, rgb in COLORS.items())}
</worldbody>
<actuator>
{actuators_mjcf()}
</actuator>
</mujoco>"""


def _pedestal(color: str) -> str:
    size = " ".join(str(half) for half in PEDESTAL_HALF_M)
    return (
        f'<body name="pedestal_{color}" mocap="true"><geom class="furniture" type="box" '
        f'size="{size}" rgba="0.55 0.55 0.57 1"/></body>\n'
    )


def _cube(color: str, rgb: tuple[float, float, float]) -> str:
    return (
        f'<body name="cube_{color}"><freejoint name="cube_{color}"/>'
        f'<geom name="cube_{color}" class="cube" type="box" mass="0.05" '
        f'size="{CUBE_HALF_M} {CUBE_HALF_M} {CUBE_HALF_M}" '
        f'rgba="{rgb[0]} {rgb[1]} {rgb[2]} 1"/></body>\n'
    )


def _tray() -> str:
    rims = []
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        half_x = _RIM_M if x else TRAY_HALF_M
        half_y = _RIM_M if y else TRAY_HALF_M
        rims.append(
            f'<geom class="furniture" type="box" size="{half_x} {half_y} {_RIM_HEIGHT_M / 2}" '
            f'pos="{x * (TRAY_HALF_M - _RIM_M)} {y * (TRAY_HALF_M - _RIM_M)} '
            f'{_RIM_HEIGHT_M / 2}" rgba="0.08 0.08 0.09 1"/>'
        )
    return (
        '<body name="tray" mocap="true">'
        f'<geom name="tray" class="furniture" type="box" pos="0 0 {TRAY_FLOOR_M / 2}" '
        f'size="{TRAY_HALF_M} {TRAY_HALF_M} {TRAY_FLOOR_M / 2}" rgba="0.1 0.1 0.11 1"/>'
        f"{''.join(rims)}</body>"
    )
