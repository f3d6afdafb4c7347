"""The fused map of a real sequence agrees with depth images that were not fused."""

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from sensorium.frames import pinhole
from sensorium.geometry.distance import distance_to_nearest
from sensorium.geometry.fusion import FusedMap, FusionConfiguration

FOLDER = Path(__file__).parents[2].parent / "shared" / "data" / "rgbd_office"
DEPTH_CAMERA = pinhole(640, 480, 585.0, (320.0, 240.0))
HELD_OUT_RANGE_M = 4.0
HELD_OUT_EVERY = 10
ALLOWED_MEDIAN_M = 0.015


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000
    depth[depth == 0] = np.nan
    return depth, np.loadtxt(str(path).replace("depth.png", "pose.txt"))


def back_projected(depth: np.ndarray, pose: np.ndarray, every: int) -> np.ndarray:
    v, u = np.nonzero(depth <= HELD_OUT_RANGE_M)
    v, u = v[::every], u[::every]
    z = depth[v, u].astype(np.float64)
    K = DEPTH_CAMERA.K
    points = np.stack(((u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z), axis=1)
    return points @ pose[:3, :3].T + pose[:3, 3]


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no real sequence at {FOLDER}")
def test_the_map_agrees_with_held_out_depth_to_under_15_mm(record_property):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    frames = sorted(FOLDER.glob("*.depth.png"))
    assert len(frames) == 80
    fused_map = FusedMap(FusionConfiguration(voxel_size_m=0.02))
    seconds = []
    for number, path in enumerate(frames):
        if number % HELD_OUT_EVERY:
            depth, pose = load(path)
            depth[depth > 5.0] = np.nan
            start = time.perf_counter()
            fused_map.integrate(depth, DEPTH_CAMERA, pose)
            seconds.append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    cloud = fused_map.points().points_m
    points = np.concatenate([back_projected(*load(path), 29) for path in frames[::HELD_OUT_EVERY]])
    assert len(points) > 50_000
    nearest = distance_to_nearest(points, cloud, 0.1)
    field = np.abs(fused_map.signed_distance_m(points))
    record_property("median_nearest_mm", 1e3 * np.median(nearest))
    record_property("median_field_mm", 1e3 * np.nanmedian(field))
    print(  # noqa: T201 - shown by pytest -s
        f"held-out points {len(points)}, map points {len(cloud)}: nearest point median "
        f"{1e3 * np.median(nearest):.1f} mm, p90 {1e3 * np.percentile(nearest, 90):.1f} mm, "
        f"beyond 100 mm {np.isinf(nearest).mean():.1%}; |field| median "
        f"{1e3 * np.nanmedian(field):.1f} mm, known at {np.isfinite(field).mean():.1%}; "
        f"integration median {1e3 * np.median(seconds):.1f} ms"
    )
    # Points without any map near them count as infinitely far.
    assert np.median(nearest) < ALLOWED_MEDIAN_M
    assert np.nanmedian(field) < ALLOWED_MEDIAN_M
    assert fused_map.dropped_blocks == fused_map.evicted_blocks == 0
