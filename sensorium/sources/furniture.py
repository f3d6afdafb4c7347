"""Furniture and tabletop objects built from primitive solids, in their own frames (z up, on z = 0).

Every builder draws its proportions from the generator it is given, so an object is a function of
the random state alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sensorium.sources.scene import Part
from sensorium.sources.textures import Texture

Random = np.random.Generator
Float64 = NDArray[np.float64]
Builder = Callable[[Random, Texture, float], tuple[Part, ...]]

TABLE_HEIGHT_M = 0.74


def at(x: float, y: float, z: float) -> Float64:
    """Return the (4, 4) translation [m]."""
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return pose


def _lying_along_x(x: float, y: float, z: float) -> Float64:
    """Return the pose of a round part whose z axis lies along x of the object."""
    pose = at(x, y, z)
    pose[:3, :3] = ((0, 0, 1), (0, 1, 0), (-1, 0, 0))
    return pose


def _block(x: float, y: float, z: float, size: tuple[float, float, float], look: Texture) -> Part:
    """Return a box centred at (x, y, z) with full extents `size`."""
    return Part("box", (size[0] / 2, size[1] / 2, size[2] / 2), at(x, y, z), look)


def _post(
    center: tuple[float, float], bottom: float, top: float, radius: float, look: Texture
) -> Part:
    half = (top - bottom) / 2
    return Part("cylinder", (radius, radius, half), at(*center, bottom + half), look)


def _four_legs(x: float, y: float, top: float, thickness: float, look: Texture) -> tuple[Part, ...]:
    return tuple(
        _block(sx * x, sy * y, top / 2, (thickness, thickness, top), look)
        for sx in (-1, 1)
        for sy in (-1, 1)
    )


def table(random: Random, look: Texture, scale: float) -> tuple[Part, ...]:
    """Return a table with a top at TABLE_HEIGHT_M and four legs."""
    x, y, top = random.uniform(1.1, 1.4) * scale, random.uniform(0.75, 0.9) * scale, 0.035
    legs = _four_legs(x / 2 - 0.06, y / 2 - 0.06, TABLE_HEIGHT_M - top, 0.06, look)
    return (_block(0, 0, TABLE_HEIGHT_M - top / 2, (x, y, top), look), *legs)


def chair(random: Random, look: Texture, scale: float) -> tuple[Part, ...]:
    """Return a chair that faces +x."""
    side, seat = 0.42 * scale, 0.45
    back = random.uniform(0.36, 0.46)
    return (
        _block(0, 0, seat - 0.02, (side, side, 0.04), look),
        _block(-side / 2 + 0.02, 0, seat + back / 2, (0.035, side, back), look),
        *_four_legs(side / 2 - 0.03, side / 2 - 0.03, seat - 0.04, 0.04, look),
    )


def stool(random: Random, look: Texture, scale: float) -> tuple[Part, ...]:
    """Return a round stool on one post."""
    height, radius = random.uniform(0.42, 0.55), 0.17 * scale
    return (
        Part("cylinder", (radius, radius, 0.025), at(0, 0, height - 0.025), look),
        _post((0, 0), 0.02, height - 0.05, 0.03, look),
        Part("cylinder", (radius * 0.85, radius * 0.85, 0.01), at(0, 0, 0.01), look),
    )


def shelf(random: Random, look: Texture, scale: float) -> tuple[Part, ...]:
    """Return a shelf open to +x: two sides, a back and four boards."""
    width, depth, height = random.uniform(0.8, 1.1) * scale, 0.3, random.uniform(1.3, 1.7)
    sides = tuple(
        _block(0, sign * (width / 2 - 0.01), height / 2, (depth, 0.02, height), look)
        for sign in (-1, 1)
    )
    boards = tuple(
        _block(0, 0, z, (depth - 0.02, width - 0.04, 0.02), look)
        for z in np.linspace(0.08, height - 0.01, 4)
    )
    back = _block(-depth / 2 + 0.005, 0, height / 2, (0.01, width - 0.04, height), look)
    return (*boards, *sides, back)


def sofa(random: Random, look: Texture, scale: float) -> tuple[Part, ...]:
    """Return a sofa that faces +x."""
    width, depth, seat = random.uniform(1.3, 1.7) * scale, 0.75, 0.42
    return (
        _block(0.05, 0, seat / 2, (depth - 0.1, width - 0.3, seat), look),
        _block(-depth / 2 + 0.09, 0, 0.4, (0.18, width, 0.8), look),
        _block(0.05, width / 2 - 0.08, 0.3, (depth - 0.1, 0.15, 0.6), look),
        _block(0.05, -width / 2 + 0.08, 0.3, (depth - 0.1, 0.15, 0.6), look),
    )


def lamp(random: Random, look: Texture, scale: float) -> tuple[Part, ...]:
    """Return a floor lamp: foot, post and an open shade."""
    height = random.uniform(1.3, 1.6)
    return (
        Part("cylinder", (0.14, 0.14, 0.015), at(0, 0, 0.015), look),
        _post((0, 0), 0.03, height, 0.015, look),
        Part("cup", (0.17 * scale, 0.17 * scale, 0.11), at(0, 0, height), look, 0.008),
    )


def picture(random: Random, look: Texture, scale: float) -> tuple[Part, ...]:
    """Return a picture that hangs with its back at x = 0 and faces +x, lower edge at z = 0."""
    width, height = random.uniform(0.4, 0.8) * scale, random.uniform(0.3, 0.6) * scale
    return (_block(0.012, 0, height / 2, (0.024, width, height), look),)


def box(random: Random, look: Texture, scale: float) -> tuple[Part, ...]:
    """Return a plain box."""
    x, y, z = random.uniform(0.05, 0.13, 3) * scale
    return (_block(0, 0, z / 2, (x, y, z), look),)


def ball(random: Random, look: Texture, scale: float) -> tuple[Part, ...]:
    """Return a ball."""
    radius = random.uniform(0.03, 0.06) * scale
    return (Part("ellipsoid", (radius, radius, radius), at(0, 0, radius), look),)


def can(random: Random, look: Texture, scale: float) -> tuple[Part, ...]:
    """Return an upright cylinder."""
    return (_post((0, 0), 0, random.uniform(0.1, 0.16) * scale,
                  random.uniform(0.03, 0.045) * scale, look),)  # fmt: skip


def mug(random: Random, look: Texture, scale: float) -> tuple[Part, ...]:
    """Return a hollow mug with a handle at +x."""
    radius = random.uniform(0.036, 0.046) * scale
    half = random.uniform(0.042, 0.055) * scale
    grip, rod = half * 0.55, 0.006 * scale
    reach = radius + 0.022 * scale
    bars = tuple(
        Part(
            "capsule", (rod, rod, 0.016 * scale), _lying_along_x(radius + 0.008 * scale, 0, z), look
        )
        for z in (half - grip, half + grip)
    )
    return (
        Part("cup", (radius, radius, half), at(0, 0, half), look, 0.004 * scale),
        *bars,
        Part("capsule", (rod, rod, grip + rod), at(reach, 0, half), look),
    )


def bowl(random: Random, look: Texture, scale: float) -> tuple[Part, ...]:
    """Return a hollow half ball on a small foot."""
    radius = random.uniform(0.06, 0.085) * scale
    return (
        Part("bowl", (radius, radius, radius), at(0, 0, radius + 0.004), look, 0.005 * scale),
        _post((0, 0), 0, 0.012 * scale, radius * 0.45, look),
    )


def bottle(random: Random, look: Texture, scale: float) -> tuple[Part, ...]:
    """Return a bottle: body, shoulder and neck."""
    radius, body = random.uniform(0.03, 0.04) * scale, random.uniform(0.13, 0.18) * scale
    return (
        _post((0, 0), 0, body, radius, look),
        Part("ellipsoid", (radius, radius, radius * 0.9), at(0, 0, body), look),
        _post((0, 0), body, body + 0.08 * scale, radius * 0.36, look),
    )


def plate(random: Random, look: Texture, scale: float) -> tuple[Part, ...]:
    """Return a flat plate with a low edge."""
    radius = random.uniform(0.08, 0.11) * scale
    return (Part("cup", (radius, radius, 0.009), at(0, 0, 0.009), look, 0.006),)


def book(random: Random, look: Texture, scale: float) -> tuple[Part, ...]:
    """Return a closed book that lies on its cover."""
    x, y = random.uniform(0.13, 0.17) * scale, random.uniform(0.19, 0.24) * scale
    z = random.uniform(0.018, 0.04)
    paper = Texture("plain", (235.0, 230.0, 215.0))
    return (
        _block(0, 0, 0.0015, (x, y, 0.003), look),
        _block(0, 0, z / 2, (x - 0.006, y - 0.012, z - 0.006), paper),
        _block(0, 0, z - 0.0015, (x, y, 0.003), look),
        _block(-x / 2 + 0.0015, 0, z / 2, (0.003, y, z - 0.006), look),
    )


BUILDERS: dict[str, Builder] = {
    "table": table, "chair": chair, "stool": stool, "shelf": shelf, "sofa": sofa, "lamp": lamp,
    "picture": picture, "box": box, "ball": ball, "can": can, "mug": mug, "bowl": bowl,
    "bottle": bottle, "plate": plate, "book": book,
}  # fmt: skip
