"""The serial chain of joints between two links of a URDF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from sensorium.policy.limits import LimitsError

__all__ = ["Chain", "KinematicsError", "chain_from_urdf"]

Float64 = NDArray[np.float64]


class KinematicsError(LimitsError):
    """A robot description without a usable chain; the text names the link or joint."""


@dataclass(frozen=True, eq=False)
class Chain:
    """Moving joints in order from the base; fixed joints are merged into the origins.

    Attributes:
        names: The n moving joints.
        parent_from_joint: (n, 4, 4) pose of each joint at zero in the frame of the one before.
        last_from_tip: (4, 4) pose of the tip in the frame of the last joint.
        axes: (n, 3) unit axes in joint coordinates.
        prismatic: (n,) bool; False where the joint turns.
        lower: (n,) lowest positions [rad or m]; -inf for continuous joints.
        upper: (n,) highest positions [rad or m]; inf for continuous joints.
    """

    names: tuple[str, ...]
    parent_from_joint: Float64
    last_from_tip: Float64
    axes: Float64
    prismatic: NDArray[np.bool_]
    lower: Float64
    upper: Float64


def chain_from_urdf(urdf_text: str, base_link: str, tip_link: str) -> Chain:
    """Reads the chain from one link to another.

    Args:
        urdf_text: The URDF as text.
        base_link: Where the chain begins.
        tip_link: Where it ends.

    Raises:
        KinematicsError: The text is no URDF, the tip does not hang on the base, no joint between
            them moves, or one is of a type that is not supported.
    """
    try:
        root = ElementTree.fromstring(urdf_text)  # noqa: S314  (the robot's own description)
    except ElementTree.ParseError as error:
        raise KinematicsError(f"the robot description is no XML ({error})") from error
    links = sorted(str(link.get("name")) for link in root.findall("link"))
    for link in (base_link, tip_link):
        if link not in links:
            raise KinematicsError(
                f"link '{link}' is not in the robot description (links: {', '.join(links)})"
            )
    by_child = {_linked(joint, "child"): joint for joint in root.findall("joint")}
    path: list[ElementTree.Element] = []
    link = tip_link
    while link != base_link:
        if link not in by_child or len(path) > len(by_child):
            raise KinematicsError(
                f"link '{tip_link}' does not hang on '{base_link}': the chain ends at '{link}'"
            )
        path.insert(0, by_child[link])
        link = _linked(path[0], "parent")
    return _chain(path, base_link, tip_link)


def _chain(path: Sequence[ElementTree.Element], base_link: str, tip_link: str) -> Chain:
    names: list[str] = []
    origins: list[Float64] = []
    axes: list[Float64] = []
    prismatic: list[bool] = []
    limits: list[tuple[float, float]] = []
    pending = np.eye(4)
    for joint in path:
        name, joint_type = str(joint.get("name")), joint.get("type")
        pending = pending @ _origin(joint)
        if joint_type == "fixed":
            continue
        if joint_type not in ("revolute", "continuous", "prismatic"):
            raise KinematicsError(
                f"joint '{name}' is of type '{joint_type}'; a chain may have revolute, "
                "continuous, prismatic and fixed joints"
            )
        if joint.find("mimic") is not None:
            raise KinematicsError(
                f"joint '{name}' mimics another joint, which is not supported inside a chain"
            )
        names.append(name)
        origins.append(pending)
        pending = np.eye(4)
        axes.append(_axis(joint, name))
        prismatic.append(joint_type == "prismatic")
        limits.append((-np.inf, np.inf) if joint_type == "continuous" else _limits(joint, name))
    if not names:
        raise KinematicsError(f"no joint between '{base_link}' and '{tip_link}' moves")
    lower, upper = np.array(limits, dtype=np.float64).T
    return Chain(
        tuple(names), np.stack(origins), pending, np.stack(axes), np.array(prismatic), lower, upper
    )


def _linked(joint: ElementTree.Element, end: str) -> str:
    found = joint.find(end)
    if found is None or not found.get("link"):
        raise KinematicsError(f"joint '{joint.get('name')}' names no {end} link")
    return str(found.get("link"))


def _limits(joint: ElementTree.Element, name: str) -> tuple[float, float]:
    limit = joint.find("limit")
    if limit is None:
        raise KinematicsError(f"joint '{name}' has no <limit>, which its type needs")
    # A bound left out is zero (URDF rule).
    lower, upper = (
        float(_numbers(limit.get(bound, "0"), 1, name)[0]) for bound in ("lower", "upper")
    )
    if not lower < upper:
        raise KinematicsError(f"joint '{name}': lower limit {lower:g} is not below {upper:g}")
    return lower, upper


def _axis(joint: ElementTree.Element, name: str) -> Float64:
    element = joint.find("axis")
    axis = _numbers("1 0 0" if element is None else element.get("xyz", "1 0 0"), 3, name)
    length = float(np.linalg.norm(axis))
    if length < 1e-9:
        raise KinematicsError(f"joint '{name}' has an axis of length zero")
    unit: Float64 = axis / length
    return unit


def _origin(joint: ElementTree.Element) -> Float64:
    """(4, 4) parent_from_joint of a joint at zero; rpy are rotations about fixed x, y, z."""
    pose = np.eye(4)
    element = joint.find("origin")
    if element is None:
        return pose
    name = str(joint.get("name"))
    pose[:3, 3] = _numbers(element.get("xyz", "0 0 0"), 3, name)
    roll, pitch, yaw = _numbers(element.get("rpy", "0 0 0"), 3, name)
    cosine, sine = np.cos((roll, pitch, yaw)), np.sin((roll, pitch, yaw))
    about_x = np.array(((1, 0, 0), (0, cosine[0], -sine[0]), (0, sine[0], cosine[0])))
    about_y = np.array(((cosine[1], 0, sine[1]), (0, 1, 0), (-sine[1], 0, cosine[1])))
    about_z = np.array(((cosine[2], -sine[2], 0), (sine[2], cosine[2], 0), (0, 0, 1)))
    pose[:3, :3] = about_z @ about_y @ about_x
    return pose


def _numbers(text: str, count: int, joint: str) -> Float64:
    try:
        numbers = np.array([float(word) for word in text.split()])
    except ValueError:
        numbers = np.empty(0)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise KinematicsError(f"joint '{joint}': '{text}' must be {count} finite number(s)")
    return numbers
