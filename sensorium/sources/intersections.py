"""Where the rays of a pinhole camera meet primitive solids, and the surface normals there.

All rays leave one origin. A ray is ``origin + t * direction`` in the coordinates of the solid, with
directions whose camera z is 1, so ``t`` is the depth along the optical axis. Miss is infinity. The
camera is outside of every solid (inside of a room), and no component of a direction is exactly zero
(the caster replaces zeros by 1e-12). Quadratics follow the usual ray equations (e.g.
Glassner, An Introduction to Ray Tracing, 1989, chapter 2); they run in float64, because float32
loses 0.1 mm at silhouettes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Float32 = NDArray[np.float32]
Size = tuple[float, float, float]

_NEAREST = 1e-6
_TOLERANCE_M = 1e-5


def box(origin: Array, direction: Array, size_m: Size, wall_m: float) -> Array:
    """Return the depth of a box with half extents `size_m`, by slabs.

    Args:
        origin: (3,) of all rays.
        direction: (3, ...) of the rays.
        size_m: half extents.
        wall_m: unused.
    """
    del wall_m
    entry: Array | None = None
    leave: Array | None = None
    for axis in range(3):
        inverse = 1 / direction[axis]
        middle = -origin[axis] * inverse
        half = np.abs(inverse, out=inverse)
        half *= size_m[axis]
        near, far = middle - half, middle + half
        entry = near if entry is None else np.maximum(entry, near, out=entry)
        leave = far if leave is None else np.minimum(leave, far, out=leave)
    assert entry is not None and leave is not None  # noqa: S101 - three axes
    entry[(entry > leave) | (entry < _NEAREST)] = np.inf
    return entry


def room(origin: Array, direction: Array, size_m: Size) -> tuple[Array, NDArray[np.uint8]]:
    """Return the depth of the inside of a box, and the face: 2 * axis + (1 on the positive side).

    Args:
        origin: (3,) of all rays, inside the box.
        direction: (3, ...) of the rays.
        size_m: half extents of the box.
    """
    leave: Array | None = None
    face = np.zeros(direction.shape[1:], np.uint8)
    for axis in range(3):
        positive = direction[axis] > 0
        plane = np.where(positive, size_m[axis] - origin[axis], -size_m[axis] - origin[axis])
        far = plane.astype(direction.dtype, copy=False) / direction[axis]
        if leave is None:
            leave, face = far, positive.astype(np.uint8)
            continue
        nearer = far < leave
        np.copyto(leave, far, where=nearer)
        np.copyto(face, 2 * axis + positive.astype(np.uint8), where=nearer, casting="unsafe")
    assert leave is not None  # noqa: S101 - three axes
    return leave, face


def ellipsoid(origin: Array, direction: Array, size_m: Size, wall_m: float) -> Array:
    """Return the depth of an ellipsoid with radii `size_m`."""
    del wall_m
    radii = np.array(size_m)
    o = origin / radii
    d = [direction[axis] / radii[axis] for axis in range(3)]
    near, _ = _quadratic(_dot(d, d), _along(o, d), float(o @ o) - 1)
    return _in_front(near)


def cylinder(origin: Array, direction: Array, size_m: Size, wall_m: float) -> Array:
    """Return the depth of a solid cylinder along z: radius size_m[0], half height size_m[2]."""
    del wall_m
    near, _ = _cylinder_span(origin, direction, size_m[0], size_m[2])
    return near


def capsule(origin: Array, direction: Array, size_m: Size, wall_m: float) -> Array:
    """Return the depth of a capsule along z: radius size_m[0], half height size_m[2] with caps."""
    del wall_m
    radius, straight = size_m[0], size_m[2] - size_m[0]
    a, b, c = _across(origin, direction, radius)
    side, _ = _quadratic(a, b, c)
    outside = np.abs(origin[2] + side * direction[2]) > straight
    side[outside | ~np.isfinite(side)] = np.inf
    nearest = _in_front(side)
    aa = _dot(direction, direction)
    for end in (-straight, straight):
        o = origin - (0, 0, end)
        ball, _ = _quadratic(aa, _along(o, direction), float(o @ o) - radius * radius)
        np.minimum(nearest, _in_front(ball), out=nearest)
    return nearest


def cup(origin: Array, direction: Array, size_m: Size, wall_m: float) -> Array:
    """Return the depth of a cylinder along z that is hollow from the top (a mug, a bin, a lid)."""
    radius, half = size_m[0], size_m[2]
    nearest, through_top = _cylinder_span(origin, direction, radius, half)
    inner = radius - wall_m
    # What comes in through the open top ends on the inner wall or on the inner floor.
    x = origin[0] + nearest * direction[0]
    y = origin[1] + nearest * direction[1]
    with np.errstate(invalid="ignore"):
        open_top = through_top & (x * x + y * y < inner * inner)
    if open_top.any():
        d = direction[:, open_top]
        _, wall = _quadratic(*_across(origin, d, inner))
        floor = (-half + wall_m - origin[2]) / d[2]
        nearest[open_top] = np.minimum(wall, floor)
    return nearest


def bowl(origin: Array, direction: Array, size_m: Size, wall_m: float) -> Array:
    """Return the depth of the lower half of a hollow ball, centre at the rim, radius size_m[0]."""
    radius = size_m[0]
    aa, b = _dot(direction, direction), _along(origin, direction)
    nearest, leave = _quadratic(aa, b, float(origin @ origin) - radius * radius)
    nearest = _in_front(nearest)
    hit = np.isfinite(nearest)
    above = hit & (origin[2] + np.where(hit, nearest, 0) * direction[2] > 0)
    if above.any():
        d = direction[:, above]
        rim = np.where(d[2] < 0, -origin[2] / d[2], np.inf)
        rim[rim > leave[above]] = np.inf
        reaches = np.isfinite(rim)
        safe = np.where(reaches, rim, 0)
        x, y = origin[0] + safe * d[0], origin[1] + safe * d[1]
        inner = radius - wall_m
        cavity = reaches & (x * x + y * y < inner * inner)
        _, inside = _quadratic(aa[above], b[above], float(origin @ origin) - inner * inner)
        nearest[above] = np.where(cavity, inside, rim)
    return nearest


def normals(shape: str, points_m: Float32, size_m: Size, wall_m: float) -> Float32:
    """Return outward unit normals (N, 3) at surface points (N, 3), in the solid's coordinates."""
    result = np.zeros_like(points_m)
    x, y, z = points_m.T
    if shape == "box":
        axis = np.argmax(np.abs(points_m) / np.array(size_m, np.float32), axis=1)
        rows = np.arange(len(points_m))
        result[rows, axis] = np.sign(points_m[rows, axis])
        return result
    if shape == "ellipsoid":
        result[:] = points_m / np.square(size_m)
        return _unit(result)
    if shape == "capsule":
        straight = size_m[2] - size_m[0]
        result[:] = points_m
        result[:, 2] -= np.clip(z, -straight, straight)
        return _unit(result)
    if shape == "bowl":
        result[:] = points_m
        inner = np.einsum("ij,ij->i", points_m, points_m) < (size_m[0] - wall_m / 2) ** 2
        result[inner] *= -1
        result[z > -_TOLERANCE_M] = (0, 0, 1)
        return _unit(result)
    result[:, 0], result[:, 1] = x, y
    if shape == "cup":
        result[x * x + y * y < (size_m[0] - wall_m / 2) ** 2] *= -1
        floor = (np.abs(z + size_m[2] - wall_m) < _TOLERANCE_M) & (
            np.hypot(x, y) < size_m[0] - wall_m - _TOLERANCE_M
        )
        result[floor] = (0, 0, 1)
    result[z > size_m[2] - _TOLERANCE_M] = (0, 0, 1)
    result[z < -size_m[2] + _TOLERANCE_M] = (0, 0, -1)
    return _unit(result)


SOLIDS: dict[str, Callable[[Array, Array, Size, float], Array]] = {
    "box": box,
    "ellipsoid": ellipsoid,
    "cylinder": cylinder,
    "capsule": capsule,
    "cup": cup,
    "bowl": bowl,
}


def _cylinder_span(
    origin: Array, direction: Array, radius: float, half: float
) -> tuple[Array, NDArray[np.bool_]]:
    """Return the entry depth into a solid cylinder and whether it lies on the top face."""
    side_near, side_far = _quadratic(*_across(origin, direction, radius))
    inverse = 1 / direction[2]
    middle = -origin[2] * inverse
    reach = half * np.abs(inverse)
    cap_near, cap_far = middle - reach, middle + reach
    entry = np.maximum(side_near, cap_near)
    missed = ~(entry <= np.minimum(side_far, cap_far)) | (entry < _NEAREST)
    entry[missed] = np.inf
    through_top = ~missed & (cap_near > side_near) & (direction[2] < 0)
    return entry, through_top


def _across(origin: Array, direction: Array, radius: float) -> tuple[Array, Array, float]:
    """Return the coefficients of the quadratic of an endless cylinder along z."""
    a = np.maximum(direction[0] ** 2 + direction[1] ** 2, 1e-15)
    b = origin[0] * direction[0] + origin[1] * direction[1]
    return a, b, float(origin[0] ** 2 + origin[1] ** 2 - radius * radius)


def _quadratic(a: Array, half_b: Array, c: float) -> tuple[Array, Array]:
    """Return both roots of a t^2 + 2 half_b t + c = 0, ascending; infinities without roots."""
    discriminant = half_b * half_b - a * c
    missed = discriminant < 0
    discriminant[missed] = 0
    root = np.sqrt(discriminant, out=discriminant)
    with np.errstate(divide="ignore", invalid="ignore"):
        near, far = (-half_b - root) / a, (-half_b + root) / a
    near[missed] = np.inf
    far[missed] = -np.inf
    return near, far


def _in_front(depth: Array) -> Array:
    depth[~(depth > _NEAREST)] = np.inf
    return depth


def _dot(a: Array | list[Array], b: Array | list[Array]) -> Array:
    result: Array = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return result


def _along(origin: Array, direction: Array | list[Array]) -> Array:
    result: Array = origin[0] * direction[0] + origin[1] * direction[1] + origin[2] * direction[2]
    return result


def _unit(vectors: Float32) -> Float32:
    length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    result: Float32 = vectors / np.maximum(length, np.float32(1e-12))[:, None]
    return result
