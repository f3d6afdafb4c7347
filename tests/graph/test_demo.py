"""`sensorium demo` as a user runs it: whole, into trouble, and interrupted. Nothing may be left."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from sensorium.bags import BagReader
from sensorium.geometry.ply import read_ply

ROOT = Path(__file__).resolve().parents[2]
MARK = "SENSORIUM_DEMO_TEST"
COMMAND = "import sys; from sensorium.cli import main; sys.exit(main())"


class Demo:
    """One run in a session of its own, as a terminal starts it, with a small scene."""

    def __init__(self, tmp_path, *arguments, frames=24, **rendered):
        self.mark = uuid.uuid4().hex
        self.folder = tmp_path / "out"
        parameters = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
        parameters["/**/rgbd_camera"]["ros__parameters"]["rendered"].update(
            width_px=160, height_px=120, focal_px=115.0, frames=frames, turn_s=3.0, **rendered
        )
        file = tmp_path / "demo.yaml"
        file.write_text(yaml.safe_dump(parameters))
        environment = {**os.environ, MARK: self.mark, "OMP_NUM_THREADS": "1"}
        environment.pop("ROS_DOMAIN_ID", None)
        self.log = tmp_path / "output.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-c", COMMAND, "demo", "--output", str(self.folder),
                    "--params-file", str(file), *arguments,
                ],
                env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                # A job in the background of a shell has SIGINT ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
            )  # fmt: skip

    @property
    def output(self):
        return self.log.read_text()

    def wait(self, timeout=150):
        try:
            return self.process.wait(timeout)
        finally:
            self.kill()

    def wait_for(self, text, timeout=90):
        deadline = time.monotonic() + timeout
        while text not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.1)

    def running(self):
        """{command line: process id} of everything that this run started and that still runs."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if not entry.name.isdigit() or self.mark.encode() not in (
                    (entry / "environ").read_bytes()
                ):
                    continue
                if (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[command] = int(entry.name)
            except OSError:
                continue
        return found

    def process_of(self, text):
        (pid,) = [pid for command, pid in self.running().items() if text in command]
        return pid

    def kill(self):
        """End what a failing test left."""
        self.left = self.running()
        for pid in self.left.values():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def demo(tmp_path):
    started = []

    def start(*arguments, **options):
        started.append(Demo(tmp_path, *arguments, **options))
        return started[-1]

    yield start
    for one in started:
        one.kill()


def test_a_rendered_room_becomes_a_map_with_measured_errors(demo):
    run = demo()
    assert run.wait() == 0, run.output
    assert run.left == {}
    result = json.loads((run.folder / "demo.json").read_text())
    frames = result["frames"]
    assert (frames["published"], frames["received"], frames["lost"]) == (24, 24, 0)
    assert frames["processed"] + frames["superseded"] + sum(frames["rejected"].values()) == 24
    errors = {error["name"]: error for error in result["errors"]}
    # Noise of a Kinect at 1 to 4 m: some millimetres.
    assert 1 < errors["published depth to exact depth"]["median_mm"] < 12
    assert 1 < errors["published points to exact points"]["median_mm"] < 12
    assert errors["fused map to exact surface"]["median_mm"] < 15
    assert set(result["peak_memory_mib"]) == {
        "/recorder", "/geometry", "/camera/rgbd_camera", "demo_session", "sensorium demo",
    }  # fmt: skip
    assert result["conditions"]["parameters"]["geometry"]["threads"] == 1
    vertices = read_ply(run.folder / "map.ply")
    assert len(vertices["x"]) == result["map_points"] > 1000
    for name in ("map.png", "depth.png"):
        assert cv2.imread(str(run.folder / name)).std() > 10
    assert "Foxglove" in (run.folder / "README.txt").read_text()
    for line in ("lost on the way", "superseded", "rejected", "p95", "mm", "MiB", "map.ply"):
        assert line in run.output
    with BagReader(run.folder / "recording") as bag:
        counts = {name: topic.message_count for name, topic in bag.topics.items()}
    for topic in (
        "/camera/rgbd", "/camera/color/image_raw", "/camera/color/camera_info",
        "/camera/aligned_depth_to_color/image_raw", "/camera/ground_truth/depth", "/tf",
    ):  # fmt: skip
        assert counts[topic] == 24, counts
    assert counts["/geometry/points"] == counts["/geometry/depth"] == frames["processed"]
    assert counts["/geometry/map"] >= 1
    assert counts["/geometry/tokens_info"] == 1


def test_a_folder_of_images_is_judged_without_calling_it_truth(demo, tmp_path):
    folder = tmp_path / "recording"
    write_recording(folder, 12)
    run = demo("--recording", str(folder))
    assert run.wait() == 0, run.output
    result = json.loads((run.folder / "demo.json").read_text())
    assert result["frames"]["published"] == result["frames"]["received"] == 12
    (error,) = result["errors"]
    assert error["is_truth"] is False
    assert error["median_mm"] < 20
    assert "agreement, not accuracy" in run.output


def test_frames_that_cannot_be_read_end_the_run_with_the_reason(demo, tmp_path):
    folder = tmp_path / "recording"
    write_recording(folder, 6)
    for path in folder.glob("*.pose.txt"):
        path.write_text("not a pose")
    run = demo("--recording", str(folder))
    assert run.wait() == 1, run.output
    assert "no frame came through" in run.output
    assert "pose_invalid" in run.output
    assert str(run.folder / "logs") in run.output
    assert run.left == {}


def test_a_node_that_is_killed_ends_the_run_with_its_name_and_the_logs(demo):
    run = demo(frames=4000)
    run.wait_for("streaming")
    os.kill(run.process_of("sensorium.nodes.geometry"), signal.SIGKILL)
    assert run.wait() == 1
    assert "/geometry was ended by SIGKILL" in run.output
    assert str(run.folder / "logs") in run.output
    assert run.left == {}


@pytest.mark.parametrize("whole_group", [True, False], ids=["group", "parent"])
def test_ctrl_c_stops_every_process(demo, whole_group):
    run = demo(frames=4000)
    run.wait_for("streaming")
    assert len(run.running()) == 5
    if whole_group:
        os.killpg(run.process.pid, signal.SIGINT)
    else:
        os.kill(run.process.pid, signal.SIGINT)
    assert run.wait(40) == 130
    assert run.left == {}
    assert "stopped by SIGINT" in run.output
    assert "Traceback" not in run.output


def test_ctrl_c_while_processes_start_stops_them_too(demo):
    run = demo(frames=4000)
    run.wait_for("Starting")
    time.sleep(0.2)
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.wait(40) == 130
    assert run.left == {}


def test_a_wrong_recording_is_refused_before_anything_starts(demo, tmp_path):
    run = demo("--recording", str(tmp_path / "nowhere"))
    assert run.wait() == 2
    assert "there is no recording at" in run.output
    assert "Starting" not in run.output


def write_recording(folder, count):
    """A camera that moves sideways past two boxes before a wall, in the 7-Scenes layout."""
    folder.mkdir()
    (folder / "camera-intrinsics.txt").write_text("120 0 79.5\n0 120 59.5\n0 0 1\n")
    u, _ = np.meshgrid(np.arange(160), np.arange(120))
    for index in range(count):
        offset_m = 0.02 * index
        depth = np.full((120, 160), 2000, np.uint16)
        for left_m, depth_mm in ((-0.4, 1400), (0.3, 1100)):
            x_m = (u - 79.5) / 120 * depth_mm / 1000 + offset_m
            depth[(x_m > left_m) & (x_m < left_m + 0.3)] = depth_mm
        pose = np.eye(4)
        pose[0, 3] = offset_m
        name = str(folder / f"frame-{index:06d}")
        cv2.imwrite(f"{name}.depth.png", depth)
        cv2.imwrite(f"{name}.color.png", np.full((120, 160, 3), 99, np.uint8))
        np.savetxt(f"{name}.pose.txt", pose)
