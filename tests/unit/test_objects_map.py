"""Objects that appear, vanish and grow: bounded, forgotten by rule, believed by what is seen."""

import dataclasses

import numpy as np
import pytest

from sensorium.objects.box import fitted_box
from sensorium.objects.configuration import ObjectsConfiguration
from sensorium.objects.labelled_view import (
    UNLABELLED_CLASS,
    UNNAMED,
    LabelledView,
    SeenSegment,
    on_grid,
    segment_indices,
    trusted,
)
from sensorium.objects.object_map import ObjectMap
from sensorium.objects.query import NotComparable, best_matches
from sensorium.objects.visibility import fitted_projection
from sensorium.objects.voxels import Surface, keys_of, surface_patch, touching_lumps
from sensorium.sources.trajectory import look_at

SECOND_NS = 1_000_000_000
HEIGHT_PX, WIDTH_PX, FOCAL_PX = 96, 128, 110.0
NAMES = ("cube", "wall", "ball")
# Above the origin, looking down at a slant: world z is up.
POSE = look_at(np.array((-1.0, 0.0, 0.8)), np.array((0.0, 0.0, 0.0)))


def rays():
    v, u = np.mgrid[:HEIGHT_PX, :WIDTH_PX].astype(np.float64)
    x, y = (u - (WIDTH_PX - 1) / 2) / FOCAL_PX, (v - (HEIGHT_PX - 1) / 2) / FOCAL_PX
    return np.stack((x, y, np.ones_like(x)), axis=-1)


def seen(stamp_s, cubes, *, name="cube", names=NAMES, version=1, pose=POSE, embedding=None):
    """A floor at z = 0 with cubes on it: (centre x, y, edge) or (.., edge, height) [m] each."""
    direction = rays() @ pose[:3, :3].T
    origin = pose[:3, 3]
    depth = -origin[2] / direction[..., 2]
    panoptic = np.full(depth.shape, 1 << 16 | 1, np.int32)
    segments = [SeenSegment(1 << 16 | 1, 1, names[1], False, 0.9)]
    for x, y, edge, *height in cubes:
        low = np.array((x - edge / 2, y - edge / 2, 0.0))
        high = np.array((x + edge / 2, y + edge / 2, *(height or (edge,))))
        with np.errstate(divide="ignore", invalid="ignore"):
            first, second = (low - origin) / direction, (high - origin) / direction
        near = np.minimum(first, second).max(axis=-1)
        far = np.maximum(first, second).min(axis=-1)
        hit = (near <= far) & (near > 0) & (near < depth)
        class_id = names.index(name)
        value = class_id << 16 | len(segments) + 1
        segments.append(SeenSegment(value, class_id, name, True, 0.8, embedding))
        panoptic[hit], depth[hit] = value, near[hit]
    indices = segment_indices(panoptic, segments)
    return LabelledView(
        round(stamp_s * SECOND_NS), (rays() * depth[..., None]).astype(np.float32), indices,
        (indices > 0).astype(np.float32), tuple(segments), names, version,
    )  # fmt: skip


def mapped(*views, **settings):
    objects = ObjectMap(ObjectsConfiguration(**{"min_points": 10, "min_views": 2, **settings}))
    for view in views:
        objects.update(view, POSE)
    return objects


def test_a_thing_is_published_from_its_second_picture_with_box_stamps_and_score():
    cube = (0.0, 0.1, 0.2)
    assert mapped(seen(0, [cube])).known() == []
    (known,) = mapped(seen(0, [cube]), seen(1, [cube]), seen(2, [])).known()
    np.testing.assert_allclose(known.box.center_m[1:], (0.1, 0.1), atol=0.02)
    np.testing.assert_allclose(known.box.size_m[1:], (0.2, 0.2), atol=0.03)
    assert (known.first_seen_ns, known.last_seen_ns, known.views) == (0, SECOND_NS, 2)
    assert (known.name, known.class_id) == ("cube", 0)
    assert known.score == pytest.approx(0.8)


def joined(view):
    """The same picture with one segment over all its cubes."""
    index = np.minimum(view.segment, 2)
    return dataclasses.replace(view, segment=index, segments=view.segments[:2])


def test_two_things_under_one_mask_are_two_objects_from_the_first_picture_on():
    cubes = [(0.0, 0.2, 0.1), (0.0, -0.2, 0.1)]
    objects = mapped(*(joined(seen(stamp_s, cubes)) for stamp_s in range(4)))
    known = objects.known()
    assert [thing.views for thing in known] == [4, 4]
    centers = sorted(thing.box.center_m[1] for thing in known)
    np.testing.assert_allclose(centers, (-0.2, 0.2), atol=0.02)
    apart = mapped(*(seen(stamp_s, cubes) for stamp_s in range(4)), joined(seen(4, cubes)))
    assert [(thing.identity, thing.views) for thing in apart.known()] == [(1, 5), (2, 5)]


def test_of_two_parts_that_become_one_the_published_identity_stays():
    left, right = (0.0, -0.05, 0.1), (0.0, 0.05, 0.1)
    both = [joined(seen(stamp_s, [left, right])) for stamp_s in (3, 4, 5)]
    objects = mapped(seen(0, [left]), seen(1, [right]), seen(2, [right]), merge_views=1)
    assert [one.identity for one in objects.known()] == [2], "the first was seen once only"
    for view in both:
        objects.update(view, POSE)
    assert [one.identity for one in objects.known()] == [2]
    assert objects.dropped == {"merged": 1}


def test_a_thing_that_another_parts_in_two_stays_one_object():
    long, pole = (0.15, 0.0, 0.4, 0.06), (-0.4, 0.0, 0.12, 0.6)
    objects = mapped(seen(0, [long]), seen(1, [long]), seen(2, [long, pole]), seen(3, [long, pole]))
    assert [(thing.identity, thing.views) for thing in objects.known()] == [(1, 4), (2, 2)]


def test_two_sides_of_a_thing_with_two_names_are_one_and_what_stands_beside_it_is_another():
    high, beside = (0.0, 0.1, 0.08, 0.4), (0.0, 0.19, 0.08, 0.4)
    other_side = look_at(np.array((1.0, 0.0, 0.8)), np.array((0.0, 0.0, 0.0)))
    objects = mapped(*(seen(i, [high]) for i in range(3)))
    for i in range(3, 6):
        objects.update(seen(i, [high], name="ball", pose=other_side), other_side)
    (known,) = objects.known()
    assert known.views == 6
    for i in range(6, 9):
        objects.update(seen(i, [high, beside], name="ball", pose=other_side), other_side)
    assert [one.views for one in objects.known()] == [9, 3]


def test_two_segments_that_fill_one_space_are_one_object():
    whole = seen(0, [(0.0, 0.1, 0.2)])
    second = dataclasses.replace(
        whole.segments[1], panoptic_id=2 << 16 | 3, class_id=2, name="ball"
    )
    columns = np.arange(WIDTH_PX) // 2 % 2 == 1
    segment = np.where(columns & (whole.segment == 2), 3, whole.segment).astype(np.uint16)
    woven = dataclasses.replace(whole, segment=segment, segments=(*whole.segments, second))
    objects = mapped(woven, border_px=0, merge_views=50, standing_m=0.0, min_views=1)
    assert [one.identity for one in objects.known()] == [1]
    assert objects.dropped == {"merged": 1}
    apart = mapped(woven, border_px=0, merge_views=0, standing_m=0.0, min_views=1)
    assert len(apart.known()) == 2, "0 never joins"


def test_a_segment_that_fills_anothers_space_joins_both_under_the_identity_published_first():
    high, settings = (0.0, 0.1, 0.08, 0.4), {"standing_m": 0.0, "min_views": 3}
    other_side = look_at(np.array((1.0, 0.0, 0.8)), np.array((0.0, 0.0, 0.0)))
    other = seen(0, [high], name="ball", pose=other_side)
    height_m = (other.points_m @ other_side[:3, :3].T + other_side[:3, 3])[..., 2]
    low = dataclasses.replace(other, segment=np.where(height_m > 0.12, 1, other.segment))
    views = [seen(i, [high]) for i in range(3)]
    objects = mapped(*views, **settings)
    for i in range(3, 6):
        stamped = dataclasses.replace(low, stamp_ns=i * SECOND_NS)
        objects.update(stamped, other_side)
    assert len(objects.known()) == 2
    for i in range(6, 9):
        objects.update(dataclasses.replace(other, stamp_ns=i * SECOND_NS), other_side)
    (known,) = objects.known()
    assert known.identity == 1
    np.testing.assert_allclose(known.box.size_m, (0.08, 0.08, 0.4), atol=0.03)


def test_a_thing_that_was_taken_away_goes_and_one_put_elsewhere_is_new():
    here, there = (0.0, 0.0, 0.2), (0.0, 0.45, 0.2)
    views = [seen(i / 10, [here]) for i in range(5)]
    views += [seen(1 + i / 10, [there]) for i in range(14)]
    objects = mapped(*views)
    (known,) = objects.known()
    assert known.identity == 2
    np.testing.assert_allclose(known.box.center_m[1], 0.45, atol=0.02)
    assert objects.dropped == {"gone": 1}


def test_a_flat_thing_that_was_taken_away_goes_after_some_pictures_without_it():
    flat = (0.0, 0.0, 0.2, 0.02)
    views = [seen(i / 10, [flat]) for i in range(3)]
    without = [seen(1 + i / 10, []) for i in range(6)]
    assert [one.identity for one in mapped(*views, *without[:4], missed_views=5).known()] == [1]
    assert mapped(*views, *without, missed_views=5).known() == []
    # Seen again in between, it stays: the pictures must follow each other.
    again = [seen(2, [flat]), *(seen(3 + i / 10, []) for i in range(4))]
    objects = mapped(*views, *without[:4], *again, missed_views=5)
    assert [one.identity for one in objects.known()] == [1]


def test_a_thing_that_is_hidden_or_out_of_the_picture_stays():
    views = [seen(i, [(0.0, 0.0, 0.1)]) for i in range(3)]
    # A large cube before it hides it; then the camera looks away.
    hidden = [seen(3 + i, [(-0.3, 0.0, 0.3)]) for i in range(12)]
    objects = mapped(*views, *hidden)
    away = look_at(np.array((-1.0, 0.0, 0.8)), np.array((-2.0, 0.0, 0.0)))
    for i in range(12):
        objects.update(seen(20 + i, [], pose=away), away)
    assert [one.identity for one in objects.known()] == [1, 2]


def test_forgetting_is_by_parameter_and_doubtful_things_go_by_themselves():
    cube, other = (0.0, 0.0, 0.1), (0.0, 0.4, 0.1)
    away = look_at(np.array((-1.0, 0.0, 0.8)), np.array((-2.0, 0.0, 0.0)))
    for forget_after_s, left in ((0.0, [1]), (20.0, [])):
        objects = mapped(seen(0, [cube]), seen(1, [cube, other]), forget_after_s=forget_after_s)
        objects.update(seen(30, [], pose=away), away)
        assert [one.identity for one in objects.known()] == left
        assert objects.dropped["doubtful"] == 1


def test_the_number_of_objects_is_bounded_and_the_longest_unseen_goes_first():
    places = [(-0.1, -0.5 + 0.25 * i, 0.1) for i in range(5)]
    views = [seen(i + j / 10, [place]) for i, place in enumerate(places) for j in range(2)]
    away = look_at(np.array((-1.0, 0.0, 0.8)), np.array((-2.0, 0.0, 0.0)))
    objects = ObjectMap(ObjectsConfiguration(min_points=10, max_objects=3))
    for view in views:
        objects.update(view, POSE)
        objects.update(seen(view.stamp_ns / SECOND_NS + 0.01, [], pose=away), away)
        assert len(objects) <= 3
    assert objects.dropped["too_many"] + objects.dropped["gone"] >= 2


def test_a_name_that_the_new_class_list_lacks_stays_until_the_thing_is_seen_again():
    cube = (0.0, 0.0, 0.2)
    away = look_at(np.array((-1.0, 0.0, 0.8)), np.array((-2.0, 0.0, 0.0)))
    objects = mapped(seen(0, [cube]), seen(1, [cube]))
    names = ("brick", "wall", "ball")
    objects.update(seen(2, [], names=names, version=2, pose=away), away)
    (known,) = objects.known()
    assert (known.name, known.class_id) == ("cube", UNLABELLED_CLASS)
    objects.update(seen(3, [cube], name="brick", names=names, version=2), POSE)
    (known,) = objects.known()
    assert (known.identity, known.name, known.class_id) == (1, "brick", 0)


def test_identities_are_not_used_again_after_a_reset():
    cube = (0.0, 0.0, 0.2)
    objects = mapped(seen(0, [cube]), seen(1, [cube]))
    objects.reset()
    assert objects.known() == []
    for i in range(2):
        objects.update(seen(2 + i, [cube]), POSE)
    assert [one.identity for one in objects.known()] == [2]


def test_texts_refuse_objects_without_embeddings_or_of_another_length():
    cube = (0.0, 0.0, 0.2)
    text = np.array((1.0, 0.0), np.float32)
    plain = mapped(seen(0, [cube]), seen(1, [cube])).known()
    with pytest.raises(NotComparable, match="embeddings"):
        best_matches(plain, text)
    assert best_matches([], text) == []
    unnamed = dataclasses.replace(plain[0], name=UNNAMED, class_id=UNLABELLED_CLASS)
    assert best_matches([unnamed], text) == []
    three = np.array((0.0, 0.0, 1.0), np.float32)
    views = [seen(i, [cube], embedding=three) for i in range(2)]
    with pytest.raises(NotComparable, match="length 3"):
        best_matches(mapped(*views).known(), text)


def test_a_surface_with_too_many_voxels_becomes_coarser_and_keeps_its_box():
    random = np.random.default_rng(0)
    points = random.uniform((0, 0, 0), (1.0, 0.6, 0.3), (60000, 3))
    surface = Surface(surface_patch(points, 0.01), 0.01, 2000)
    for _ in range(3):
        surface.add(surface_patch(random.uniform((0, 0, 0), (1.0, 0.6, 0.3), (9000, 3)), 0.01))
    assert len(surface) <= 2000
    assert surface.voxel_size_m == pytest.approx(0.08)
    box = fitted_box(surface.points_m)
    np.testing.assert_allclose(box.center_m, (0.5, 0.3, 0.15), atol=0.02)
    np.testing.assert_allclose(box.size_m, (1.0, 0.6, 0.3), atol=0.09)
    size, common = surface.common(surface_patch(points[:500], 0.01))
    assert common == size


def test_voxels_are_coarsened_about_the_origin_on_both_sides():
    points = np.array(((-0.005, 0.005, -0.015), (-0.015, 0.015, -0.005), (0.005, 0.005, 0.005)))
    surface = Surface(surface_patch(points, 0.01), 0.01, 2)
    expected = np.unique(keys_of(points, 0.02))
    assert len(surface) == len(expected) == 2
    np.testing.assert_array_equal(surface._patch.keys, expected)


def test_lumps_are_those_of_a_flood_fill():
    random = np.random.default_rng(2)
    cells = np.unique(random.integers(-6, 6, (180, 3)), axis=0)
    keys = keys_of((cells + 0.5) * 0.1, 0.1)
    lump = np.empty(len(cells), int)
    lump[np.argsort(keys)] = touching_lumps(np.sort(keys))
    near = np.abs(cells[:, None] - cells[None]).max(axis=-1) <= 1
    reached = near
    for _ in range(8):
        reached = (reached.astype(int) @ reached) > 0
    assert 1 < len(np.unique(lump)) < len(cells)
    np.testing.assert_array_equal(lump[:, None] == lump[None], reached)


@pytest.mark.parametrize("yaw_deg", [-70.0, 0.0, 20.0, 89.0])
def test_a_box_is_fitted_at_any_yaw_and_keeps_its_axes_from_picture_to_picture(yaw_deg):
    random = np.random.default_rng(1)
    yaw = np.radians(yaw_deg)
    turn = np.array(((np.cos(yaw), -np.sin(yaw), 0), (np.sin(yaw), np.cos(yaw), 0), (0, 0, 1)))
    points = random.uniform(-1, 1, (4000, 3)) * (0.4, 0.2, 0.1) @ turn.T + (5.0, -3.0, 1.0)
    box = fitted_box(points)
    np.testing.assert_allclose(box.center_m, (5.0, -3.0, 1.0), atol=0.01)
    np.testing.assert_allclose(box.size_m, (0.8, 0.4, 0.2), atol=0.02)
    assert abs(np.sin(box.yaw_rad - yaw)) < 0.02
    before = dataclasses.replace(box, yaw_rad=box.yaw_rad + np.pi / 2 + 0.05)
    again = fitted_box(points, before)
    assert abs(again.yaw_rad - before.yaw_rad) < 0.1
    np.testing.assert_allclose(again.size_m, (0.4, 0.8, 0.2), atol=0.06)


def test_images_of_another_size_are_taken_by_the_nearest_pixel_centre():
    image = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(on_grid(image, 3, 4), image)
    np.testing.assert_array_equal(on_grid(image, 6, 8), np.kron(image, np.ones((2, 2), int)))
    wide = np.arange(24).reshape(4, 6)
    np.testing.assert_array_equal(on_grid(wide, 2, 3), wide[1::2, 1::2])


def test_pixels_whose_value_is_of_no_segment_are_unlabelled():
    segments = [SeenSegment(3 << 16 | 1, 3, "a", True, 0.5)]
    panoptic = np.array(((3 << 16 | 1, 4 << 16 | 1), (0, 3 << 16 | 2)), np.int32)
    np.testing.assert_array_equal(segment_indices(panoptic, segments), ((1, 0), (0, 0)))


def test_outlines_are_trusted_before_their_background_and_not_behind_or_beside_others():
    view = seen(0, [(0.0, 0.0, 0.2)])
    kept = trusted(view, 1, 0.05)
    cube = view.segment == 2
    rows, columns = np.nonzero(cube)
    top, bottom, middle = rows.min(), rows.max(), int(columns.mean())
    assert kept[top, middle], "the upper outline lies clearly before the floor behind it"
    assert not kept[bottom, middle], "where the cube stands the floor is as near"
    assert not kept[top - 1, middle], "the floor beside the outline may be a mixture"
    assert kept[~cube][: WIDTH_PX // 2].all()


def test_the_camera_is_read_off_an_organised_cloud_and_a_bent_one_is_refused():
    points = seen(0, [(0.0, 0.0, 0.2)]).points_m
    (fx, cx), (fy, cy) = fitted_projection(points)
    np.testing.assert_allclose((fx, fy), FOCAL_PX, rtol=1e-4)
    np.testing.assert_allclose((cx, cy), ((WIDTH_PX - 1) / 2, (HEIGHT_PX - 1) / 2), atol=1e-2)
    bent = points.copy()
    bent[..., 0] *= 1 + 0.2 * (bent[..., :2] ** 2).sum(-1)
    assert fitted_projection(bent) is None
    assert fitted_projection(np.full_like(points, np.nan)) is None
