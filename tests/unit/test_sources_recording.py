"""Recordings in the 7-Scenes and TUM layouts: units, poses, intrinsics, refusals and rejections."""

from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest

from sensorium.poses import inverse, pose_from_quaternion
from sensorium.sources import RecordingConfiguration, RejectedFrame, SourceError, frames
from sensorium.sources.recording import RecordingSource
from sensorium.sources.recording_configuration import CameraConfiguration

W, H, F = 64, 48, 50.0
K_TEXT = f"{F} 0 31.5\n0 {F} 23.5\n0 0 1\n"
POSE = pose_from_quaternion((0.1, -0.2, 0.3), (0.1, 0.2, 0.3, 0.9))


def write_color(path, value=(10, 150, 240), size=(W, H)):
    rgb = np.full((size[1], size[0], 3), value, np.uint8)
    cv2.imwrite(str(path), rgb[..., ::-1])


def write_depth(path, value=1500, size=(W, H)):
    depth = np.full((size[1], size[0]), value, np.uint16)
    depth[0, 0], depth[0, 1] = 0, 65535
    cv2.imwrite(str(path), depth)


def write_frame(folder, number, pose=POSE):
    write_color(folder / f"frame-{number:06d}.color.png")
    write_depth(folder / f"frame-{number:06d}.depth.png", 1500 + number)
    np.savetxt(folder / f"frame-{number:06d}.pose.txt", pose)


@pytest.fixture
def seven_scenes(tmp_path):
    for number in range(0, 50, 10):
        write_frame(tmp_path, number)
    (tmp_path / "camera-intrinsics.txt").write_text(K_TEXT)
    return tmp_path


@pytest.fixture
def tum(tmp_path):
    (tmp_path / "rgb").mkdir()
    (tmp_path / "depth").mkdir()
    start = 1_305_031_102
    rgb, depth, truth = ["# color images"], ["# depth maps"], ["# ground truth"]
    for number in range(4):
        stamp = f"{start}.{100_000 + number * 33_333:06d}"
        nearby = f"{start}.{108_000 + number * 33_333:06d}"
        write_color(tmp_path / "rgb" / f"{nearby}.png")
        write_depth(tmp_path / "depth" / f"{stamp}.png", 5000)
        rgb.append(f"{nearby} rgb/{nearby}.png")
        depth.append(f"{stamp} depth/{stamp}.png")
        truth.append(f"{stamp} 0.1 -0.2 0.3 0.1 0.2 0.3 0.9")
    for name, lines in (("rgb", rgb), ("depth", depth), ("groundtruth", truth)):
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def open_folder(folder, **values):
    return RecordingSource(RecordingConfiguration(folder=str(folder), **values))


CALIBRATED = {
    "color": CameraConfiguration((45.0, 45.0, 31.5, 23.5)),
    "color_from_depth": (-0.03, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
}


def test_seven_scenes_gives_metres_poses_and_colour_apart_with_the_reason(seven_scenes):
    with open_folder(seven_scenes, rate_hz=10.0) as source:
        taken = list(frames(source))
    assert [t.frame.stamp_ns for t in taken] == [n * 100_000_000 for n in range(5)]
    first = taken[0]
    assert first.frame.color is None and first.frame.depth_camera.K[0, 0] == F
    assert first.frame.optical_frame == "camera_depth_optical_frame"
    assert first.frame.depth_m[5, 5] == pytest.approx(1.5)
    assert np.isnan(first.frame.depth_m[0, :2]).all() and first.frame.valid.sum() == W * H - 2
    assert np.allclose(first.frame.world_from_camera, POSE)
    assert first.color_apart.color[0, 0].tolist() == [10, 150, 240]
    assert first.color_apart.color_camera is None and first.color_apart.world_from_camera is None
    assert "set color.intrinsics_px and color_from_depth" in first.apart_reason
    assert taken[4].frame.depth_m[5, 5] == pytest.approx(1.54)


def test_with_both_cameras_and_their_transform_depth_is_registered_to_colour(seven_scenes):
    taken = open_folder(seven_scenes, **CALIBRATED).read()
    frame = taken.frame
    assert taken.color_apart is None and taken.apart_reason == ""
    assert frame.color is not None and frame.optical_frame == "camera_color_optical_frame"
    assert frame.color_camera.K[0, 0] == 45.0 and frame.depth_camera is frame.color_camera
    # A wall at 1.5 m: shifted by 45 px * 3 cm / 1.5 m = 0.9 px, never seen left of its left edge.
    assert np.nanmax(np.abs(frame.depth_m - 1.5)) < 1e-6
    left = 31.5 + (0 - 31.5) * 45 / F - 0.9
    assert np.isnan(frame.depth_m[24, : int(left)]).all()
    assert np.isfinite(frame.depth_m[24, int(left) + 2])
    color_from_depth = np.eye(4)
    color_from_depth[0, 3] = -0.03
    assert np.allclose(frame.world_from_camera, POSE @ inverse(color_from_depth))


def test_pose_convention_and_pose_of_are_explicit(seven_scenes):
    turned = open_folder(seven_scenes, pose_convention="world_to_camera").read()
    assert np.allclose(turned.frame.world_from_camera, inverse(POSE))
    of_color = open_folder(seven_scenes, pose_of="color").read()
    assert of_color.frame.world_from_camera is None
    assert np.allclose(of_color.color_apart.world_from_camera, POSE)
    registered = open_folder(seven_scenes, pose_of="color", **CALIBRATED).read()
    assert np.allclose(registered.frame.world_from_camera, POSE)
    assert open_folder(seven_scenes, poses="ignored").read().frame.world_from_camera is None


def test_a_folder_declared_registered_pairs_the_images_as_they_are(seven_scenes):
    frame = open_folder(seven_scenes, registration="registered", depth_unit_m=0.0002).read().frame
    assert frame.color_camera.same_geometry(frame.depth_camera)
    assert frame.depth_m[5, 5] == pytest.approx(0.3)


def test_distorted_images_are_rectified(seven_scenes):
    lens = CameraConfiguration((), "plumb_bob", (-0.2, 0.05, 0.0, 0.0, 0.0))
    frame = open_folder(seven_scenes, depth=lens).read().frame
    assert frame.depth_camera.is_rectified
    with pytest.raises(SourceError, match="has 1 coefficients"):
        open_folder(seven_scenes, depth=CameraConfiguration((), "equidistant", (0.1,)))


def test_sent_is_accepted_plus_rejected_by_reason(seven_scenes):
    for number in range(50, 110, 10):
        write_frame(seven_scenes, number)
    (seven_scenes / "frame-000000.pose.txt").unlink()
    (seven_scenes / "frame-000010.pose.txt").write_text("1 2 3")
    np.savetxt(seven_scenes / "frame-000020.pose.txt", np.full((4, 4), np.inf))
    (seven_scenes / "frame-000030.depth.png").write_bytes(b"not a picture")
    write_depth(seven_scenes / "frame-000040.depth.png", size=(32, 24))
    (seven_scenes / "frame-000050.depth.png").unlink()
    (seven_scenes / "frame-000060.color.png").unlink()
    write_color(seven_scenes / "frame-000070.depth.png")
    half = (seven_scenes / "frame-000080.color.png").read_bytes()
    (seven_scenes / "frame-000080.color.png").write_bytes(half[:20])
    taken = list(frames(open_folder(seven_scenes)))
    rejected = [one for one in taken if isinstance(one, RejectedFrame)]
    assert len(taken) == 11 and len(rejected) == 9
    assert Counter(one.reason for one in rejected) == {
        "pose_missing": 1, "pose_invalid": 2, "depth_unreadable": 2, "size_mismatch": 1,
        "depth_missing": 1, "color_missing": 1, "color_unreadable": 1,
    }  # fmt: skip
    assert all(one.stamp_ns is not None and one.name in one.detail for one in rejected)
    optional = list(frames(open_folder(seven_scenes, poses="optional")))
    reasons = Counter(one.reason for one in optional if isinstance(one, RejectedFrame))
    assert "pose_missing" not in reasons and reasons["pose_invalid"] == 2


def test_a_loop_goes_on_in_time(seven_scenes):
    source = open_folder(seven_scenes, rate_hz=10.0, loop=True)
    stamps = [source.read().frame.stamp_ns for _ in range(12)]
    assert stamps == [n * 100_000_000 for n in range(12)]
    assert not source.finished
    source.close()
    assert source.finished and source.read() is None


def test_tum_pairs_by_stamp_and_keeps_nanoseconds(tum):
    camera = CameraConfiguration((525.0, 525.0, 31.5, 23.5))
    taken = list(frames(open_folder(tum, color=camera)))
    assert len(taken) == 4 and not any(isinstance(one, RejectedFrame) for one in taken)
    frame = taken[1].frame
    assert frame.stamp_ns == 1_305_031_102_133_333_000
    assert frame.color is not None and frame.depth_camera.K[0, 0] == 525.0
    assert frame.depth_m[5, 5] == pytest.approx(1.0)
    assert np.allclose(frame.world_from_camera, POSE)
    # The colour image is 8 ms away.
    strict = list(frames(open_folder(tum, color=camera, association_slop_s=0.005, poses="ignored")))
    assert all(one.frame.color is None for one in strict)


def test_a_tum_image_is_used_once_and_the_rest_are_rejected(tum):
    lines = (tum / "rgb.txt").read_text().splitlines()
    (tum / "rgb.txt").write_text("\n".join(lines[:2]) + "\n")
    lines = (tum / "groundtruth.txt").read_text().splitlines()
    (tum / "groundtruth.txt").write_text("\n".join(lines[:2]) + "\n")
    camera = CameraConfiguration((525.0, 525.0, 31.5, 23.5))
    taken = list(frames(open_folder(tum, color=camera, association_slop_s=0.05)))
    # A slop wider than the period must not give one image to two frames.
    assert sum(not isinstance(one, RejectedFrame) for one in taken) == 1
    assert {one.reason for one in taken[1:]} <= {"color_missing", "pose_missing"}


@pytest.mark.parametrize(
    ("spoil", "values", "text"),
    [
        (lambda f: None, {"folder": "/nowhere/at/all"}, "does not exist"),
        (lambda f: (f / "camera-intrinsics.txt").unlink(), {}, "set depth.intrinsics_px"),
        (lambda f: (f / "camera-intrinsics.txt").write_text("1 2"), {}, "3 x 3 matrix"),
        (lambda f: [p.unlink() for p in f.glob("frame-*")], {}, "no known layout"),
        (lambda f: [p.unlink() for p in f.glob("*.depth.png")], {}, "no depth image"),
        (lambda f: [p.unlink() for p in f.glob("*.pose.txt")], {}, "no pose at all"),
        (lambda f: [p.write_bytes(b"") for p in f.glob("*.png")], {}, "no readable image"),
        (lambda f: None, {"color_from_depth": (1.0, 2.0)}, "has 2 numbers; give x y z qx qy"),
        (lambda f: None, {"depth": CameraConfiguration((1.0,))}, "give fx, fy, cx, cy"),
        (lambda f: None, {"depth": CameraConfiguration((0.0, 0.0, 1.0, 1.0))}, "uncalibrated"),
        (
            lambda f: None,
            {"registration": "registered", "color": CALIBRATED["color"]},
            "cameras of colour and depth differ",
        ),
    ],
)
def test_a_broken_folder_is_refused_at_opening_with_the_remedy(seven_scenes, spoil, values, text):
    spoil(seven_scenes)
    configuration = replace(RecordingConfiguration(folder=str(seven_scenes)), **values)
    with pytest.raises(SourceError, match=text):
        RecordingSource(configuration)


def test_a_malformed_list_of_a_tum_folder_is_refused_by_line(tum):
    (tum / "groundtruth.txt").write_text("# truth\n1305031102.1 0.1 0.2\n")
    camera = CameraConfiguration((525.0, 525.0, 31.5, 23.5))
    with pytest.raises(SourceError, match=r"groundtruth.txt' line 2 is malformed"):
        open_folder(tum, color=camera)
