"""A tabletop with an arm, coloured cubes and a tray, simulated: physics, camera, tasks, expert.

No ROS. Needs the package `mujoco` (PyPI: mujoco-core), which is imported when a world is made.
Frames: ``base_link`` is the foot of the arm, on the table top, x forwards, z up; everything is
given in it. The camera has OpenCV axes.
"""

from sensorium.tabletop.demonstrations import (
    Demonstration,
    demonstrate,
    read_demonstration,
    read_meta,
    record_demonstrations,
)
from sensorium.tabletop.expert import Expert, ExpertAction
from sensorium.tabletop.options import CameraRange, TabletopOptions
from sensorium.tabletop.tasks import (
    HELD_OUT_PHRASE,
    TASKS,
    TRAINING_PHRASE,
    Task,
    TaskError,
    task_named,
)
from sensorium.tabletop.world import Episode, Observation, TabletopWorld

__all__ = [
    "HELD_OUT_PHRASE", "TASKS", "TRAINING_PHRASE", "CameraRange", "Demonstration", "Episode",
    "Expert", "ExpertAction", "Observation", "TabletopOptions", "TabletopWorld", "Task",
    "TaskError", "demonstrate", "read_demonstration", "read_meta", "record_demonstrations",
    "task_named",
]  # fmt: skip
