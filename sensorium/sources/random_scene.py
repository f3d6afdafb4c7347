"""Draws a furnished room with named objects: a function of the seed and the options alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.configuration import parameter
from sensorium.sources import furniture
from sensorium.sources.scene import (
    CLASS_NAMES,
    FURNITURE,
    STUFF,
    TABLETOP,
    Light,
    Room,
    Scene,
    SceneObject,
)
from sensorium.sources.source import SourceError
from sensorium.sources.textures import PATTERNS, Texture

Random = np.random.Generator
Float64 = NDArray[np.float64]

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (200, 40, 36), "green": (52, 150, 62), "blue": (44, 84, 190), "yellow": (228, 200, 50),
    "orange": (230, 128, 34), "purple": (126, 60, 160), "pink": (232, 140, 172),
    "brown": (122, 80, 48), "white": (228, 228, 224), "black": (40, 40, 44),
    "gray": (128, 128, 130), "cyan": (62, 182, 196),
}  # fmt: skip

SCALES = {"small": 0.85, "large": 1.3}
_FURNITURE_SCALES = {"small": 0.92, "large": 1.05}
_TRIES = 60


@dataclass(frozen=True)
class SceneOptions:
    """What a random scene may hold."""

    objects: int = parameter(12, "number of objects on the table, the shelf and the floor",
                             minimum=0, maximum=60)  # fmt: skip
    furniture: bool = parameter(True, "furniture beside the table")
    categories: tuple[str, ...] = parameter(TABLETOP, "names that the objects are drawn from")
    colors: tuple[str, ...] = parameter(tuple(COLORS), "colours that things are drawn from")
    materials: tuple[str, ...] = parameter(PATTERNS, "materials that things are drawn from")
    excluded: tuple[str, ...] = parameter(
        (), 'combinations never drawn, words with spaces: "red mug", "small striped ball"'
    )


def random_scene(seed: int, options: SceneOptions | None = None) -> Scene:
    """Return the scene of a seed.

    Args:
        seed: the same seed and options give the same scene on every machine.
        options: what may be in it.

    Raises:
        SourceError: an unknown category, colour, material or word in `excluded`, or nothing left
            to draw from.
    """
    options = options or SceneOptions()
    _check(options)
    random = np.random.default_rng((seed, 0x5CE7E))
    room = _room(random)
    builder = _Builder(random, options, room)
    builder.furnish()
    builder.place_objects()
    return Scene(
        tuple(builder.objects), room, _light(random), builder.center, builder.orbit_radius_m
    )


def _check(options: SceneOptions) -> None:
    for label, chosen, known in (
        ("categories", options.categories, tuple(TABLETOP)),
        ("colors", options.colors, tuple(COLORS)),
        ("materials", options.materials, PATTERNS),
    ):
        unknown = sorted(set(chosen) - set(known))
        if unknown or not chosen:
            what = f"has unknown names {unknown}" if unknown else "is empty"
            raise SourceError(f"scene option '{label}' {what}; choose from {', '.join(known)}")
    words = {word for text in options.excluded for word in text.split()}
    vocabulary = {*CLASS_NAMES, *COLORS, *PATTERNS, *SCALES}
    if words - vocabulary:
        raise SourceError(
            f"scene option 'excluded' has unknown words {sorted(words - vocabulary)}; "
            f"known are {', '.join(sorted(vocabulary))}"
        )


class _Builder:
    """Places things one after the other where they fit."""

    def __init__(self, random: Random, options: SceneOptions, room: Room) -> None:
        self.random = random
        self.options = options
        self.room = room
        self.objects: list[SceneObject] = []
        # Circles taken on each surface: height -> (x, y, radius).
        self.taken: list[tuple[float, float, float, float]] = []
        self.excluded = [frozenset(text.split()) for text in options.excluded]
        x, y = random.uniform(-0.12, 0.12, 2)
        self.center = (float(x), float(y), furniture.TABLE_HEIGHT_M + 0.05)
        self.orbit_radius_m = min(room.size_m[:2]) / 2 - 0.75

    def furnish(self) -> None:
        x, y, _ = self.center
        self.table = self._add("table", (x, y, 0.0), self.random.uniform(0, np.pi), {})
        if not self.options.furniture:
            return
        low, high = self.table.bounds_m()
        rotation = self.table.world_from_object[:2, :2]
        yaw = float(np.arctan2(rotation[1, 0], rotation[0, 0]))
        for side in self.random.permutation(4)[: self.random.integers(1, 4)]:
            # The chair faces the table from the middle of one side, half under it or drawn back.
            out = (high if side < 2 else -low)[side % 2] + self.random.uniform(0.05, 0.25)
            angle = yaw + (0, np.pi / 2, np.pi, 3 * np.pi / 2)[side]
            place = (x + out * np.cos(angle), y + out * np.sin(angle), 0.0)
            turn = angle + np.pi + self.random.uniform(-0.2, 0.2)
            self._add("chair", place, turn, _FURNITURE_SCALES)
        walls = self.random.permutation(4)
        self._against_wall("shelf", int(walls[0]))
        self._against_wall("sofa", int(walls[1]))
        for wall in walls[1:]:
            self._against_wall("picture", int(wall), self.random.uniform(1.25, 1.6))
        corner = int(self.random.integers(4))
        half = np.array(self.room.size_m[:2]) / 2 - 0.3
        signs = np.array(((-1, -1), (-1, 1), (1, -1), (1, 1)))[corner]
        self._add("lamp", (*(signs * half), 0.0), 0.0, _FURNITURE_SCALES)
        if self.random.random() < 0.6:
            self._add("stool", (*(-signs * half), 0.0), 0.0, _FURNITURE_SCALES)

    def place_objects(self) -> None:
        shelves = [thing for thing in self.objects if thing.category == "shelf"]
        for _ in range(self.options.objects):
            place = self.random.random()
            if place < 0.15 and shelves:
                board = shelves[0].parts[self.random.integers(1, 3)]
                self._drop(shelves[0], board.object_from_part[2, 3] + board.size_m[2], 0)
            elif place < 0.25:
                self._drop(None, 0.0, 0)
            else:
                self._drop(self.table, furniture.TABLE_HEIGHT_M, 0)

    def _against_wall(self, category: str, wall: int, height: float = 0.0) -> None:
        """Place something that faces +x with its back to one of the walls, off the corners."""
        axis, sign = wall // 2, 1 if wall % 2 else -1
        yaw = {(0, -1): 0.0, (0, 1): np.pi, (1, -1): np.pi / 2, (1, 1): -np.pi / 2}[axis, sign]
        state = self._draw(category, _FURNITURE_SCALES)
        low, high = _bounds(state)
        place = np.zeros(3)
        place[axis] = sign * (self.room.size_m[axis] / 2 + low[0] - 0.005)
        other = 1 - axis
        free = self.room.size_m[other] / 2 - 0.65 - (high[1] - low[1]) / 2
        place[other] = self.random.uniform(-free, free) if free > 0 else 0.0
        place[2] = height
        self._append(state, _pose(place, yaw))

    def _drop(self, support: SceneObject | None, height: float, attempt: int) -> None:
        """Place an object on the table, a shelf board or the floor where nothing else stands."""
        category = str(self.random.choice(list(self.options.categories)))
        state = self._draw(category, SCALES)
        low, high = _bounds(state)
        radius = float(np.hypot(*np.maximum(high[:2], -low[:2]))) + 0.01
        for _ in range(_TRIES):
            if support is None:
                reach = np.array(self.room.size_m[:2]) / 2 - 0.9
                x, y = self.random.uniform(-reach, reach)
            else:
                base_low, base_high = support.bounds_m()
                margin = radius + (0.03 if support.category == "shelf" else 0.0)
                if (base_high[:2] - base_low[:2] < 2 * margin).any():
                    margin = min(radius, 0.13)
                    if (base_high[:2] - base_low[:2] < 2 * margin).any():
                        return
                local = self.random.uniform(base_low[:2] + margin, base_high[:2] - margin)
                x, y = (support.world_from_object[:2, :2] @ local) + support.world_from_object[
                    :2, 3
                ]
            if self._free(x, y, radius, height):
                yaw = self.random.uniform(-np.pi, np.pi)
                self._append(state, _pose((x, y, height), yaw))
                self.taken.append((x, y, radius, height))
                return

    def _free(self, x: float, y: float, radius: float, height: float) -> bool:
        on_floor = height == 0.0
        for other_x, other_y, other_radius, other_height in self.taken:
            if (
                other_height == height
                and np.hypot(x - other_x, y - other_y) < radius + other_radius
            ):
                return False
        if on_floor:
            for thing in self.objects:
                if thing.category in FURNITURE and thing.category != "picture":
                    low, high = thing.bounds_m()
                    reach = float(np.hypot(*np.maximum(high[:2], -low[:2])))
                    gap = np.hypot(*(thing.world_from_object[:2, 3] - (x, y)))
                    if gap < reach + radius:
                        return False
        return True

    def _add(
        self,
        category: str,
        place: tuple[float, float, float],
        yaw: float,
        scales: dict[str, float],
    ) -> SceneObject:
        return self._append(self._draw(category, scales), _pose(place, yaw))

    def _draw(self, category: str, scales: dict[str, float]) -> SceneObject:
        """Return an object in the origin with attributes that no exclusion names."""
        combinations = [
            (size, color, material)
            for size in (scales or SCALES)
            for color in self.options.colors
            for material in self.options.materials
            if not any(words <= {size, color, material, category} for words in self.excluded)
        ]
        if not combinations:
            raise SourceError(
                f"scene options leave no colour and material for '{category}'; "
                "shorten 'excluded' or allow more"
            )
        size, color, material = combinations[self.random.integers(len(combinations))]
        scale = scales.get(size, 1.0)
        spacing = 0.05 if category in FURNITURE else 0.022 * scale
        look = _texture(self.random, COLORS[color], material, spacing)
        parts = furniture.BUILDERS[category](self.random, look, scale)
        return SceneObject(0, category, color, material, size, np.eye(4), parts)

    def _append(self, drawn: SceneObject, pose: Float64) -> SceneObject:
        placed = SceneObject(
            len(self.objects) + 1, drawn.category, drawn.color, drawn.material, drawn.size,
            pose, drawn.parts, float(pose[2, 3]),
        )  # fmt: skip
        self.objects.append(placed)
        return placed


def _bounds(thing: SceneObject) -> tuple[Float64, Float64]:
    return thing.bounds_m()


def _pose(place: Sequence[float] | Float64, yaw: float) -> Float64:
    pose = furniture.at(float(place[0]), float(place[1]), float(place[2]))
    cosine, sine = np.cos(yaw), np.sin(yaw)
    pose[:2, :2] = ((cosine, -sine), (sine, cosine))
    return pose


def _texture(
    random: Random, color: tuple[float, float, float], material: str, spacing: float
) -> Texture:
    main = np.clip(np.array(color) + random.uniform(-14, 14, 3), 12, 245)
    # The second colour keeps the hue, lighter for dark things, so the colour's name holds.
    factor = 0.55 if main.mean() > 90 else 1.9
    second = np.clip(main * factor + (0 if factor < 1 else 25), 8, 250)
    phase = random.uniform(0, 1, 3)
    direction = np.eye(3)[random.integers(3)]
    return Texture(
        material,
        _triple(main),
        _triple(second),
        float(spacing * random.uniform(0.8, 1.3)),
        _triple(phase),
        _triple(direction),
    )


def _room(random: Random) -> Room:
    x, y = random.uniform(4.4, 6.2, 2)
    height = random.uniform(2.4, 2.9)
    pale = random.uniform(150, 225, 3)
    walls = []
    for _ in range(4):
        material = str(random.choice(["plain", "speckled", "striped", "checkered"]))
        walls.append(_surface(random, pale + random.uniform(-15, 15, 3), material, 0.25))
    floor = _surface(
        random,
        random.uniform(80, 190, 3),
        str(random.choice(["wooden", "checkered", "speckled"])),
        0.3,
    )
    ceiling = Texture("plain", _triple(random.uniform(215, 245, 3)))
    size = (float(x), float(y), float(height))
    return Room(size, floor, (walls[0], walls[1], walls[2], walls[3]), ceiling)


def _surface(random: Random, color: Float64, material: str, spacing: float) -> Texture:
    second = color * random.uniform(0.7, 0.9)
    direction = np.eye(3)[random.integers(3)]
    return Texture(
        material, _triple(color), _triple(second), float(spacing * random.uniform(0.6, 1.4)),
        _triple(random.uniform(0, 1, 3)), _triple(direction),
    )  # fmt: skip


def _light(random: Random) -> Light:
    directions = []
    for elevation in (random.uniform(0.7, 1.3), random.uniform(0.1, 0.6)):
        azimuth = random.uniform(0, 2 * np.pi)
        flat = np.cos(elevation)
        directions.append(
            _triple(np.array((flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation))))
        )
    return Light(
        float(random.uniform(0.4, 0.6)),
        tuple(directions),
        (float(random.uniform(0.35, 0.55)), float(random.uniform(0.1, 0.25))),
    )


def _triple(values: Float64) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


__all__ = ["COLORS", "SCALES", "STUFF", "SceneOptions", "random_scene"]
