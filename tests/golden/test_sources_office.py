"""The real 7-Scenes recording in ../shared: its depth, its poses, its two unregistered cameras."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from sensorium.poses import inverse
from sensorium.sources import RecordingConfiguration, SourceFrame, frames
from sensorium.sources.recording import RecordingSource
from sensorium.sources.recording_configuration import CameraConfiguration

FOLDER = Path(__file__).parents[2].parent / "shared" / "data" / "rgbd_office"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is not on this machine")


def open_office(**values):
    return RecordingSource(RecordingConfiguration(folder=str(FOLDER), **values))


def reprojection_error_m(first, second, stride=4):
    """Median |depth difference| where the depth of one frame is seen by another."""
    K = first.depth_camera.K
    v, u = np.mgrid[0:480:stride, 0:640:stride]
    depth = first.depth_m[v, u].astype(float)
    rays = np.stack(((u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)), -1)
    points = (rays * depth[..., None])[np.isfinite(depth)]
    second_from_first = inverse(second.world_from_camera) @ first.world_from_camera
    moved = points @ second_from_first[:3, :3].T + second_from_first[:3, 3]
    pixel = np.rint((moved @ K.T)[:, :2] / moved[:, 2:]).astype(int)
    inside = (pixel >= 0).all(axis=1) & (pixel < (640, 480)).all(axis=1) & (moved[:, 2] > 0.1)
    seen = second.depth_m[pixel[inside, 1], pixel[inside, 0]]
    return float(np.nanmedian(np.abs(seen - moved[inside, 2])))


def test_all_frames_are_accepted_with_depth_in_metres_and_colour_apart():
    taken = list(frames(open_office()))
    assert len(taken) == 80 and all(isinstance(one, SourceFrame) for one in taken)
    invalid = np.mean([1 - one.frame.valid.mean() for one in taken])
    assert invalid == pytest.approx(0.11, abs=0.02)
    depths = [np.nanmedian(one.frame.depth_m) for one in taken]
    assert min(depths) > 0.5 and max(depths) < 5.0
    assert all(one.frame.color is None and one.color_apart is not None for one in taken)
    assert taken[0].frame.depth_camera.K[0, 0] == 585.0


def test_depth_agrees_between_frames_with_this_pose_convention_only():
    taken = [one.frame for one in frames(open_office())]
    inverted = [one.frame for one in frames(open_office(pose_convention="world_to_camera"))]
    pairs = [(n, n + 4) for n in range(0, 76, 12)]
    right = [reprojection_error_m(taken[a], taken[b]) for a, b in pairs]
    wrong = [reprojection_error_m(inverted[a], inverted[b]) for a, b in pairs]
    assert max(right) < 0.03
    assert min(wrong) > 3 * max(right)


def test_registration_with_the_estimated_colour_camera_moves_depth_edges_onto_colour_edges():
    plain = CameraConfiguration((585.0, 585.0, 320.0, 240.0))
    estimated = CameraConfiguration((527.0, 527.0, 320.0, 240.0))
    transform = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)

    def edge_strength(color_configuration):
        source = open_office(color=color_configuration, color_from_depth=transform)
        strengths = []
        for one in list(frames(source))[::10]:
            gray = cv2.cvtColor(one.frame.color, cv2.COLOR_RGB2GRAY).astype(np.float32)
            gradient = np.hypot(
                cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1)
            )
            depth = np.nan_to_num(one.frame.depth_m)
            jump = (np.abs(np.diff(depth, axis=1)) > 0.15)[:, :]
            both = (depth[:, 1:] > 0) & (depth[:, :-1] > 0)
            strengths.append(gradient[:, 1:][jump & both].mean() / gradient.mean())
        return np.mean(strengths)

    assert edge_strength(estimated) > edge_strength(plain)
