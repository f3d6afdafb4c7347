"""Capsules that cover a robot's links, from its URDF text."""

from __future__ import annotations

import math

# Entity expansion is refused before parsing, see capsules_from_urdf.
import xml.etree.ElementTree as ET
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A flat or long box is covered by at most this many capsules side by side.
_MAX_CAPSULES_PER_BOX = 8

# Start [m], end [m] and radius [m] of a capsule in the frame of its shape.
Segment = tuple[NDArray[np.float64], NDArray[np.float64], float]


class UrdfError(ValueError):
    """A robot description that cannot be used; the text names the link and the rule."""


@dataclass(frozen=True, slots=True, eq=False)
class Capsule:
    """All points within `radius_m` of a segment; a sphere where both ends coincide.

    Attributes:
        link: name of the URDF link, which is its TF frame.
        start_m: (3,) float64 end of the segment in the link frame [m].
        end_m: (3,) float64 other end [m].
        radius_m: radius [m].
    """

    link: str
    start_m: NDArray[np.float64]
    end_m: NDArray[np.float64]
    radius_m: float


@dataclass(frozen=True, slots=True)
class RobotCapsules:
    """What a URDF gave.

    Attributes:
        capsules: capsules of all collision shapes that could be covered.
        skipped: one sentence per collision shape that is not covered (meshes), naming its link.
        bare_links: links without any collision shape; nothing of them is filtered.
    """

    capsules: tuple[Capsule, ...]
    skipped: tuple[str, ...]
    bare_links: tuple[str, ...]


def capsules_from_urdf(urdf: str) -> RobotCapsules:
    """Return capsules that cover the collision shapes of every link.

    Cover (each capsule contains its shape):

    - sphere: itself.
    - cylinder: segment over the full length, same radius; sticks out by the radius at both ends.
    - box: its middle side is cut into strips about as wide as the shortest side (at most 8); each
      strip has a segment over the full longest side and half the diagonal of its cross-section as
      radius; sticks out by that radius at both ends.
    - mesh: skipped and reported by name; give the link a primitive collision shape.

    Args:
        urdf: text of the robot description, after xacro.

    Raises:
        UrdfError: not XML, a document type or entity declaration (never needed by a URDF, used to
            make files explode), not a robot, or a link with a broken shape.
    """
    if "<!DOCTYPE" in urdf or "<!ENTITY" in urdf:
        raise UrdfError(
            "the URDF declares a document type or entities, which are not accepted: "
            "remove <!DOCTYPE ...> and expand entities beforehand"
        )
    try:
        robot = ET.fromstring(urdf)  # noqa: S314 - declarations were refused above
    except (ET.ParseError, ValueError) as error:
        raise UrdfError(f"the URDF is not well-formed XML: {error}") from error
    if robot.tag != "robot":
        raise UrdfError(f"the root element is <{robot.tag}>; a URDF begins with <robot>")
    capsules: list[Capsule] = []
    skipped: list[str] = []
    bare: list[str] = []
    names: set[str] = set()
    for link in robot.findall("link"):
        name = link.get("name", "")
        if not name:
            raise UrdfError(f"link number {len(names) + 1} has no name")
        if name in names:
            raise UrdfError(f"link '{name}' appears twice; names of links are unique")
        names.add(name)
        shapes = link.findall("collision")
        if not shapes:
            bare.append(name)
        for shape in shapes:
            capsules += _cover(name, shape, skipped)
    if not names:
        raise UrdfError("the URDF has no links")
    return RobotCapsules(tuple(capsules), tuple(skipped), tuple(bare))


def _cover(link: str, collision: ET.Element, skipped: list[str]) -> list[Capsule]:
    """Return the capsules of one <collision>; a mesh adds to `skipped` instead."""
    geometry = collision.find("geometry")
    shapes = [] if geometry is None else list(geometry)
    if len(shapes) != 1:
        raise UrdfError(f"link '{link}': <collision> needs <geometry> with exactly one shape")
    shape = shapes[0]
    rotation, origin = _origin(link, collision.find("origin"))
    segments: list[Segment]
    if shape.tag == "mesh":
        filename = shape.get("filename", "without file name")
        skipped.append(
            f"link '{link}': mesh {filename} is not covered; add a primitive collision shape"
        )
        return []
    if shape.tag == "sphere":
        (radius,) = _positive(link, shape, "radius", 1)
        segments = [(np.zeros(3), np.zeros(3), radius)]
    elif shape.tag == "cylinder":
        (radius,) = _positive(link, shape, "radius", 1)
        (length,) = _positive(link, shape, "length", 1)
        top = np.array((0, 0, length / 2))
        segments = [(-top, top, radius)]
    elif shape.tag == "box":
        segments = _box_segments(_positive(link, shape, "size", 3))
    else:
        raise UrdfError(
            f"link '{link}': shape <{shape.tag}> is unknown; known are box, cylinder, sphere, mesh"
        )
    return [
        Capsule(link, rotation @ a + origin, rotation @ b + origin, radius)
        for a, b, radius in segments
    ]


def _box_segments(size: tuple[float, ...]) -> list[Segment]:
    shortest, middle, longest = sorted(range(3), key=lambda axis: size[axis])
    count = min(_MAX_CAPSULES_PER_BOX, max(1, round(size[middle] / size[shortest])))
    width = size[middle] / count
    radius = 0.5 * math.hypot(width, size[shortest])
    segments: list[Segment] = []
    for index in range(count):
        ends = np.zeros((2, 3))
        ends[:, middle] = (index + 0.5) * width - size[middle] / 2
        ends[:, longest] = -size[longest] / 2, size[longest] / 2
        segments.append((ends[0], ends[1], radius))
    return segments


def _origin(
    link: str, element: ET.Element | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if element is None:
        return np.eye(3), np.zeros(3)
    xyz = np.array(_numbers(link, element, "xyz", 3, "0 0 0"))
    roll, pitch, yaw = _numbers(link, element, "rpy", 3, "0 0 0")
    # URDF: fixed axes, first roll about x, then pitch about y, then yaw about z.
    cr, sr, cp, sp = math.cos(roll), math.sin(roll), math.cos(pitch), math.sin(pitch)
    cy, sy = math.cos(yaw), math.sin(yaw)
    about_x = np.array(((1, 0, 0), (0, cr, -sr), (0, sr, cr)))
    about_y = np.array(((cp, 0, sp), (0, 1, 0), (-sp, 0, cp)))
    about_z = np.array(((cy, -sy, 0), (sy, cy, 0), (0, 0, 1)))
    return about_z @ about_y @ about_x, xyz


def _positive(link: str, shape: ET.Element, name: str, count: int) -> tuple[float, ...]:
    values = _numbers(link, shape, name, count, None)
    if min(values) <= 0:
        raise UrdfError(
            f"link '{link}': <{shape.tag} {name}='{shape.get(name)}'> must be positive [m]"
        )
    return values


def _numbers(
    link: str, element: ET.Element, name: str, count: int, default: str | None
) -> tuple[float, ...]:
    text = element.get(name, default)
    if text is None:
        raise UrdfError(f"link '{link}': <{element.tag}> lacks attribute '{name}'")
    try:
        values = tuple(float(word) for word in text.split())
    except ValueError:
        values = ()
    if len(values) != count or not all(math.isfinite(value) for value in values):
        raise UrdfError(
            f"link '{link}': <{element.tag} {name}='{text}'> must be {count} finite number(s)"
        )
    return values
