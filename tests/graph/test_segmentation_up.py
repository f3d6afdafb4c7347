"""The shipped parameter file starts a camera and segmentation, as processes and in one process."""

import sys
from pathlib import Path

import pytest
import yaml
from graph_nodes import SMALL_RENDERED, Bringup, wait_until
from segmentation_tools import make_checkpoint
from sensorium_ros.msg import Segments

from sensorium.cli.up import node_environment
from sensorium.processes import ManagedProcess

SHIPPED = Path(__file__).parents[2] / "config" / "segmentation.yaml"
# Long enough for the node to find our subscription before the last frame.
FRAMES = 30


class SegmentationBringup(Bringup):
    """`sensorium up` with the shipped file, a small scene and weights of ours filled in."""

    def __init__(self, folder, checkpoint, *options):
        content = yaml.safe_load(SHIPPED.read_text())
        camera = content["/**/rgbd_camera"]["ros__parameters"]
        camera["rendered"] = SMALL_RENDERED | {"frames": FRAMES}
        camera["wait_for_subscribers_s"] = 60.0
        segmentation = content["/**/segmentation"]["ros__parameters"]
        segmentation["weights"]["directory"] = str(checkpoint)
        segmentation |= {"threads": 1, "text_cache": str(folder / "texts")}
        file = folder / "segmentation.yaml"
        file.write_text(yaml.safe_dump(content))
        command = [sys.executable, "-c", "from sensorium.cli import main; main()", "up", str(file)]
        self.log = folder / "up.log"
        self._process = ManagedProcess("up", [*command, *options], node_environment(), self.log)
        self._process.start()


@pytest.mark.parametrize(
    ("options", "transport"), [((), "dds"), (("--container",), "in memory")], ids=str
)
def test_every_frame_of_the_camera_is_accounted_for(graph, tmp_path, options, transport):
    checkpoint, _ = make_checkpoint(tmp_path / "fcclip")
    segments = graph.collect(Segments, "/segmentation/segments")
    up = graph.manage(SegmentationBringup(tmp_path, checkpoint, *options))

    def accounted(status):
        outcomes = status.count("processed") + status.count("superseded")
        return status.count("received") == outcomes == FRAMES

    status = graph.status("/segmentation", accounted, timeout_s=60.0)
    assert status.values["input.transport"] == transport
    assert status.count("rejected") == status.count("failed") == status.count("lost") == 0
    wait_until(lambda: segments, lambda: f"no segments; {status}")
    assert segments[-1].header.frame_id == "camera_color_optical_frame"
    assert (segments[-1].width, segments[-1].height) == (160, 120)
    assert list(segments[-1].class_names)[:2] == ["table", "chair"]
    assert up.interrupt() == 0, up.log.read_text()
