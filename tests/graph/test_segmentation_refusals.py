"""Weights and pictures that cannot be used are refused in words, and the node goes on."""

import json

import pytest
import torch
from graph_nodes import wait_until
from graph_tools import wall_message
from segmentation_tools import (
    START_NS,
    SegmentationSession,
    image,
    make_checkpoint,
)
from sensor_msgs.msg import CompressedImage
from sensorium_ros.msg import RgbdFrame

from sensorium.ros.convert.compressed import compressed_from_color


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("fcclip"))


def failure_of(graph, **parameters):
    """Host a node that cannot configure; returns what it says."""
    node = graph.host("segmentation", parameters={"threads": 1, **parameters})
    text = wait_until(lambda: node.node.last_failure, "it configured")
    assert graph.state(node) == "unconfigured"
    return text


def test_half_of_the_weights_is_refused_with_all_choices_and_licences(graph):
    text = failure_of(graph, **{"weights.clip": "/somewhere/open_clip_model.safetensors"})
    for part in (
        "'weights.clip'", "'weights.head'", "'weights.directory'", "convnext_large_d_320",
        "laion2b_s29b_b131k_ft_soup", "fcclip_cocopan.pth", "fcclip-small", "Apache-2.0",
        "20250045929",
    ):  # fmt: skip
        assert part in text


def test_incomplete_or_contradictory_weights_are_refused(graph, checkpoint, tmp_path):
    clip = tmp_path / "clip.safetensors"
    clip.write_bytes(b"")
    text = failure_of(graph, **{"weights.clip": str(clip)})
    assert "'weights.clip' given; give 'weights.clip' together with 'weights.head'" in text


@pytest.mark.parametrize("name", ["directory", "clip"])
def test_weights_that_do_not_exist_are_refused(graph, tmp_path, name):
    parameters = {f"weights.{name}": str(tmp_path / "nowhere")}
    if name == "clip":
        parameters["weights.head"] = str(tmp_path)
    assert f"parameter 'weights.{name}' is {tmp_path}/nowhere" in failure_of(graph, **parameters)


def truncated_safetensors(directory):
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    return "truncated"


def no_config(directory):
    (directory / "config.json").unlink()
    return "config.json does not exist"


def config_of_another_model(directory):
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"queries": 7}))
    return "does not fit"


def unknown_setting(directory):
    (directory / "config.json").write_text('{"query": 7}')
    return "unknown FC-CLIP settings ['query']"


@pytest.mark.parametrize(
    "damage", [truncated_safetensors, no_config, config_of_another_model, unknown_setting]
)
def test_a_damaged_checkpoint_directory_is_refused(graph, checkpoint, tmp_path, damage):
    directory = tmp_path / "damaged"
    directory.mkdir()
    for path in checkpoint[0].iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    text = damage(directory)
    failure = failure_of(graph, **{"weights.directory": str(directory)})
    assert text in failure
    assert str(directory) in failure


def test_a_truncated_published_file_is_refused(graph, tmp_path):
    whole, cut = tmp_path / "whole.pth", tmp_path / "cut.pth"
    torch.save({"model": {"x": torch.zeros(1000)}}, whole)
    cut.write_bytes(whole.read_bytes()[:2000])
    text = failure_of(graph, **{"weights.clip": str(whole), "weights.head": str(cut)})
    assert "truncated or damaged" in text
    assert str(cut) in text


def test_a_bad_first_class_list_is_refused(graph, checkpoint):
    parameters = {"weights.directory": str(checkpoint[0]), "vocabulary": []}
    assert "the class list is empty" in failure_of(graph, **parameters)


def wrong_encoding(message):
    message.encoding = "yuv422"
    return "unusable", "encoding 'yuv422'"


def truncated(message):
    message.data = message.data[:100]
    return "unusable", "truncated"


def no_pixels(message):
    message.height = 0
    return "unusable", "an image needs pixels"


def old_stamp(message):
    message.header.stamp.nanosec = 0
    return "stamp_not_newer", "not newer than the one before"


def test_bad_pictures_are_refused_by_name_and_the_node_goes_on(graph, checkpoint, tmp_path):
    session = SegmentationSession(graph, checkpoint[0], tmp_path)
    stamp_ns = START_NS
    session.segment(image(stamp_ns))
    changes = (wrong_encoding, truncated, no_pixels, old_stamp)
    for number, change in enumerate(changes, 1):
        stamp_ns += 1
        message = image(stamp_ns)
        reason, text = change(message)
        session.publisher.publish(message)
        status = graph.status("/segmentation", lambda s, n=number: s.count("rejected") == n)
        assert text in status.message
        assert status.count(f"rejected.{reason}") >= 1
        stamp_ns += 1
        session.segment(image(stamp_ns))
    status = session.settled(2 * len(changes) + 1)
    assert status.count("processed") == len(changes) + 1


def test_a_broken_jpeg_is_refused(graph, checkpoint, tmp_path):
    session = SegmentationSession(
        graph, checkpoint[0], tmp_path, CompressedImage, input="compressed_image"
    )
    message = compressed_from_color(torch.zeros(8, 8, 3, dtype=torch.uint8), START_NS, "camera")
    message.data = message.data[:-20]
    session.publisher.publish(message)
    status = graph.status("/segmentation", lambda s: s.count("rejected.unusable") == 1)
    assert "truncated" in status.message


def test_a_frame_without_colour_is_refused(graph, checkpoint, tmp_path):
    session = SegmentationSession(graph, checkpoint[0], tmp_path, RgbdFrame, input="rgbd_frame")
    message = wall_message(START_NS)
    message.has_color = False
    session.publisher.publish(message)
    status = graph.status("/segmentation", lambda s: s.count("rejected.no_color") == 1)
    assert "camera 'camera' has no colour" in status.message


def test_the_node_says_what_it_waits_for(graph, checkpoint, tmp_path):
    node = graph.host(
        "segmentation",
        parameters={
            "threads": 1, "weights.directory": str(checkpoint[0]), "vocabulary": ["cat"],
            "text_cache": str(tmp_path), "waiting_report_s": 0.5,
        },
    )  # fmt: skip
    graph.wait_state(node, "active")
    status = graph.status("/segmentation", lambda s: "waiting for" in s.message)
    assert "/camera/rgbd: no publisher" in status.message
