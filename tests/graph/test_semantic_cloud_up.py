"""The shipped parameter file: camera, geometry, segmentation and objects in one process."""

import sys
from pathlib import Path

import yaml
from graph_nodes import SMALL_RENDERED, Bringup, wait_until
from segmentation_tools import make_checkpoint
from sensor_msgs.msg import PointCloud2
from sensorium_ros.msg import Objects
from sensorium_ros.srv import QueryObjects

from sensorium.cli.up import node_environment
from sensorium.processes import ManagedProcess

SHIPPED = Path(__file__).parents[2] / "config" / "semantic_cloud.yaml"


class SemanticBringup(Bringup):
    """`sensorium up --container` with the shipped file, a small scene and random weights."""

    def __init__(self, folder, checkpoint):
        content = yaml.safe_load(SHIPPED.read_text())

        def section(name):
            return content[f"/**/{name}"]["ros__parameters"]

        section("rgbd_camera")["rendered"] = SMALL_RENDERED | {"rate_hz": 4.0}
        section("segmentation")["weights"] = {"directory": str(checkpoint)}
        section("segmentation").update(threads=1, text_cache=str(folder / "texts"))
        file = folder / "semantic_cloud.yaml"
        file.write_text(yaml.safe_dump(content))
        command = [sys.executable, "-c", "from sensorium.cli import main; main()", "up", str(file)]
        self.log = folder / "up.log"
        self._process = ManagedProcess(
            "up", [*command, "--container"], node_environment(), self.log
        )
        self._process.start()


def test_real_segments_are_joined_with_real_clouds_and_texts_are_answered(graph, tmp_path):
    checkpoint, _ = make_checkpoint(tmp_path / "fcclip")
    points = graph.collect(PointCloud2, "/semantic_cloud/points")
    objects = graph.collect(Objects, "/semantic_cloud/objects")
    up = graph.manage(SemanticBringup(tmp_path, checkpoint))
    status = graph.status("/semantic_cloud", lambda s: s.count("processed") >= 4, timeout_s=90.0)
    assert status.count("failed") == status.count("rejected") == status.count("without_pose") == 0
    wait_until(lambda: points and objects, lambda: f"nothing comes out; {status}")
    assert (points[-1].width, points[-1].height) == (160, 120)
    assert objects[-1].header.frame_id == "map"
    # Random weights find whatever they find; the way of a text through both nodes is real.
    wait_until(lambda: objects[-1].objects, "random weights see no thing twice")
    request = QueryObjects.Request(text="a mug", max_results=3, min_score=-1.0)
    answer = graph.call(QueryObjects, "/semantic_cloud/query_objects", request)
    assert answer.success, answer.message
    assert 1 <= len(answer.objects) <= 3
    assert list(answer.scores) == sorted(answer.scores, reverse=True)
    assert up.interrupt() == 0, up.log.read_text()
