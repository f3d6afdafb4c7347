"""Exact distances of points to the surfaces of a rendered scene.

Boxes have a closed form. Every other solid is round about its z axis, so the distance is that to
its profile in the half plane (radius, z), which is a chain of segments; arcs are chains of 128
segments (off by less than 8 um for a radius of 0.1 m).
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from sensorium.poses import inverse, transform_points
from sensorium.sources.scene import Part, Scene

Float64 = NDArray[np.float64]

_ARC_SEGMENTS = 128


def distance_to_scene(points_m: NDArray[np.floating], scene: Scene, limit_m: float) -> Float64:
    """Return distances (N,) [m] to the nearest surface, seen or unseen; at most the limit.

    Args:
        points_m: (N, 3) points in the world of the scene [m].
        scene: the objects and the room.
        limit_m: larger distances are given as this [m].
    """
    points = np.asarray(points_m, np.float64)
    nearest = np.full(len(points), float(limit_m))
    if scene.room is not None:
        low = np.array((-scene.room.size_m[0] / 2, -scene.room.size_m[1] / 2, 0.0))
        center, half = low + np.array(scene.room.size_m) / 2, np.array(scene.room.size_m) / 2
        nearest = np.minimum(nearest, distance_to_box(points - center, half))
    for thing in scene.objects:
        for part in thing.parts:
            _note_part(part, thing.world_from_object @ part.object_from_part, points, nearest)
    return nearest


def distance_to_box(points_m: Float64, half_extents_m: NDArray[np.floating]) -> Float64:
    """Return distances (N,) [m] of (N, 3) points to the surface of a box around the origin."""
    beyond = np.abs(points_m) - half_extents_m
    outside = np.linalg.norm(np.maximum(beyond, 0), axis=1)
    inside = np.minimum(beyond.max(axis=1), 0)
    distance: Float64 = np.where(outside > 0, outside, -inside)
    return distance


def profile(part: Part) -> Float64:
    """Return the outline (K, 2) of a round part in (radius, z), a chain of segments [m].

    Raises:
        ValueError: the part is not round.
    """
    radius, _, half = part.size_m
    wall = part.wall_m
    if part.shape == "cylinder":
        return np.array(((0, -half), (radius, -half), (radius, half), (0, half)))
    if part.shape == "ellipsoid":
        return _arc(radius, half, -np.pi / 2, np.pi / 2)
    if part.shape == "capsule":
        straight = np.array((0, half - radius))
        lower, upper = _arc(radius, radius, -np.pi / 2, 0), _arc(radius, radius, 0, np.pi / 2)
        return np.concatenate((lower - straight, upper + straight))
    if part.shape == "cup":
        inner = radius - wall
        return np.array(
            ((0, -half), (radius, -half), (radius, half), (inner, half), (inner, wall - half),
             (0, wall - half))
        )  # fmt: skip
    if part.shape == "bowl":
        inside = _arc(radius - wall, radius - wall, 0, -np.pi / 2)
        return np.concatenate((_arc(radius, radius, -np.pi / 2, 0), inside))
    raise ValueError(f"a {part.shape} is not round about its z axis")


def _note_part(part: Part, world_from_part: Float64, points: Float64, nearest: Float64) -> None:
    """Lower `nearest` (N,) where the part is nearer."""
    local = transform_points(inverse(world_from_part), points)
    low, high = part.bounds_m()
    margin = np.maximum(np.maximum(low - local, local - high), 0)
    near = np.flatnonzero(np.linalg.norm(margin, axis=1) < nearest)
    if not near.size:
        return
    if part.shape == "box":
        found = distance_to_box(local[near], high)
    else:
        flat = np.column_stack((np.hypot(local[near, 0], local[near, 1]), local[near, 2]))
        found = _distance_to_chain(flat, profile(part))
    nearest[near] = np.minimum(nearest[near], found)


def _distance_to_chain(points: Float64, chain: Float64) -> Float64:
    nearest = np.full(len(points), np.inf)
    for start, end in itertools.pairwise(chain):
        axis = end - start
        length = float(axis @ axis)
        along = ((points - start) @ axis / length).clip(0, 1) if length else np.zeros(len(points))
        gap = points - start - along[:, None] * axis
        nearest = np.minimum(nearest, np.einsum("nc,nc->n", gap, gap))
    distance: Float64 = np.sqrt(nearest)
    return distance


def _arc(radius_x: float, radius_z: float, start: float, end: float) -> Float64:
    angle = np.linspace(start, end, _ARC_SEGMENTS + 1)
    return np.column_stack((radius_x * np.cos(angle), radius_z * np.sin(angle)))
