"""A walk around a table through real nodes: geometry, and the semantic cloud behind it."""

import numpy as np
from objects_tools import START_NS, SemanticSession, Walk, by_stamp
from rendered_walk import CENTER_LIMIT_M, OTHER_NAMES, Identities, errors_m
from sensorium_ros.msg import Objects
from std_srvs.srv import Trigger

from sensorium.objects.configuration import ObjectsConfiguration
from sensorium.ros.convert.pointcloud import (
    colors_from_cloud,
    field_from_cloud,
    points_from_cloud,
)
from sensorium.ros.convert.pose import matrix_from_pose
from sensorium.sources.scene import CLASS_NAMES


def centers_of(message: Objects):
    return {one.id: (one.name, matrix_from_pose(one.pose)[:3, 3]) for one in message.objects}


def test_each_thing_keeps_one_identity_and_its_box_is_where_it_stands(graph):
    as_shipped = {"objects.min_views": ObjectsConfiguration().min_views}
    session = SemanticSession(graph, **as_shipped, **{"tf_timeout_s": 2.0})
    walk = Walk(0, 28, start_ns=START_NS)
    things = walk.on_table()
    identities = Identities(things)
    for number, step in enumerate(walk):
        # In the middle of the walk the class list is replaced.
        names, version = (CLASS_NAMES, 1) if number < 20 else (OTHER_NAMES, 2)
        objects = session.walk(step, names, version)
        assert objects.header.frame_id == "map"
        assert objects.vocabulary_version == version
        identities.note(centers_of(objects))
        if number == 0:
            _check_points(by_stamp(session.points)[step.frame.stamp_ns], step)
    errors = errors_m(things, centers_of(objects))
    assert max(errors.values()) < CENTER_LIMIT_M, errors
    assert all(len(seen) == 1 for seen in identities.seen.values()), identities.seen
    for one in objects.objects:
        quaternion = one.pose.orientation
        assert quaternion.x == quaternion.y == 0.0, "the box stands upright"
        assert 0.8 < one.score < 1.0
        seen_now = one.last_seen == objects.header.stamp
        assert not seen_now or OTHER_NAMES[one.class_id] == one.name
    markers = session.markers[-1].markers
    assert {m.id for m in markers if m.ns == "boxes"} == {one.id for one in objects.objects}

    answer = graph.call(Trigger, "/semantic_cloud/reset", Trigger.Request())
    assert answer.success
    highest = max(one.id for one in objects.objects)
    status = graph.status(session.node)
    assert status.count("objects") == 0
    assert status.count("failed") == status.count("rejected") == 0, status
    again = Walk(0, 28, start_ns=step.frame.stamp_ns + 1_000_000_000)
    for _, step in zip(range(8), again, strict=False):
        objects = session.walk(step)
    assert objects.objects
    assert min(one.id for one in objects.objects) > highest, "identities are not used again"


def _check_points(cloud, step):
    truth = step.truth
    assert (cloud.height, cloud.width) == truth.class_ids.shape
    assert cloud.header.frame_id == step.frame.optical_frame
    names = [field.name for field in cloud.fields]
    assert names == ["x", "y", "z", "rgb", "label", "instance", "score"]
    np.testing.assert_array_equal(field_from_cloud(cloud, "label"), truth.class_ids)
    np.testing.assert_array_equal(field_from_cloud(cloud, "instance"), step.panoptic & 0xFFFF)
    np.testing.assert_allclose(field_from_cloud(cloud, "score"), 200 / 255, atol=1e-6)
    np.testing.assert_allclose(points_from_cloud(cloud)[..., 2], step.frame.depth_m, atol=1e-5)
    np.testing.assert_array_equal(colors_from_cloud(cloud), step.frame.color)
