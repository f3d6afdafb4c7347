"""What is started for a rendered room, a folder and a bag, and how a run keeps to itself."""

import socket
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from rosbags.typesys import Stores, get_typestore

from sensorium.bags import BagError, BagTopic, BagWriter
from sensorium.bringup import read_plan
from sensorium.demo.bag_inputs import BagInputsError, DriverTopics, driver_topics
from sensorium.demo.folder import OutputFolder
from sensorium.demo.plan import RecordingError, free_domain, make_plan
from sensorium.sources import SourceError

STORE = get_typestore(Stores.ROS2_KILTED)
MATRIX = np.eye(4)


@pytest.fixture
def folder(tmp_path):
    with OutputFolder(tmp_path / "out") as made:
        yield made


def write_folder(path, count=3):
    path.mkdir()
    (path / "camera-intrinsics.txt").write_text("100 0 8\n0 100 6\n0 0 1\n")
    for index in range(count):
        name = str(path / f"frame-{index:06d}")
        cv2.imwrite(f"{name}.color.png", np.zeros((12, 16, 3), np.uint8))
        cv2.imwrite(f"{name}.depth.png", np.full((12, 16), 1000, np.uint16))
        np.savetxt(f"{name}.pose.txt", MATRIX)


def write_bag(path, topics, count=4):
    """Topics with `count` empty messages each, 0.1 s apart."""
    with BagWriter(path) as writer:
        for name, type_name in topics.items():
            writer.add_topic(name, type_name, [])
        for index in range(count):
            for name, type_name in topics.items():
                writer.write(name, 1_000_000_000 + index * 100_000_000, empty(type_name))


def empty(type_name):
    if type_name == "tf2_msgs/msg/TFMessage":
        T = STORE.types
        stamp = T["builtin_interfaces/msg/Time"](sec=1, nanosec=0)
        vector = T["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0)
        turn = T["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0)
        stamped = T["geometry_msgs/msg/TransformStamped"](
            header=T["std_msgs/msg/Header"](stamp=stamp, frame_id="odom"),
            child_frame_id="camera_link",
            transform=T["geometry_msgs/msg/Transform"](translation=vector, rotation=turn),
        )
        return bytes(STORE.serialize_cdr(T[type_name](transforms=[stamped]), type_name))
    return b"\0\1\0\0" + bytes(400)


DRIVER = {
    "/cam/color/image_raw": "sensor_msgs/msg/Image",
    "/cam/color/camera_info": "sensor_msgs/msg/CameraInfo",
    "/cam/depth/image_rect_raw": "sensor_msgs/msg/Image",
    "/cam/depth/camera_info": "sensor_msgs/msg/CameraInfo",
    "/cam/aligned_depth_to_color/image_raw": "sensor_msgs/msg/Image",
    "/cam/aligned_depth_to_color/camera_info": "sensor_msgs/msg/CameraInfo",
    "/scan": "sensor_msgs/msg/LaserScan",
    "/tf": "tf2_msgs/msg/TFMessage",
}


def test_without_a_recording_a_room_is_rendered_and_its_truth_is_known(folder):
    plan = make_plan(folder, None, 10)
    assert [node.executable for node in plan.nodes] == ["recorder", "geometry", "rgbd_camera"]
    assert plan.request.nodes[-1] == plan.request.camera == "/camera/rgbd_camera"
    assert plan.request.frames == 100
    assert plan.scene is not None
    assert plan.topics.truth == "/camera/ground_truth/depth"
    assert all(node.parameters["autostart"] is False for node in plan.nodes)


def test_the_parameter_file_of_a_run_is_one_that_can_be_started_again(folder):
    plan = make_plan(folder, None, 10)
    again = read_plan(folder.file("parameters.yaml"), autostart=False)
    assert again == list(plan.nodes)
    values = yaml.safe_load(folder.file("parameters.yaml").read_text())
    assert values["/**/recorder"]["ros__parameters"]["directory"] == str(folder.path)


def test_a_folder_of_images_is_read_by_the_camera_node(folder, tmp_path):
    write_folder(tmp_path / "office")
    plan = make_plan(folder, tmp_path / "office", 10)
    assert plan.request.frames == 3
    assert plan.scene is None
    assert "3 frames" in plan.source
    camera = plan.conditions["rgbd_camera"]
    assert (camera["source"], camera["recording"]["folder"]) == (
        "recording", str(tmp_path / "office"),
    )  # fmt: skip
    # The shipped model knows rendered rooms only; who names a file of parameters decides.
    written = folder.file("parameters.yaml")
    assert geometry_of(written)["backend"] == "sensor"
    make_plan(folder, tmp_path / "office", 10, "demo")
    assert geometry_of(written)["backend"] == "omnivggt"


def geometry_of(path):
    return yaml.safe_load(path.read_text())["/**/geometry"]["ros__parameters"]


def test_a_long_recording_is_cut(folder, tmp_path):
    write_folder(tmp_path / "office")
    plan = make_plan(folder, tmp_path / "office", 2)
    assert plan.request.frames == 2
    assert "the first 2 of 3 frames" in plan.source


def test_a_bag_of_a_driver_is_joined_by_a_camera_node_on_the_bag_s_time(folder, tmp_path):
    write_bag(tmp_path / "bag", DRIVER)
    plan = make_plan(folder, tmp_path / "bag", 2)
    simulated = {node.executable: node.parameters["use_sim_time"] for node in plan.nodes}
    assert simulated == {
        "recorder": True, "geometry": True, "rgbd_camera": True, "bag_player": False,
    }  # fmt: skip
    assert plan.request.nodes[-1] == plan.request.player == "/bag_player"
    topics = plan.conditions["rgbd_camera"]["topics"]
    assert topics["depth"] == "/cam/aligned_depth_to_color/image_raw"
    assert topics["color"] == "/cam/color/image_raw"
    player = plan.conditions["bag_player"]
    assert "/scan" not in player["topics"]
    assert "/tf" in player["topics"]
    assert player["duration_s"] == pytest.approx(0.15)
    assert plan.conditions["geometry"]["map_frame"] == "odom"


def test_a_bare_mcap_file_is_a_bag(folder, tmp_path):
    write_bag(tmp_path / "bag", DRIVER)
    (file,) = (tmp_path / "bag").glob("*.mcap")
    assert make_plan(folder, file, 10).request.frames == 4


def test_depth_apart_from_colour_is_taken_where_none_is_aligned():
    names = [name for name in DRIVER if "aligned" not in name]
    topics = {name: BagTopic(name, DRIVER[name], (), 1) for name in names}
    assert driver_topics(topics) == DriverTopics(
        "/cam/color/image_raw", "/cam/color/camera_info",
        "/cam/depth/image_rect_raw", "/cam/depth/camera_info",
    )  # fmt: skip


def test_a_bag_without_depth_says_what_it_holds(folder, tmp_path):
    write_bag(tmp_path / "bag", {"/scan": "sensor_msgs/msg/LaserScan"})
    with pytest.raises(BagInputsError, match=r"no depth image.*it holds /scan"):
        make_plan(folder, tmp_path / "bag", 10)


def test_a_missing_recording_an_unknown_folder_and_a_broken_bag_are_refused(folder, tmp_path):
    with pytest.raises(RecordingError, match="no recording at"):
        make_plan(folder, tmp_path / "nowhere", 10)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no known layout"):
        make_plan(folder, tmp_path / "empty", 10)
    (tmp_path / "broken.mcap").write_bytes(b"")
    with pytest.raises(BagError):
        make_plan(folder, tmp_path / "broken.mcap", 10)


def test_a_recording_inside_the_output_folder_is_not_overwritten(tmp_path):
    with OutputFolder(tmp_path / "out"):
        pass
    recording = tmp_path / "out" / "recording"
    write_folder(recording)
    with (
        pytest.raises(ValueError, match="lies in the output folder"),
        OutputFolder(tmp_path / "out", recording),
    ):
        pass
    assert (recording / "frame-000000.depth.png").exists()


def test_a_run_takes_a_silent_domain_on_this_machine_only():
    variables = free_domain({})
    assert 1 <= int(variables["ROS_DOMAIN_ID"]) <= 101
    assert variables["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert "ROS_LOCALHOST_ONLY" not in variables
    assert free_domain({"ROS_DISTRO": "humble"})["ROS_LOCALHOST_ONLY"] == "1"


def test_a_domain_that_the_user_chose_is_left_alone():
    assert free_domain({"ROS_DOMAIN_ID": "5"}) == {}


def test_domains_in_which_somebody_listens_are_avoided(monkeypatch):
    monkeypatch.setattr("random.sample", lambda population, _count: list(population))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 7410 + 250))
        assert free_domain({})["ROS_DOMAIN_ID"] != "1"


def test_the_shipped_files_and_the_makefile_agree_on_the_command():
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    assert 'sensorium demo --output "$(OUTPUT)"' in makefile
