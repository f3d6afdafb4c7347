"""What stands on a table, found by walking round it with the shipped segmentation network.

Run: python benchmarks/objects.py [--rooms 16] [--pictures 40]
Rendered rooms that no training has seen, 640x480, depth with a sensor's noise and holes. Every
picture is segmented, joined with its points and kept as objects in the world, by the code of the
nodes `segmentation` and `semantic_cloud` but without ROS. The same with the exact masks says what
the network costs; without `unnamed_things`, what no segment names; with `standing_m` 0, what
geometry gives. Writes benchmarks/results/objects.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from conditions import conditions, write_results
from numpy.typing import NDArray

from sensorium.geometry.sensor import SensorBackend, SensorConfiguration
from sensorium.models.fcclip import FCCLIP_SMALL, load_checkpoint
from sensorium.objects.configuration import ObjectsConfiguration
from sensorium.objects.keeper import ObjectKeeper
from sensorium.objects.labelled_view import LabelledView, SeenSegment
from sensorium.objects.object_map import KnownObject
from sensorium.segmentation.class_list import checked_class_list
from sensorium.segmentation.labels import panoptic_id
from sensorium.segmentation.rendered_evaluation import FIRST_SEED
from sensorium.segmentation.rendered_names import MASK_NAMES, THINGS
from sensorium.segmentation.segmenter import Segmenter
from sensorium.sources.depth_sensor import DepthSensorOptions
from sensorium.sources.rendered import RenderedConfiguration, RenderedSource
from sensorium.sources.scene import STUFF, SceneObject
from sensorium.sources.source import SourceFrame

# Apart from the rooms of the accuracy benchmark, and from those that the thresholds of the objects
# were chosen with (FIRST_SEED + 1000 to 1115).
SEED = FIRST_SEED + 1200
TURN_S = 20.0
# A known object is that of a thing when its centre is nearer than this.
NEAR_M = 0.06
CLOSE_M = 0.03
CLASSES = (*STUFF, *THINGS)

Segments = tuple[NDArray[np.uint16], NDArray[np.float32], tuple[SeenSegment, ...]]
Masks = Callable[[SourceFrame], Segments]
Row = tuple[str, ObjectsConfiguration]
EXACT: tuple[Row, ...] = (("exact masks", ObjectsConfiguration()),)
NETWORK: tuple[Row, ...] = (
    ("fcclip-small", ObjectsConfiguration()),
    ("fcclip-small, unnamed_things false", ObjectsConfiguration(unnamed_things=False)),
    ("fcclip-small, standing_m 0", ObjectsConfiguration(standing_m=0.0)),
)


def exact_masks(read: SourceFrame) -> Segments:
    """Segments of a picture as they are: index + 1 of each pixel, confidence, segments."""
    truth = read.truth
    assert truth is not None  # noqa: S101 - rendered
    index = np.zeros(truth.class_ids.shape, np.uint16)
    segments: list[SeenSegment] = []

    def add(mask: NDArray[np.bool_], name: str) -> None:
        index[mask] = len(segments) + 1
        class_id = CLASSES.index(name)
        packed = class_id << 16 | len(segments) + 1
        segments.append(SeenSegment(packed, class_id, name, name not in STUFF, 1.0))

    for thing in truth.scene.objects:
        mask = truth.instance_ids == thing.instance_id
        if mask.any():
            add(mask, thing.category)
    for class_id, name in enumerate(STUFF, start=1):
        mask = (truth.class_ids == class_id) & (truth.instance_ids == 0)
        if mask.any():
            add(mask, name)
    return index, (index > 0).astype(np.float32), tuple(segments)


def network_masks() -> Masks:
    """The shipped network with the names of the rooms."""
    segmenter = Segmenter(load_checkpoint(FCCLIP_SMALL), "cpu")
    segmenter.use(segmenter.encode(checked_class_list(CLASSES, THINGS, len(CLASSES))))

    def masks(read: SourceFrame) -> Segments:
        color = read.frame.color
        assert color is not None  # noqa: S101 - rendered
        found = segmenter.segment(color)
        embeddings = found.embeddings
        seen = tuple(
            SeenSegment(
                panoptic_id(one), one.category_id, one.name, one.is_thing, one.score, embeddings[i]
            )
            for i, one in enumerate(found.segments)
        )
        return found.segment_ids.astype(np.uint16), found.confidence, seen

    return masks


def walk(seed: int, pictures: int, masks: Masks, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Walk once round the table; what each row's objects are at the end."""
    source = RenderedSource(
        RenderedConfiguration(
            seed=seed, rate_hz=pictures / TURN_S, turn_s=TURN_S, frames=pictures,
            sensor=DepthSensorOptions(noise=1.0, holes=0.02, edge_px=2, grazing_deg=80.0),
        )
    )  # fmt: skip
    points = SensorBackend(SensorConfiguration(), "cpu")
    keepers = [ObjectKeeper(settings) for _, settings in rows]
    # Seen from all sides.
    things = source.scene.on_table()
    identities: list[dict[int, set[int]]] = [{} for _ in rows]
    while not source.finished:
        read = source.read()
        if read is None:
            continue
        result = points.add(read.frame).newest
        if result is None or read.frame.world_from_camera is None:
            raise RuntimeError(f"room {seed}: a rendered frame without points or pose")
        index, confidence, segments = masks(read)
        view = LabelledView(
            read.frame.stamp_ns, result.points_m, index, confidence, segments, CLASSES, 1
        )
        for keeper, seen in zip(keepers, identities, strict=True):
            keeper.update(view, read.frame.world_from_camera)
            for thing in things:
                nearest = nearest_object(thing, keeper.world.objects)
                if nearest is not None:
                    seen.setdefault(thing.instance_id, set()).add(nearest[1].identity)
    return [
        judged(things, keeper.world.objects, seen)
        for keeper, seen in zip(keepers, identities, strict=True)
    ]


def nearest_object(
    thing: SceneObject, known: Sequence[KnownObject]
) -> tuple[float, KnownObject] | None:
    """Distance [m] and object nearest to a thing, if it is near."""
    center_m = thing.box().world_from_box[:3, 3]
    distances = [float(np.linalg.norm(one.box.center_m - center_m)) for one in known]
    if not distances or min(distances) > NEAR_M:
        return None
    best = int(np.argmin(distances))
    return distances[best], known[best]


def judged(
    things: list[SceneObject], known: Sequence[KnownObject], identities: dict[int, set[int]]
) -> dict[str, Any]:
    """Compare the objects at the end with what stands there."""
    rows = []
    for thing in things:
        nearest = nearest_object(thing, known)
        rows.append(
            {
                "thing": thing.name,
                "trained with masks": thing.category in MASK_NAMES,
                "error_m": None if nearest is None else round(nearest[0], 4),
                "named": None if nearest is None else nearest[1].name,
                "right": nearest is not None and nearest[1].name == thing.category,
                "identities": len(identities.get(thing.instance_id, ())),
            }
        )
    matched = {nearest[1].identity for thing in things if (nearest := nearest_object(thing, known))}
    centers = np.array([thing.box().world_from_box[:3, 3] for thing in things])
    spurious = [
        one.name
        for one in known
        if one.identity not in matched and _stands_among(one.box.center_m, centers)
    ]
    return {"things": rows, "objects that are none of them": spurious}


def _stands_among(center_m: NDArray[np.float64], centers_m: NDArray[np.float64]) -> bool:
    low, high = centers_m.min(0) - 0.15, centers_m.max(0) + 0.15
    return bool(((center_m > low) & (center_m < high)).all())


def summary(rooms: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts and errors over all rooms."""
    rows = [row for room in rooms for row in room["things"]]
    errors = [row["error_m"] for row in rows if row["error_m"] is not None]
    return {
        "things on tables": len(rows),
        f"found within {NEAR_M:g} m": len(errors),
        f"found within {CLOSE_M:g} m": sum(error <= CLOSE_M for error in errors),
        "with the right name": sum(row["right"] for row in rows),
        "of names trained with masks": _rightly_named(rows, trained=True),
        "of names never trained with masks": _rightly_named(rows, trained=False),
        "with one identity all the walk": sum(row["identities"] == 1 for row in rows),
        "objects that are none of them": sum(
            len(r["objects that are none of them"]) for r in rooms
        ),
        "median error_m": float(np.median(errors)) if errors else None,
        "largest error_m": max(errors, default=None),
    }


def _rightly_named(rows: list[dict[str, Any]], *, trained: bool) -> str:
    asked = [row["right"] for row in rows if row["trained with masks"] == trained]
    return f"{sum(asked)} of {len(asked)}"


def main() -> None:
    """Measure both kinds of masks and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rooms", type=int, default=16)
    parser.add_argument("--pictures", type=int, default=40)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    before = conditions()
    results: dict[str, Any] = {"rooms": arguments.rooms, "pictures a walk": arguments.pictures}
    for rows, masks in ((EXACT, exact_masks), (NETWORK, network_masks())):
        walks = [walk(SEED + i, arguments.pictures, masks, rows) for i in range(arguments.rooms)]
        for (name, _), rooms in zip(rows, zip(*walks, strict=True), strict=True):
            results[name] = summary(list(rooms)) | {"each": rooms}
            print(name, summary(list(rooms)), flush=True)
    print(write_results("objects", results, before))


if __name__ == "__main__":
    main()
