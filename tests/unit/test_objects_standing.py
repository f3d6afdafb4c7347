"""Things on level surfaces become whole where the network gave a part of them to the surface."""

import dataclasses

import numpy as np
import pytest
from test_objects_map import POSE, seen

from sensorium.objects.configuration import ObjectsConfiguration
from sensorium.objects.labelled_view import UNLABELLED_CLASS, UNNAMED
from sensorium.objects.object_map import ObjectMap
from sensorium.objects.standing import completed
from sensorium.poses import transform_points

CUBE = (0.0, 0.1, 0.2)
FLOOR, FIRST = 1, 2
SETTINGS = ObjectsConfiguration(min_points=10, min_views=2)


def overlooked(view, share=0.5, index=FIRST):
    """The picture with the left share of a thing's pixels given to the floor."""
    segment = view.segment.copy()
    columns = np.nonzero(segment == index)[1]
    left = np.arange(segment.shape[1]) < (
        np.quantile(columns, share) if share < 1 else segment.shape[1]
    )
    segment[(segment == index) & left] = FLOOR
    return dataclasses.replace(view, segment=segment)


def height_m(view):
    return transform_points(POSE, view.points_m.reshape(-1, 3)).reshape(view.points_m.shape)[..., 2]


def mapped(views, settings):
    objects = ObjectMap(settings)
    for view in views:
        objects.update(view, POSE)
    return objects


def test_a_thing_half_of_which_the_surface_got_is_whole_again_and_its_box_is_right():
    whole = seen(0, [CUBE])
    spoilt = overlooked(whole)
    mended = completed(spoilt, POSE, SETTINGS)
    rises = (whole.segment == FIRST) & (height_m(whole) > 0.02)
    assert (spoilt.segment[rises] == FIRST).mean() < 0.6
    assert (mended.segment[rises] == FIRST).all()
    assert (mended.segment[whole.segment == FLOOR] == FLOOR).all(), "nothing else changes"
    assert mended.segments == spoilt.segments
    views = [overlooked(seen(stamp_s, [CUBE])) for stamp_s in range(4)]
    (known,) = mapped(views, SETTINGS).known()
    np.testing.assert_allclose(known.box.center_m[1:], (0.1, 0.1), atol=0.02)
    (half,) = mapped(views, dataclasses.replace(SETTINGS, standing_m=0.0)).known()
    assert abs(half.box.center_m[1] - 0.1) > 0.03, "without it, half a thing"


def test_what_no_segment_names_is_an_unknown_thing_until_it_is_named_or_if_wished_nobodys():
    views = [overlooked(seen(stamp_s, [CUBE]), 1.0) for stamp_s in range(3)]
    unwished = dataclasses.replace(SETTINGS, unnamed_things=False)
    mended = completed(views[0], POSE, unwished)
    rises = (seen(0, [CUBE]).segment == FIRST) & (height_m(views[0]) > 0.02)
    assert (mended.segment[rises] == 0).all()
    assert mapped(views, unwished).known() == []
    objects = mapped(views, SETTINGS)
    (known,) = objects.known()
    assert (known.name, known.class_id) == (UNNAMED, UNLABELLED_CLASS)
    assert known.score < 1e-5
    np.testing.assert_allclose(known.box.center_m[1:], (0.1, 0.1), atol=0.02)
    objects.update(seen(3, [CUBE]), POSE)
    (named,) = objects.known()
    assert (named.identity, named.name, named.score) == (known.identity, "cube", pytest.approx(0.8))
    objects.update(overlooked(seen(4, [CUBE]), 1.0), POSE)
    (named,) = objects.known()
    assert (named.identity, named.name, named.score) == (known.identity, "cube", pytest.approx(0.8))


def test_a_flat_thing_that_nothing_names_is_not_taken_by_the_table_that_had_it_before():
    flat = (0.0, 0.1, 0.24, 0.02)

    def on_a_table(stamp_s):
        view = overlooked(seen(stamp_s, [flat]), 1.0)
        table = dataclasses.replace(view.segments[0], is_thing=True)
        return dataclasses.replace(view, segments=(table, *view.segments[1:]))

    objects = mapped([on_a_table(i) for i in range(3)], dataclasses.replace(SETTINGS, standing_m=0))
    assert [one.name for one in objects.known()] == ["wall"]
    objects.change(SETTINGS)
    for i in range(3, 6):
        objects.update(on_a_table(i), POSE)
    table, thing = objects.known()
    assert (table.views, thing.views, thing.name) == (6, 3, UNNAMED)
    np.testing.assert_allclose(thing.box.center_m[:2], (0.0, 0.1), atol=0.02)
    np.testing.assert_allclose(thing.box.size_m[:2], (0.24, 0.24), atol=0.05)


def test_a_class_that_is_called_unknown_is_a_class_like_others():
    names = ("unknown", "wall", "ball")
    views = [seen(i, [CUBE], name="unknown", names=names) for i in range(4)]
    (known,) = mapped(views, SETTINGS).known()
    assert (known.class_id, known.score) == (0, pytest.approx(0.8))


def test_a_thing_does_not_take_what_it_is_only_a_small_part_of():
    beside = [(-0.1, 0.1, 0.04), (0.0, 0.24, 0.24)]
    whole = seen(0, beside)
    spoilt = overlooked(whole, 1.0, index=FIRST + 1)
    mended = completed(spoilt, POSE, SETTINGS)
    assert (mended.segment[whole.segment == FIRST] == FIRST).all()
    assert (mended.segment == FIRST).sum() == (whole.segment == FIRST).sum()


def test_things_that_are_too_high_and_things_under_no_level_surface_stay_as_they_are():
    spoilt = overlooked(seen(0, [(0.0, 0.1, 0.2, 0.6)]))
    np.testing.assert_array_equal(completed(spoilt, POSE, SETTINGS).segment, spoilt.segment)
    spoilt = overlooked(seen(0, [CUBE]))
    tilt = np.eye(4)
    tilt[:3, :3] = ((1, 0, 0), (0, 0.8, -0.6), (0, 0.6, 0.8))
    np.testing.assert_array_equal(completed(spoilt, tilt @ POSE, SETTINGS).segment, spoilt.segment)
    assert completed(spoilt, POSE, dataclasses.replace(SETTINGS, standing_m=0.0)) is spoilt
    nowhere = dataclasses.replace(spoilt, points_m=np.full_like(spoilt.points_m, np.nan))
    assert completed(nowhere, POSE, SETTINGS) is nowhere
    nothing = dataclasses.replace(spoilt, segment=np.zeros_like(spoilt.segment), segments=())
    assert completed(nothing, POSE, SETTINGS) is nothing


def test_a_picture_with_more_points_than_are_looked_at_is_mended_at_its_own_size():
    spoilt = overlooked(seen(0, [CUBE]))
    large = dataclasses.replace(
        spoilt,
        points_m=spoilt.points_m.repeat(4, axis=0).repeat(4, axis=1),
        segment=spoilt.segment.repeat(4, axis=0).repeat(4, axis=1),
    )
    mended = completed(large, POSE, SETTINGS).segment
    np.testing.assert_array_equal(mended[::4, ::4], mended[3::4, 3::4])
    assert ((mended == FIRST).sum() - 16 * (spoilt.segment == FIRST).sum()) > 1000


def test_a_part_that_got_another_name_joins_the_thing_once_that_is_seen_whole():
    half = [overlooked(seen(i, [CUBE], name="ball")) for i in range(2)]
    whole = [seen(2 + i, [CUBE]) for i in range(5)]
    settings = dataclasses.replace(SETTINGS, standing_m=0.0, other_name_overlap=1.0)
    objects = mapped([*half, *whole], settings)
    (known,) = objects.known()
    assert (known.identity, known.name) == (1, "cube")
    assert objects.dropped == {"merged": 1}
