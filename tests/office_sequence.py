"""The real sequence ../shared/data/rgbd_office, and how well a map agrees with its depth."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from sensorium.frames import pinhole

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "rgbd_office"
FRAMES = 80
DEPTH_CAMERA = pinhole(640, 480, 585.0, (320.0, 240.0))
HELD_OUT_EVERY = 10
ALLOWED_MEDIAN_M = 0.015
_HELD_OUT_RANGE_M = 4.0

needs_office_sequence = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no real sequence at {FOLDER}"
)


def depth_files():
    """The depth images in order of time."""
    files = sorted(FOLDER.glob("*.depth.png"))
    assert len(files) == FRAMES
    return files


def load(depth_file):
    """Depth (480, 640) float32 [m], NaN where invalid, and world_from_camera (4, 4)."""
    depth = cv2.imread(str(depth_file), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000
    depth[depth == 0] = np.nan
    return depth, np.loadtxt(str(depth_file).replace("depth.png", "pose.txt"))


def held_out_points():
    """Points (N, 3) in the world [m] of every tenth frame, every 29th valid pixel up to 4 m."""
    files = depth_files()[::HELD_OUT_EVERY]
    points = np.concatenate([_back_projected(*load(file), every=29) for file in files])
    assert len(points) > 50_000
    return points


def _back_projected(depth, pose, every):
    v, u = np.nonzero(depth <= _HELD_OUT_RANGE_M)
    v, u = v[::every], u[::every]
    z = depth[v, u].astype(np.float64)
    K = DEPTH_CAMERA.K
    points = np.stack(((u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z), axis=1)
    return points @ pose[:3, :3].T + pose[:3, 3]
