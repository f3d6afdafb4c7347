"""Every kind of message reaches the page, and none that is broken keeps the others from it."""

import itertools

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from graph_nodes import wait_until
from graph_tools import now_ns
from sensor_msgs.msg import PointCloud2, PointField
from sensorium_ros.msg import ActionChunk, Object, Objects, Segments, SignalEstimate
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from viewer_tools import need_viewer, pink_wall, start_viewer

from sensorium.nodes import viewer as viewer_module
from sensorium.ros.convert.header import header
from sensorium.ros.convert.pointcloud import cloud_from_points
from sensorium.segmentation.labels import class_color

HOSTILE = "<script>x</script>"


@pytest.fixture
def viewer(graph):
    need_viewer()
    node = start_viewer(graph, **{"topics.map": "geometry/map"})
    return Sender(graph, node)


class Sender:
    """Sends a message until the page shows something."""

    def __init__(self, graph, node):
        self.graph, self.node = graph, node.node
        self.page = self.node._server.page
        self._publishers = {}

    def until(self, message, topic, shown):
        """Send a message again and again until `shown()` is true."""
        if topic not in self._publishers:
            qos = "transient_local" if topic.endswith("/map") else "reliable"
            self._publishers[topic] = self.graph.publisher(type(message), topic, qos)
        tries = itertools.count()

        def seen():
            if next(tries) % 50 == 0:
                self._publishers[topic].publish(message)
            return shown()

        wait_until(seen, f"{topic} does not reach the page")

    def node_named(self, name):
        return self.page.scene.get_handle_by_name(name)

    def boxes(self):
        """{text: node} of the boxes that are seen."""
        nodes = [self.node_named(f"/objects/{index}") for index in range(3)]
        return {
            self.node_named(f"{node.name}/name").text: node for node in nodes
            if node is not None and node.visible
        }  # fmt: skip

    def html(self):
        panel = self.node._page[1]
        parts = ("_status", "_classes", "_action", "_command", "_signals", "_nodes")
        return "".join(getattr(panel, part).content for part in parts)


def objects(*found, frame_id="map"):
    return Objects(header=header(now_ns(), frame_id), objects=list(found))


def thing(identity, name, x=1.0, size=(0.1, 0.2, 0.3)):
    return Object(
        id=identity, name=name, class_id=2, score=0.75,
        pose=Pose(position=Point(x=x, y=0.0, z=0.5), orientation=Quaternion(w=1.0)),
        size=Vector3(x=size[0], y=size[1], z=size[2]),
    )  # fmt: skip


def estimate(model="activity", scores=(0.2, 0.8), names=("walk", "sit")):
    return SignalEstimate(
        header=header(now_ns(), ""), model=model, class_names=list(names), scores=list(scores)
    )


def test_the_address_is_printed_when_the_page_shows_points(graph, monkeypatch, capsys):
    need_viewer()
    monkeypatch.setattr(viewer_module, "_ADDRESS_AFTER_S", 1e9)
    sender = Sender(graph, start_viewer(graph))
    drawer, printed = sender.node._drawer, []

    def page_is_printed():
        printed.append(capsys.readouterr().out)
        return sender.node.url in "".join(printed)

    wait_until(lambda: drawer.counts.processed > 3, "the page is not drawn")
    assert not page_is_printed()
    cloud = cloud_from_points(np.ones((3, 3), np.float32), now_ns(), "map")
    sender.until(cloud, "/geometry/points", page_is_printed)
    drawn = drawer.counts.processed
    wait_until(lambda: drawer.counts.processed > drawn + 3, "the page is not drawn any more")
    assert page_is_printed()
    assert "".join(printed).count(sender.node.url) == 1


def test_every_kind_of_message_is_shown(viewer):
    points = np.full((10, 10, 3), 1.0, np.float32)
    viewer.until(
        cloud_from_points(points, now_ns(), "map", colors=np.full((10, 10, 3), 9, np.uint8)),
        "/geometry/points", lambda: viewer.node_named("/clouds/map"),
    )  # fmt: skip
    assert (viewer.node_named("/clouds/map").colors == 9).all()
    viewer.until(
        labelled_cloud(points, [0] * 50 + [65535] * 50), "/semantic_cloud/points",
        lambda: tuple(viewer.node_named("/clouds/map").colors[0]) == class_color(0),
    )  # fmt: skip
    assert len(np.unique(viewer.node_named("/clouds/map").colors[-1])) == 1, "unlabelled is grey"
    viewer.until(
        pink_wall(), "/camera/rgbd", lambda: viewer.node_named("/cameras/camera") is not None
    )
    assert viewer.node_named("/cameras/camera").image is not None
    viewer.until(
        cloud_from_points(points[0], now_ns(), "map"), "/geometry/map",
        lambda: viewer.node_named("/clouds/fused map"),
    )  # fmt: skip

    viewer.until(
        objects(thing(4, "box"), thing(3, "mug")), "/semantic_cloud/objects",
        lambda: list(viewer.boxes()) == ["mug 0.75", "box 0.75"],
    )  # fmt: skip
    np.testing.assert_allclose(viewer.boxes()["mug 0.75"].position, (1.0, 0.0, 0.5))
    np.testing.assert_allclose(viewer.boxes()["mug 0.75"].dimensions, (0.1, 0.2, 0.3))
    viewer.until(
        objects(thing(4, "tray", x=2.0)), "/semantic_cloud/objects",
        lambda: list(viewer.boxes()) == ["tray 0.75"],
    )  # fmt: skip
    np.testing.assert_allclose(viewer.boxes()["tray 0.75"].position, (2.0, 0.0, 0.5))

    viewer.until(
        Segments(header=header(now_ns(), "map"), vocabulary_version=7, class_names=["a", HOSTILE]),
        "/segmentation/segments", lambda: "<b data-version>7</b>" in viewer.html(),
    )  # fmt: skip
    warming_up = estimate(scores=())
    warming_up.status = SignalEstimate.STATUS_WARMING_UP
    viewer.until(warming_up, "/signal/activity", lambda: "activity: warming up" in viewer.html())
    viewer.until(estimate(), "/signal/activity", lambda: "activity: ok" in viewer.html())
    assert viewer.node._feed._rejections.total == 0
    viewer.until(
        ActionChunk(
            header=header(now_ns(), ""), policy="geo", instruction=HOSTILE, rate_hz=10.0,
            action_names=["joint1 [rad]", "joint2 [rad]"], actions=[0.1, 0.2, 0.3, 0.4],
            rejections=["velocity: joint1 clipped"],
        ),
        "/policy/chunk", lambda: "velocity: joint1 clipped" in viewer.html(),
    )  # fmt: skip
    assert "not sent" in viewer.html()
    viewer.until(
        JointTrajectory(
            header=header(now_ns(), ""), joint_names=["joint1"],
            points=[JointTrajectoryPoint(positions=[0.25])],
        ),
        "/joint_trajectory", lambda: "joint1 0.250" in viewer.html(),
    )  # fmt: skip
    guard = DiagnosticStatus(level=b"\2", name="/policy_guard", message="observation is stale")
    viewer.until(
        DiagnosticArray(header=header(now_ns(), ""), status=[guard]), "/diagnostics",
        lambda: "observation is stale" in viewer.html(),
    )  # fmt: skip
    assert HOSTILE not in viewer.html()


def test_a_cloud_at_the_beginning_of_simulated_time_is_shown(viewer):
    cloud = cloud_from_points(np.ones((4, 4, 3), np.float32), 100_000_000, "map")
    viewer.until(cloud, "/geometry/points", lambda: viewer.node_named("/clouds/map"))


def test_what_is_broken_is_counted_and_the_rest_is_still_shown(viewer):
    points = np.ones((4, 4, 3), np.float32)
    broken_cloud = cloud_from_points(points, now_ns(), "map")
    broken_cloud.width = 1000
    no_pose = pink_wall()
    no_pose.world_from_camera.orientation = Quaternion(x=0.0, y=0.0, z=0.0, w=0.0)
    broken = {
        "/geometry/points": broken_cloud,
        "/semantic_cloud/points": cloud_from_points(points, now_ns(), "map"),
        "/camera/rgbd": no_pose,
        "/semantic_cloud/objects": objects(thing(1, "flat", size=(0.0, float("nan"), 1.0))),
        "/signal/activity": estimate(scores=(0.1,)),
        "/policy/chunk": ActionChunk(action_names=["a", "b"], actions=[1.0]),
    }
    for count, (topic, message) in enumerate(broken.items(), start=1):
        viewer.until(
            message, topic,
            lambda n=count: viewer.node._feed._rejections.total >= n,
        )  # fmt: skip
    viewer.until(
        objects(thing(1, "mug")), "/semantic_cloud/objects",
        lambda: list(viewer.boxes()) == ["mug 0.75"],
    )  # fmt: skip
    numbers = itertools.count()

    def refused():
        message = cloud_from_points(points, now_ns(), f"made_up_{next(numbers)}")
        viewer._publishers["/geometry/points"].publish(message)
        return "too_many" in viewer.node._feed._rejections._counts

    wait_until(refused, "any number of frames is taken")
    status = viewer.graph.status("/viewer", lambda s: s.count("rejected.too_many") > 0)
    assert status.count("draws_failed") == 0, status


def test_what_has_no_place_in_the_world_is_shown_with_the_reason(viewer):
    message = pink_wall()
    message.has_pose = False
    viewer.until(message, "/camera/rgbd", lambda: viewer.node_named("/cameras/camera"))
    wait_until(lambda: "is not in its place" in viewer.html(), "no reason is given")
    viewer.graph.static_transform("map", "optical")
    viewer.until(message, "/camera/rgbd", lambda: "is not in its place" not in viewer.html())


def labelled_cloud(points, labels):
    message = cloud_from_points(points, now_ns(), "map")
    values = np.array(labels, np.uint32)
    table = np.frombuffer(bytes(message.data), np.uint8).reshape(len(values), -1)
    data = np.concatenate([table, values.view(np.uint8).reshape(-1, 4)], axis=1)
    fields = [*message.fields, PointField(name="label", offset=12, datatype=6, count=1)]
    return PointCloud2(
        header=message.header, height=message.height, width=message.width, fields=fields,
        point_step=16, row_step=16 * message.width, data=data.tobytes(), is_dense=True,
    )  # fmt: skip
