"""The objects shared between threads: one updates them, others read them as of one moment."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

from sensorium.objects.configuration import ObjectsConfiguration
from sensorium.objects.labelled_view import LabelledView
from sensorium.objects.object_map import KnownObject, ObjectMap
from sensorium.poses import Float64


@dataclass(frozen=True, slots=True)
class KnownWorld:
    """The objects at one moment.

    Attributes:
        objects: those seen often enough, oldest identity first.
        stamp_ns: stamp of the newest picture [ns].
        generation: changes when the objects or their embeddings were forgotten.
    """

    objects: tuple[KnownObject, ...] = ()
    stamp_ns: int = 0
    generation: int = 0


class ObjectKeeper:
    """Thread-safe objects.

    Args:
        settings: limits and thresholds.

    Attributes:
        world: the objects as of the newest picture.
    """

    def __init__(self, settings: ObjectsConfiguration) -> None:
        self._map = ObjectMap(settings)
        self._lock = threading.Lock()
        self._vocabulary_version = 0
        self.world = KnownWorld()

    @property
    def voxels(self) -> int:
        """Voxels kept, over all objects."""
        with self._lock:
            return self._map.voxels

    @property
    def dropped(self) -> Counter[str]:
        """Objects given up, by reason; see ``ObjectMap``."""
        with self._lock:
            return Counter(self._map.dropped)

    def change(self, settings: ObjectsConfiguration) -> None:
        """Apply changed thresholds to the pictures from now on."""
        with self._lock:
            self._map.change(settings)

    def forget(self) -> int:
        """Forget all objects; returns how many were published."""
        with self._lock:
            count = len(self.world.objects)
            self._map.reset()
            self.world = KnownWorld((), self.world.stamp_ns, self.world.generation + 1)
            return count

    def update(self, view: LabelledView, world_from_camera: Float64) -> None:
        """Take a picture; see ``ObjectMap.update``."""
        with self._lock:
            generation = self.world.generation
            if view.vocabulary_version < self._vocabulary_version:
                # Versions count from 1 when the segmentation is configured: its weights, and with
                # them the meaning of embeddings, may be others now.
                self._map.forget_embeddings()
                generation += 1
            self._vocabulary_version = view.vocabulary_version
            self._map.update(view, world_from_camera)
            self.world = KnownWorld(tuple(self._map.known()), view.stamp_ns, generation)
