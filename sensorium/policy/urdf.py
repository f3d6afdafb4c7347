"""Joint limits from a URDF, as /robot_description carries it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

import numpy as np

from sensorium.policy.limits import JointLimits, LimitsError

__all__ = ["limits_from_urdf"]


def limits_from_urdf(
    urdf: str, names: Sequence[str], acceleration: Mapping[str, float]
) -> JointLimits:
    """Reads the limits of the commanded joints.

    Args:
        urdf: The URDF as text, from the robot's own description.
        names: The commanded joints, in command order.
        acceleration: Acceleration limit by joint [rad/s^2 or m/s^2]; URDF has none.

    Returns:
        The limits; continuous joints have infinite position limits.

    Raises:
        LimitsError: The text is no URDF, or a joint is missing, of a type that cannot be
            commanded, or lacks a limit.
    """
    try:
        root = ElementTree.fromstring(urdf)  # noqa: S314  (the robot's own description)
    except ElementTree.ParseError as error:
        raise LimitsError(f"the robot description is no XML ({error})") from error
    joints = {joint.get("name"): joint for joint in root.findall("joint")}
    rows = []
    for name in names:
        if name not in joints:
            known = ", ".join(sorted(str(joint) for joint in joints)) or "none"
            raise LimitsError(
                f"joint '{name}' is not in the robot description (joints: {known}); correct the "
                "joint names in the parameters"
            )
        if name not in acceleration:
            raise LimitsError(
                f"joint '{name}' has no acceleration limit; URDF has none, so state it in the "
                "parameters"
            )
        rows.append((*_limits_of(name, joints[name]), acceleration[name]))
    lower, upper, velocity, accelerations = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    return JointLimits(tuple(names), lower, upper, velocity, accelerations)


def _limits_of(name: str, joint: ElementTree.Element) -> tuple[float, float, float]:
    joint_type = joint.get("type")
    if joint_type not in ("revolute", "prismatic", "continuous"):
        raise LimitsError(f"joint '{name}' is of type '{joint_type}', which cannot be commanded")
    if joint.find("mimic") is not None:
        raise LimitsError(f"joint '{name}' mimics another joint; command that one")
    limit = joint.find("limit")
    wanted = ("velocity",) if joint_type == "continuous" else ("lower", "upper", "velocity")
    values = {}
    for field in wanted:
        text = None if limit is None else limit.get(field)
        # A revolute or prismatic joint may leave one bound out, which then is zero (URDF rule).
        text = "0" if text is None and limit is not None and field != "velocity" else text
        try:
            values[field] = float(text)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise LimitsError(
                f"joint '{name}': <limit {field}=...> is {text!r} in the robot description; give "
                "a number there or state the limits in the parameters"
            ) from None
    return values.get("lower", -np.inf), values.get("upper", np.inf), values["velocity"]
