"""The known things: one identity each, from picture to picture."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.objects.association import assigned, space_shared
from sensorium.objects.box import UprightBox
from sensorium.objects.configuration import ObjectsConfiguration
from sensorium.objects.labelled_view import UNLABELLED_CLASS, LabelledView, trusted
from sensorium.objects.observation import Observation, observations
from sensorium.objects.standing import completed
from sensorium.objects.visibility import Visibility
from sensorium.objects.world_object import WorldObject
from sensorium.poses import Float64

# Differences of depth that are none.
_MARGIN_VOXELS = 2.0
# A picture that shows other things at this share of a thing's voxels should have shown it too.
_LOOKED_AT = 0.5
# Objects whose bounds have this share of their space in common are one thing under two names.
_ONE_SPACE = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class KnownObject:
    """What is known of a thing at one moment.

    Attributes:
        identity: stays the same for as long as the thing is known; never used again.
        name: class name that most pictures gave.
        class_id: its index in the newest class list; UNLABELLED_CLASS when it is not in that list
            and the thing was not seen since.
        score: mean probability of that class, 0 to 1.
        box: oriented box in the world.
        first_seen_ns: stamp of the first picture [ns].
        last_seen_ns: stamp of the newest picture of it [ns].
        views: pictures in which it was seen.
        embedding: (D,) unit vector, or None.
    """

    identity: int
    name: str
    class_id: int
    score: float
    box: UprightBox
    first_seen_ns: int
    last_seen_ns: int
    views: int
    embedding: NDArray[np.float32] | None


class ObjectMap:
    """Keeps the things that pictures show, a bounded number of them.

    Not thread-safe.

    Args:
        settings: limits and thresholds.

    Attributes:
        dropped: objects given up, counted by reason: "merged", "gone" (their place is empty),
            "doubtful", "forgotten", "too_many".
    """

    def __init__(self, settings: ObjectsConfiguration) -> None:
        self._settings = settings
        self._objects: dict[int, WorldObject] = {}
        self._identities = itertools.count(1)
        self._covered: Counter[tuple[int, int]] = Counter()
        self._class_names: tuple[str, ...] = ()
        self.dropped: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._objects)

    @property
    def voxels(self) -> int:
        """Voxels kept, over all objects."""
        return sum(len(known.surface) for known in self._objects.values())

    def change(self, settings: ObjectsConfiguration) -> None:
        """Apply changed thresholds to the pictures from now on."""
        self._settings = settings

    def reset(self) -> None:
        """Forget all objects; their identities are not used again."""
        self._objects.clear()
        self._covered.clear()

    def forget_embeddings(self) -> None:
        """Drop all embeddings, which another encoder made."""
        for known in self._objects.values():
            known.forget_embedding()

    def update(self, view: LabelledView, world_from_camera: Float64) -> None:
        """Take a picture.

        Args:
            view: what it shows.
            world_from_camera: (4, 4) pose of its optical frame.
        """
        settings = self._settings
        self._use_names(view)
        view = completed(view, world_from_camera, settings)
        kept = trusted(view, settings.border_px, settings.edge_fraction)
        seen = list(observations(view, kept, world_from_camera, settings))
        assignment = assigned(seen, self._objects, self._class_names, settings)
        labels: dict[int, set[int]] = {}
        for position, one in enumerate(seen):
            identity = assignment.object_of.get(position)
            if identity is None:
                identity = next(self._identities)
                self._objects[identity] = WorldObject(identity, one, view.stamp_ns, settings)
            else:
                own = self._own_part(identity, one)
                self._objects[identity].add(own, view.stamp_ns, self._class_names)
            labels.setdefault(identity, set()).add(one.index)
        self._merge(assignment.covered, labels)
        self._contradict(view, kept, world_from_camera, labels)
        self._tidy(view.stamp_ns)

    def _own_part(self, identity: int, seen: Observation) -> Observation:
        """A segment without the voxels that are another thing's and not yet this one's.

        One segment over two things would otherwise make the first of them grow over the second.
        """
        surface = self._objects[identity].surface
        foreign = np.zeros(len(seen.patch.keys), np.bool_)
        for other, known in self._objects.items():
            is_sure = known.views >= self._settings.min_views
            if other != identity and is_sure and known.may_touch(seen):
                foreign |= known.surface.near(seen.patch)
        if foreign.any():
            foreign &= ~surface.near(seen.patch)
        return seen.without(foreign) if foreign.any() and not foreign.all() else seen

    def known(self) -> list[KnownObject]:
        """Return the objects that were seen often enough, oldest identity first."""
        return [
            self._described(thing)
            for thing in self._objects.values()
            if thing.views >= self._settings.min_views
        ]

    def _described(self, thing: WorldObject) -> KnownObject:
        name = thing.name
        is_named = name in self._class_names
        return KnownObject(
            identity=thing.identity,
            name=name,
            class_id=self._class_names.index(name) if is_named else UNLABELLED_CLASS,
            score=thing.score,
            box=thing.box,
            first_seen_ns=thing.first_seen_ns,
            last_seen_ns=thing.last_seen_ns,
            views=thing.views,
            embedding=thing.embedding,
        )

    def _use_names(self, view: LabelledView) -> None:
        if view.class_names == self._class_names:
            return
        self._class_names = view.class_names
        for known in self._objects.values():
            known.rename(view.class_names)

    def _merge(self, covered: set[tuple[int, int]], labels: dict[int, set[int]]) -> None:
        """Join objects that more pictures show as one segment than as two."""
        for pair in [p for p in self._covered if p[0] in labels and p[1] in labels]:
            self._covered[pair] -= 1
            if self._covered[pair] <= 0:
                del self._covered[pair]
        for pair in covered:
            self._covered[pair] += 1
            is_one = 0 < self._settings.merge_views <= self._covered[pair]
            if is_one and pair[0] in self._objects and pair[1] in self._objects:
                self._join(*pair, labels)
        if self._settings.merge_views and len(self._objects) > 1:
            for one, other in self._in_one_space():
                if one in self._objects and other in self._objects:
                    self._join(one, other, labels)

    def _in_one_space(self) -> list[tuple[int, int]]:
        """Pairs of objects that fill the same space, which two solid things cannot."""
        identities = list(self._objects)
        bounds_m = np.array([known.bounds_m for known in self._objects.values()])
        low_m, high_m = bounds_m[:, 0], bounds_m[:, 1]
        shared = space_shared(low_m[:, None], high_m[:, None], low_m, high_m)
        pairs = np.argwhere(np.triu(shared >= _ONE_SPACE, 1)).tolist()
        return [(identities[i], identities[j]) for i, j in pairs]

    def _join(self, one: int, other: int, labels: dict[int, set[int]]) -> None:
        """Make one object of two; the identity that was published first, or else older, stays."""
        kept, gone = sorted((one, other), key=self._standing)
        self._objects[kept].merge(self._objects[gone])
        labels[kept] = labels.get(kept, set()) | labels.pop(gone, set())
        self._drop(gone, "merged")

    def _standing(self, identity: int) -> tuple[float, int]:
        published_ns = self._objects[identity].published_ns
        return np.inf if published_ns is None else published_ns, identity

    def _contradict(
        self,
        view: LabelledView,
        kept: NDArray[np.bool_],
        world_from_camera: Float64,
        labels: dict[int, set[int]],
    ) -> None:
        """Take voxels away where the picture shows what is behind them, or another thing."""
        visibility = Visibility(view, world_from_camera, kept)
        for identity, known in list(self._objects.items()):
            margin = _MARGIN_VOXELS * known.surface.voxel_size_m
            found = visibility.of(known.surface.points_m, margin)
            own = labels.get(identity)
            if found is not None:
                refuted = found.seen_through
                if own:
                    # Only where the thing itself was found: a network that misses it in a picture
                    # gives its pixels to what is around it.
                    refuted = refuted | ((found.labels > 0) & ~np.isin(found.labels, list(own)))
                elif (refuted | (found.labels > 0)).mean() >= _LOOKED_AT:
                    known.missed_views += 1
                if refuted.any():
                    known.surface.contradict(refuted)
            is_missed = 0 < self._settings.missed_views <= known.missed_views
            if is_missed or ((own or found is not None) and not known.fit()):
                self._drop(identity, "gone")

    def _tidy(self, stamp_ns: int) -> None:
        settings = self._settings
        for identity, known in list(self._objects.items()):
            absent_s = (stamp_ns - known.last_seen_ns) / 1e9
            if known.views < settings.min_views and absent_s > settings.doubtful_s:
                self._drop(identity, "doubtful")
            elif 0 < settings.forget_after_s < absent_s:
                self._drop(identity, "forgotten")
            elif known.published_ns is None and known.views >= settings.min_views:
                known.published_ns = stamp_ns
        while len(self._objects) > settings.max_objects:
            oldest = min(self._objects.values(), key=lambda thing: thing.last_seen_ns)
            self._drop(oldest.identity, "too_many")

    def _drop(self, identity: int, reason: str) -> None:
        del self._objects[identity]
        self.dropped[reason] += 1
        for pair in [p for p in self._covered if identity in p]:
            del self._covered[pair]
