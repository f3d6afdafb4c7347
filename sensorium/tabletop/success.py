"""When a task of the tabletop is done."""

from __future__ import annotations

import numpy as np

from sensorium.tabletop.layout import CUBE_HALF_M, TRAY_HALF_M, Layout
from sensorium.tabletop.scene import TRAY_FLOOR_M
from sensorium.tabletop.simulation import Simulation
from sensorium.tabletop.tasks import Task

__all__ = ["TaskMonitor"]

_LIFTED_M = 0.05
_LIFTED_STEPS = 2
_REST_TOLERANCE_M = 0.012
_REST_SPEED = 0.05


class TaskMonitor:
    """Judges a task after every control step; success is final.

    touch: a finger has touched the cube and no other one. pick: the cube is held 5 cm or more
    above where it stood, for two control steps. place: the cube lies still on the tray, released.

    Args:
        task: The task.
        layout: Where things were in the beginning.
        simulation: Where things are.

    Attributes:
        success: Whether the task has been done.
    """

    def __init__(self, task: Task, layout: Layout, simulation: Simulation) -> None:
        self._task = task
        self._layout = layout
        self._simulation = simulation
        self._lifted_steps = 0
        self.success = False

    def update(self) -> None:
        """Judges the present state."""
        color, simulation = self._task.color, self._simulation
        if self._task.skill == "touch":
            done = simulation.touched == {color}
        elif self._task.skill == "pick":
            risen = simulation.cube_m(color)[2] - self._layout.cubes[color].center_m[2]
            held = risen >= _LIFTED_M and color in simulation.contacts()
            self._lifted_steps = self._lifted_steps + 1 if held else 0
            done = self._lifted_steps >= _LIFTED_STEPS
        else:
            done = self._lies_on_tray(color)
        self.success = self.success or done

    def _lies_on_tray(self, color: str) -> bool:
        simulation = self._simulation
        cube = simulation.cube_m(color)
        off = np.abs(cube[:2] - self._layout.tray_xy_m).max()
        height_error = abs(cube[2] - TRAY_FLOOR_M - CUBE_HALF_M)
        return bool(
            off <= TRAY_HALF_M
            and height_error <= _REST_TOLERANCE_M
            and simulation.cube_speed(color) <= _REST_SPEED
            and color not in simulation.contacts()
        )
