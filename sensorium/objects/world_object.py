"""One thing in the world and what all pictures said about it."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from sensorium.objects.box import UprightBox, fitted_box
from sensorium.objects.configuration import ObjectsConfiguration
from sensorium.objects.labelled_view import UNLABELLED_CLASS
from sensorium.objects.observation import Observation
from sensorium.objects.voxels import Surface, in_large_lumps
from sensorium.poses import Float64

# Voxels of a thing seen in more pictures than this need two pictures that agree.
_YOUNG_VIEWS = 4
_FEWEST_VOXELS = 4
# With less than this share left of the voxels that it had when last seen, a thing is not there.
_LEAST_LEFT = 0.25


class WorldObject:
    """A thing with its surface, its names and its embedding.

    Args:
        identity: its number.
        seen: the first picture of it.
        stamp_ns: time of that picture [ns].
        settings: voxels and their limit.

    Attributes:
        identity: stays the same for as long as the thing is known.
        surface: its voxels.
        box: around the voxels, as of the newest picture.
        first_seen_ns: stamp of the first picture [ns].
        last_seen_ns: stamp of the newest picture of it [ns].
        views: number of pictures.
        missed_views: pictures in a row that showed its place without it.
        published_ns: stamp of the picture since which it is published [ns]; None before.
    """

    def __init__(
        self, identity: int, seen: Observation, stamp_ns: int, settings: ObjectsConfiguration
    ) -> None:
        self.identity = identity
        self.surface = Surface(seen.patch, settings.voxel_size_m, settings.max_voxels)
        self.first_seen_ns = self.last_seen_ns = stamp_ns
        self.views = 1
        self.missed_views = 0
        self.published_ns: int | None = None
        self._voxels_when_seen = len(self.surface)
        self.box: UprightBox = fitted_box(self.surface.points_m)
        self._votes: dict[str, float] = {}
        self._pictures: Counter[str] = Counter()
        self._embedding: Float64 | None = None
        self._low_m, self._high_m = seen.low_m, seen.high_m
        self._note(seen)

    @property
    def name(self) -> str:
        """The name with the largest sum of scores, among those of the newest class list if any."""
        return max(self._votes, key=self._votes.__getitem__)

    @property
    def score(self) -> float:
        """Mean probability of the name over the pictures that gave it a name, 0 to 1."""
        return self._votes[self.name] / max(sum(self._pictures.values()), 1)

    @property
    def embedding(self) -> NDArray[np.float32] | None:
        """(D,) unit vector, mean of those of its segments; None without any."""
        if self._embedding is None:
            return None
        unit: NDArray[np.float32] = (
            self._embedding / max(float(np.linalg.norm(self._embedding)), 1e-12)
        ).astype(np.float32)
        return unit

    def forget_embedding(self) -> None:
        """Drop the embedding, which another encoder made."""
        self._embedding = None

    def rename(self, class_names: tuple[str, ...]) -> None:
        """Keep only the votes for names of a new class list; without any, the old name stays."""
        kept = {name for name in self._votes if name in class_names}
        if kept:
            self._votes = {n: v for n, v in self._votes.items() if n in kept}
            self._pictures = Counter({n: v for n, v in self._pictures.items() if n in kept})

    def is_called(self, name: str, class_names: tuple[str, ...]) -> bool:
        """True when a picture gave it this name, or none gave it one of the class list."""
        return name in self._votes or not any(known in class_names for known in self._votes)

    def may_touch(self, seen: Observation) -> bool:
        """True when the bounds of both meet, with a voxel between them."""
        gap = self.surface.voxel_size_m
        return bool(
            (seen.low_m <= self._high_m + gap).all() and (seen.high_m >= self._low_m - gap).all()
        )

    @property
    def bounds_m(self) -> tuple[Float64, Float64]:
        """Lowest and highest corner (3,) of all its voxels [m]."""
        return self._low_m, self._high_m

    def add(self, seen: Observation, stamp_ns: int, class_names: tuple[str, ...]) -> None:
        """Take a segment of a new picture."""
        if not any(known in class_names for known in self._votes):
            # Named by an earlier class list only: the newest list names it from now on.
            self._votes.clear()
            self._pictures.clear()
        self.surface.add(seen.patch)
        self._voxels_when_seen = len(self.surface)
        self.missed_views = 0
        if stamp_ns != self.last_seen_ns:
            self.views += 1
        self.last_seen_ns = stamp_ns
        self._note(seen)

    def merge(self, other: WorldObject) -> None:
        """Take all that is known of another object, which is the same thing."""
        self.surface.merge(other.surface)
        self._voxels_when_seen = len(self.surface)
        self.first_seen_ns = min(self.first_seen_ns, other.first_seen_ns)
        self.last_seen_ns = max(self.last_seen_ns, other.last_seen_ns)
        self.views = max(self.views, other.views)
        for name, votes in other._votes.items():
            self._votes[name] = self._votes.get(name, 0.0) + votes
        self._pictures += other._pictures
        if self._embedding is not None and other._embedding is not None:
            self._embedding = self._embedding + other._embedding
        self._low_m = np.minimum(self._low_m, other._low_m)
        self._high_m = np.maximum(self._high_m, other._high_m)

    def fit(self) -> bool:
        """Fit the box to the surface; False when too little of it is left."""
        if len(self.surface) < _LEAST_LEFT * self._voxels_when_seen:
            return False
        points = self.surface.supported_points_m(1 if self.views <= _YOUNG_VIEWS else 2)
        if len(points) < _FEWEST_VOXELS:
            points = self.surface.points_m
        if len(points) < _FEWEST_VOXELS:
            return False
        points = points[in_large_lumps(points, self.surface.voxel_size_m)]
        self.box = fitted_box(points, self.box)
        every = self.surface.points_m
        self._low_m, self._high_m = every.min(axis=0), every.max(axis=0)
        return True

    def _note(self, seen: Observation) -> None:
        segment = seen.segment
        # A score of 0 is a vote too: it names what nothing else names.
        self._votes[segment.name] = self._votes.get(segment.name, 0.0) + max(segment.score, 1e-6)
        if segment.class_id != UNLABELLED_CLASS:
            self._pictures[segment.name] += 1
        if segment.embedding is not None:
            made = segment.embedding.astype(np.float64)
            kept = self._embedding
            same_space = kept is not None and kept.shape == made.shape
            self._embedding = kept + made if same_space and kept is not None else made
        self._low_m = np.minimum(self._low_m, seen.low_m)
        self._high_m = np.maximum(self._high_m, seen.high_m)
