"""A recording replayed through the geometry node gives what the live run gave, number by number."""

import dataclasses

import numpy as np
from graph_nodes import wait_until
from graph_tools import HEIGHT_PX, ORIGIN, SECOND_NS, WIDTH_PX, wall
from sensor_msgs.msg import PointCloud2
from sensorium_ros.msg import RgbdFrame

from sensorium.bags.comparison import Choice, compare_bags
from sensorium.bags.message_difference import Tolerance
from sensorium.ros.convert.header import stamp_from_time
from sensorium.ros.convert.rgbd_frame import message_from_frame

FRAMES = 6
OUTPUTS = ("/geometry/points", "/geometry/depth", "/geometry/camera_info", "/geometry/tokens")
# What docs/replay_and_compare.md states: sums of 32-bit numbers in another order.
TOLERANCE = Tolerance(absolute=1e-5, relative=1e-5)


def bumpy_frame(number):
    """A wall with bumps, holes and colours of its own."""
    random = np.random.default_rng(number)
    depth = (1.5 + 0.3 * random.random((HEIGHT_PX, WIDTH_PX))).astype(np.float32)
    depth[random.random(depth.shape) < 0.05] = np.nan
    color = random.integers(0, 256, (HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8)
    pose = ORIGIN.copy()
    pose[0, 3] = 0.05 * number
    stamp_ns = 1_700_000_000 * SECOND_NS + number * SECOND_NS // 4
    return dataclasses.replace(wall(stamp_ns, pose=pose), depth_m=depth, color=color)


class Run:
    """A geometry node, and a recorder of its input and outputs, heard by each other."""

    def __init__(self, graph, name):
        self.graph = graph
        self.recorder = graph.host(
            "recorder",
            parameters={
                "directory": str(graph.folder), "name": name, "topics": ["/camera/rgbd", *OUTPUTS],
            },
        )  # fmt: skip
        self.geometry = graph.active_geometry(qos="reliable")
        self.path = graph.folder / name
        self.points = graph.collect(PointCloud2, "/geometry/points")
        publishers = self.geometry.node._output._publishers
        for topic in OUTPUTS:
            # points are heard by the probe, too
            heard = 2 if topic.endswith("points") else 1
            wait_until(
                lambda t=topic, n=heard: (
                    publishers[t.rpartition("/")[2]].get_subscription_count() >= n
                ),
                f"the recorder does not hear {topic}",
            )

    def came(self):
        return {stamp_from_time(message.header.stamp) for message in list(self.points)}

    def end(self):
        """Close the bag and stop the nodes."""
        written = FRAMES * (1 + len(OUTPUTS))
        self.graph.status(self.recorder, lambda s: s.count("written") >= written)
        assert self.graph.change(self.recorder, "deactivate")
        for node in (self.geometry, self.recorder):
            self.graph.change(node, "cleanup")
            node.stop()
            self.graph._nodes.remove(node)


def test_a_replay_of_a_recording_gives_the_outputs_of_the_live_run(graph):
    frames = [bumpy_frame(number) for number in range(FRAMES)]
    live = Run(graph, "live")
    publisher = graph.publisher(RgbdFrame, "/camera/rgbd", subscribers=2)
    for frame in frames:
        publisher.publish(message_from_frame(frame))
        wait_until(lambda s=frame.stamp_ns: s in live.came(), "no points of a frame")
    live.end()
    graph.probe.destroy_publisher(publisher)

    replay = Run(graph, "replay")
    graph.host(
        "bag_player",
        parameters={
            "bag": str(live.path), "topics": ["/camera/rgbd"], "rate": 0.5,
            "reliability": "reliable", "wait_for_subscribers_s": 30.0,
        },
    )  # fmt: skip
    stamps = {frame.stamp_ns for frame in frames}
    wait_until(lambda: replay.came() == stamps, lambda: f"{len(replay.came())} of {FRAMES} frames")
    replay.end()

    results, _ = compare_bags(live.path, replay.path, Choice(), TOLERANCE)
    assert {result.name for result in results} == {"/camera/rgbd", *OUTPUTS}
    for result in results:
        assert (result.first_count, result.second_count, result.paired) == (FRAMES,) * 3, result
        assert result.same(0, 0.0), result
    numbers = {result.name: result.difference.numbers for result in results}
    assert numbers["/geometry/points"] > FRAMES * HEIGHT_PX * WIDTH_PX * 4
