"""A walk around a rendered table: one identity per thing, boxes where the things are."""

import dataclasses
import functools

import numpy as np
import pytest
from rendered_walk import CENTER_LIMIT_M, OTHER_NAMES, Identities, Walk, centers_of, errors_m

from sensorium.objects.configuration import ObjectsConfiguration
from sensorium.objects.object_map import ObjectMap
from sensorium.sources.scene import CLASS_NAMES


@functools.cache
def steps(seed, frames, **sensor):
    walk = Walk(seed, frames, **sensor)
    return walk, tuple(walk)


def walked(seed, frames, change=lambda view, _number: view, **sensor):
    """Walk once around; `change` may spoil each view before it is used."""
    walk, pictures = steps(seed, frames, **sensor)
    objects, identities = ObjectMap(ObjectsConfiguration()), Identities(walk.on_table())
    for number, step in enumerate(pictures):
        objects.update(change(step.view(), number), step.frame.world_from_camera)
        identities.note(centers_of(objects.known()))
    return walk, objects, identities


def check(walk, objects, identities):
    known = objects.known()
    errors = errors_m(walk.on_table(), centers_of(known))
    assert errors, "nothing stands on the table"
    assert max(errors.values()) < CENTER_LIMIT_M, errors
    assert all(len(seen) == 1 for seen in identities.seen.values()), identities.seen
    every = [next(iter(seen)) for seen in identities.seen.values()]
    assert len(set(every)) == len(every), "two things share an identity"


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("noise", [0.0, 1.0], ids=["exact", "noisy"])
def test_each_thing_on_the_table_keeps_one_identity_and_its_centre_is_within_3_cm(seed, noise):
    sensor = {"noise": noise, "edge_px": 1 if noise else 0}
    walk, objects, identities = walked(seed, 36, **sensor)
    check(walk, objects, identities)
    table = next(thing for thing in walk.scene.objects if thing.category == "table")
    assert errors_m([table], centers_of(objects.known())).popitem()[1] < CENTER_LIMIT_M
    for thing in walk.on_table():
        truth = thing.box()
        found = min(
            (one for one in objects.known() if one.name == thing.category),
            key=lambda one: np.linalg.norm(one.box.center_m - truth.world_from_box[:3, 3]),
        )
        np.testing.assert_allclose(found.box.size_m[2], truth.size_m[2], atol=0.03)
        assert found.first_seen_ns <= found.last_seen_ns


def split(view):
    """The masks of all things fall into a left and a right half each."""
    segment, segments = view.segment.copy(), list(view.segments)
    for index, one in enumerate(view.segments, 1):
        mask = view.segment == index
        if one.is_thing and mask.any():
            mask[:, : int(np.nonzero(mask.any(axis=0))[0].mean())] = False
            segments.append(one)
            segment[mask] = len(segments)
    return dataclasses.replace(view, segment=segment, segments=tuple(segments))


def test_masks_that_fall_apart_leave_each_thing_one_object():
    check(*walked(0, 36, lambda view, number: split(view) if number % 3 == 2 else view))


def test_things_that_were_first_seen_in_parts_become_one_object():
    walk, objects, _ = walked(0, 36, lambda view, number: split(view) if number < 4 else view)
    known = objects.known()
    errors = errors_m(walk.on_table(), centers_of(known))
    assert max(errors.values()) < CENTER_LIMIT_M, errors
    names = [one.name for one in known]
    for thing in walk.on_table():
        there = sum(other.category == thing.category for other in walk.scene.objects)
        assert names.count(thing.category) <= there, f"{thing.category} is still in parts"
    assert objects.dropped["merged"] > 0


def swallowed(view):
    """Each second thing's mask belongs to the thing before it, as one segment over both."""
    segment = view.segment.copy()
    things = [index for index, one in enumerate(view.segments, 1) if one.is_thing]
    for swallowing, swallowed_one in zip(things[::2], things[1::2], strict=False):
        segment[view.segment == swallowed_one] = swallowing
    return dataclasses.replace(view, segment=segment)


def test_one_mask_over_two_things_now_and_then_leaves_both_what_they_are():
    # Also before both were seen apart.
    check(*walked(0, 36, lambda view, number: swallowed(view) if number % 3 == 0 else view))


def test_masks_that_spill_over_their_outline_are_corrected_by_the_geometry():
    import cv2

    def spilled(view, _number):
        """Every thing on the table grows by a pixel on each side, over what is behind it."""
        segment = view.segment.copy()
        for index, one in enumerate(view.segments, 1):
            if one.is_thing and one.name in ("can", "box", "ball", "mug", "bottle"):
                mask = (view.segment == index).astype(np.uint8)
                segment[cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0] = index
        return dataclasses.replace(view, segment=segment)

    check(*walked(0, 36, spilled))


def test_wrong_names_in_some_pictures_change_neither_identity_nor_name():
    def misnamed(view, number):
        """Every fourth picture calls each thing by the next class."""
        if number % 4 != 1:
            return view
        segments = tuple(
            dataclasses.replace(
                s, class_id=(s.class_id + 1) % len(CLASS_NAMES),
                name=CLASS_NAMES[(s.class_id + 1) % len(CLASS_NAMES)],
            )
            for s in view.segments
        )  # fmt: skip
        return dataclasses.replace(view, segments=segments)

    check(*walked(0, 36, misnamed))


def test_a_new_class_list_renames_the_objects_and_keeps_their_identities():
    walk, pictures = steps(0, 36)
    objects, identities = ObjectMap(ObjectsConfiguration()), Identities(walk.on_table())
    for number, step in enumerate(pictures):
        view = step.view() if number < 18 else step.view(OTHER_NAMES, 2)
        objects.update(view, step.frame.world_from_camera)
        identities.note(centers_of(objects.known()))
    check(walk, objects, identities)
    names = {one.name for one in objects.known() if one.last_seen_ns == step.frame.stamp_ns}
    assert names <= set(OTHER_NAMES)
    for one in objects.known():
        if one.name in OTHER_NAMES:
            assert one.class_id == OTHER_NAMES.index(one.name)


def test_texts_find_the_thing_whose_segments_they_are_nearest_to():
    from sensorium.objects.query import best_matches

    walk, objects, identities = walked(0, 36)
    for thing in walk.on_table():
        matches = best_matches(objects.known(), walk.embedding(thing.instance_id), 3)
        assert matches[0][0].identity in identities.seen[thing.instance_id]
        assert matches[0][1] > 0.99 > matches[1][1]
