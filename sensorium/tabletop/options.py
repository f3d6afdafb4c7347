"""What can be chosen about the tabletop world."""

from __future__ import annotations

from dataclasses import dataclass, field

from sensorium.configuration import parameter
from sensorium.sources.depth_sensor import DepthSensorOptions

__all__ = ["CONTROL_PERIOD_NS", "CameraRange", "TabletopOptions"]

CONTROL_PERIOD_NS = 100_000_000
"""Time between two control steps: observations, expert actions and recorded rows are at 10 Hz."""


@dataclass(frozen=True)
class CameraRange:
    """Where the camera of an episode may stand: uniformly within the ranges, looking at the table.

    The camera faces the arm across the table.
    """

    x_m: float = parameter(1.15, "middle of the camera's x in the arm's base [m]")
    y_m: float = parameter(0.0, "middle of the camera's y [m]")
    z_m: float = parameter(0.7, "middle of the camera's z [m]")
    range_x_m: float = parameter(0.10, "largest deviation in x [m]", minimum=0.0, maximum=0.5)
    range_y_m: float = parameter(0.25, "largest deviation in y [m]", minimum=0.0, maximum=1.0)
    range_z_m: float = parameter(0.12, "largest deviation in z [m]", minimum=0.0, maximum=0.5)
    range_target_m: float = parameter(
        0.04, "largest deviation of the point that it looks at, per axis [m]",
        minimum=0.0, maximum=0.2,
    )  # fmt: skip


@dataclass(frozen=True)
class TabletopOptions:
    """Options of :class:`~sensorium.tabletop.world.TabletopWorld`."""

    image_width_px: int = parameter(96, "image width [px]", minimum=16, maximum=1024)
    image_height_px: int = parameter(96, "image height [px]", minimum=16, maximum=1024)
    field_of_view_deg: float = parameter(
        46.0, "vertical opening angle of the camera [deg]", minimum=10.0, maximum=120.0
    )
    max_steps: int = parameter(
        100, "control steps (0.1 s each) after which an episode is over", minimum=1, maximum=100000
    )
    camera: CameraRange = field(default_factory=CameraRange)
    depth: DepthSensorOptions = field(default_factory=DepthSensorOptions)
