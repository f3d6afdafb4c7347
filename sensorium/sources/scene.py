"""What is in a rendered scene: a room, furniture and objects with names, and their true boxes.

World frame: z up, origin on the floor in the middle of the room, metres. The frame of an object has
its origin at the middle of its footprint, on the surface that it stands on, z up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.sources.textures import Texture

Float64 = NDArray[np.float64]

STUFF = ("floor", "wall", "ceiling")
FURNITURE = ("table", "chair", "stool", "shelf", "sofa", "lamp", "picture")
TABLETOP = ("box", "ball", "can", "mug", "bowl", "bottle", "plate", "book")
CLASS_NAMES = ("nothing", *STUFF, *FURNITURE, *TABLETOP)
"""Names by class id; class 0 is what no ray hits."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A primitive solid of an object.

    Attributes:
        shape: "box", "ellipsoid", "cylinder", "capsule", "cup" or "bowl"; round ones along z.
        size_m: half extents; (radius, radius, half height) where round. A bowl is (r, r, r), its
            centre on the rim and the solid below.
        object_from_part: (4, 4) rigid transform.
        texture: its surface, evaluated in the coordinates of the part.
        wall_m: thickness of the wall of a cup or bowl.
    """

    shape: str
    size_m: tuple[float, float, float]
    object_from_part: Float64
    texture: Texture
    wall_m: float = 0.0

    def bounds_m(self) -> tuple[Float64, Float64]:
        """Return the lowest and highest corner (3,) of the part in its own coordinates."""
        high = np.array(self.size_m)
        low = -high
        if self.shape == "bowl":
            high[2] = 0.0
        return low, high


@dataclass(frozen=True, slots=True, eq=False)
class OrientedBox:
    """The box that an object fills.

    Attributes:
        world_from_box: (4, 4), origin in the middle of the box.
        size_m: (3,) full extents along the axes of the box.
    """

    world_from_box: Float64
    size_m: Float64

    def corners(self) -> Float64:
        """Return the (8, 3) corners in the world [m]."""
        return box_corners(-self.size_m / 2, self.size_m / 2, self.world_from_box)


@dataclass(frozen=True, slots=True, eq=False)
class SceneObject:
    """A thing in the scene.

    Attributes:
        instance_id: unique, from 1.
        category: its class name.
        color: name of its main colour.
        material: name of its pattern, one of textures.PATTERNS.
        size: "small" or "large".
        world_from_object: (4, 4) pose.
        parts: its solids.
        surface_z_m: height of the surface that it stands on.
    """

    instance_id: int
    category: str
    color: str
    material: str
    size: str
    world_from_object: Float64
    parts: tuple[Part, ...]
    surface_z_m: float = 0.0

    @property
    def class_id(self) -> int:
        """Index into CLASS_NAMES."""
        return CLASS_NAMES.index(self.category)

    @property
    def name(self) -> str:
        """Its attributes and category, e.g. "small red striped mug"."""
        return f"{self.size} {self.color} {self.material} {self.category}"

    def bounds_m(self) -> tuple[Float64, Float64]:
        """Return the lowest and highest corner (3,) in the coordinates of the object."""
        corners = np.concatenate(
            [box_corners(*part.bounds_m(), part.object_from_part) for part in self.parts]
        )
        return corners.min(axis=0), corners.max(axis=0)

    def box(self) -> OrientedBox:
        """Return the oriented box: axes of the object, tight around its parts' own boxes."""
        low, high = self.bounds_m()
        world_from_box = self.world_from_object.copy()
        world_from_box[:3, 3] += self.world_from_object[:3, :3] @ ((low + high) / 2)
        return OrientedBox(world_from_box, high - low)


@dataclass(frozen=True, slots=True)
class Room:
    """The inside of a box: x and y centred, z from 0.

    Attributes:
        size_m: (x, y, z) extents.
        floor: texture of the floor, in world coordinates.
        walls: textures at -x, +x, -y, +y.
        ceiling: texture of the ceiling.
    """

    size_m: tuple[float, float, float]
    floor: Texture
    walls: tuple[Texture, Texture, Texture, Texture]
    ceiling: Texture


@dataclass(frozen=True, slots=True)
class Light:
    """Lambert lighting without shadows: ambient plus directional lights.

    Attributes:
        ambient: share of the albedo that is always seen.
        directions: unit vectors in the world towards each light.
        strengths: share added where the surface faces the light, one per direction.
    """

    ambient: float = 0.55
    directions: tuple[tuple[float, float, float], ...] = ((0.3, 0.5, 0.81),)
    strengths: tuple[float, ...] = (0.45,)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Everything that rays can meet.

    Attributes:
        objects: the things, instance ids 1 to n in order.
        room: the room around them, or None for things in empty space.
        light: the lighting.
        orbit_center_m: (3,) point that a camera walking around should look at.
        orbit_radius_m: horizontal distance at which the walk meets nothing.
    """

    objects: tuple[SceneObject, ...]
    room: Room | None = None
    light: Light = Light()
    orbit_center_m: tuple[float, float, float] = (0.0, 0.0, 0.8)
    orbit_radius_m: float = 1.3

    def on_table(self) -> list[SceneObject]:
        """Return the things that stand on the first table."""
        table = next(thing for thing in self.objects if thing.category == "table")
        top_m = table.box().corners()[:, 2].max()
        return [thing for thing in self.objects if abs(thing.surface_z_m - top_m) < 1e-6]


def box_corners(low: Float64, high: Float64, outer_from_box: Float64) -> Float64:
    """Return the (8, 3) corners of the box from `low` to `high` (3,) in outer coordinates."""
    choice = np.array(np.meshgrid((0, 1), (0, 1), (0, 1), indexing="ij")).reshape(3, 8).T
    corners = np.where(choice == 1, high, low)
    result: Float64 = corners @ outer_from_box[:3, :3].T + outer_from_box[:3, 3]
    return result
