"""A rendered walk around a table with the exact masks of its things, and their true boxes."""

from dataclasses import dataclass

import numpy as np

from sensorium.objects.labelled_view import LabelledView, SeenSegment, segment_indices
from sensorium.sources.depth_sensor import DepthSensorOptions
from sensorium.sources.rendered import RenderedConfiguration, RenderedSource
from sensorium.sources.scene import CLASS_NAMES, STUFF

CENTER_LIMIT_M = 0.03
TURN_S = 20.0
# A new class list names the same things anew; every class keeps its place.
OTHER_NAMES = tuple(f"{name} thing" for name in CLASS_NAMES)


@dataclass(frozen=True, eq=False)
class Step:
    """One picture of the walk: frame, truth, panoptic map and its segments."""

    frame: object
    truth: object
    panoptic: np.ndarray
    segments: tuple

    def view(self, class_names=CLASS_NAMES, version=1):
        camera = self.frame.depth_camera
        v, u = np.mgrid[: camera.height_px, : camera.width_px]
        K = camera.K
        rays = np.stack(((u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)), -1)
        segments = tuple(
            SeenSegment(s.panoptic_id, s.class_id, class_names[s.class_id], s.is_thing, s.score,
                        s.embedding)
            for s in self.segments
        )  # fmt: skip
        indices = segment_indices(self.panoptic, segments)
        return LabelledView(
            stamp_ns=self.frame.stamp_ns,
            points_m=(rays * self.frame.depth_m[..., None]).astype(np.float32),
            segment=indices,
            confidence=(indices > 0).astype(np.float32),
            segments=segments,
            class_names=tuple(class_names),
            vocabulary_version=version,
        )


class Walk:
    """`frames` pictures at even steps of one turn around the table of a random scene."""

    def __init__(self, seed, frames, *, scale=0.5, start_ns=0, **sensor):
        configuration = RenderedConfiguration(
            seed=seed, width_px=round(640 * scale), height_px=round(480 * scale),
            focal_px=525.0 * scale, rate_hz=frames / TURN_S, turn_s=TURN_S, frames=frames,
            sensor=DepthSensorOptions(**sensor),
        )  # fmt: skip
        self._source = RenderedSource(configuration, start_ns=start_ns)
        self.scene = self._source.scene

    def __iter__(self):
        while not self._source.finished:
            yield self.step(self._source.read())

    def step(self, read):
        """Segments of what is in the picture; embeddings are one direction per instance."""
        truth = read.truth
        panoptic = np.zeros(truth.class_ids.shape, np.int32)
        segments = []

        def add(mask, class_id, is_thing, embedding):
            value = class_id << 16 | len(segments) + 1
            panoptic[mask] = value
            segments.append(
                SeenSegment(value, class_id, CLASS_NAMES[class_id], is_thing, 0.9, embedding)
            )

        for instance in np.unique(truth.instance_ids[truth.instance_ids > 0]).tolist():
            thing = self.scene.objects[instance - 1]
            mask = truth.instance_ids == instance
            add(mask, thing.class_id, True, self.embedding(instance))
        for class_id in range(1, 1 + len(STUFF)):
            mask = (truth.class_ids == class_id) & (truth.instance_ids == 0)
            if mask.any():
                add(mask, class_id, False, None)
        return Step(read.frame, truth, panoptic, tuple(segments))

    def embedding(self, instance):
        vector = np.zeros(len(self.scene.objects) + 1, np.float32)
        vector[instance] = 1.0
        return vector

    def on_table(self):
        """The things on the table, which the walk sees from all round."""
        return self.scene.on_table()


class Identities:
    """Which identity each true thing had, over the pictures: the known object nearest to it."""

    def __init__(self, things):
        self._things = things
        self.seen = {thing.instance_id: set() for thing in things}

    def note(self, centers):
        """Take the known objects of a moment: identity -> (name, centre)."""
        for thing in self._things:
            truth = thing.box().world_from_box[:3, 3]
            near = {
                identity: np.linalg.norm(center - truth)
                for identity, (name, center) in centers.items()
                if name.split()[0] == thing.category
            }
            best = min(near, key=near.get, default=None)
            if best is not None and near[best] < 2 * CENTER_LIMIT_M:
                self.seen[thing.instance_id].add(best)


def centers_of(known):
    return {one.identity: (one.name, one.box.center_m) for one in known}


def errors_m(things, centers):
    """Distance of each true thing's centre to the nearest object of its name [m]."""
    return {
        f"{thing.instance_id} {thing.name}": min(
            (
                float(np.linalg.norm(center - thing.box().world_from_box[:3, 3]))
                for name, center in centers.values()
                if name.split()[0] == thing.category
            ),
            default=np.inf,
        )
        for thing in things
    }
