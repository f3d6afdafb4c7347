"""Time the sensor backend and the fused map on one thread, and how well the map agrees.

Run: python benchmarks/fusion.py [FOLDER]
Writes benchmarks/results/fusion.json. Targets on one core at 640x480: 10 ms for the points with
confidence, 100 ms to fuse a frame into voxels of 20 mm, and a median distance below 15 mm between
the map and the depth images that were not fused (every tenth).

FOLDER is a sequence in the 7-Scenes layout (../shared/data/rgbd_office by default, which has the
depth camera fx = fy = 585, cx = 320, cy = 240).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from conditions import ROOT, conditions, write_results
from numpy.typing import NDArray

from sensorium.frames import RgbdFrame, pinhole
from sensorium.geometry.capsules import Capsule
from sensorium.geometry.distance import distance_to_nearest
from sensorium.geometry.filters import (
    CropConfiguration,
    FilterConfiguration,
    PointFilter,
    SelfFilter,
)
from sensorium.geometry.fusion import FusedMap, FusionConfiguration
from sensorium.geometry.sensor import SensorBackend, SensorConfiguration
from sensorium.geometry.tokens import PatchGrid, TokensConfiguration, geometric_tokens
from sensorium.poses import validated_pose

CAMERA = pinhole(640, 480, 585.0, (320.0, 240.0))
MAX_RANGE_M = 5.0
HELD_OUT_RANGE_M = 4.0
HELD_OUT_EVERY = 10


def main() -> None:
    """Run every measurement and write the result."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared/data/rgbd_office"
    before = conditions()
    views = [load(path, number) for number, path in enumerate(sorted(folder.glob("*.depth.png")))]
    if not views:
        sys.exit(f"no *.depth.png in {folder}; name a folder in the 7-Scenes layout")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    results: dict[str, Any] = {
        "sequence": str(folder), "frames": len(views), "threads": 1, "image": "640x480",
        "sensor": measure_sensor(views[len(views) // 2]),
        "filters": measure_filters(views[len(views) // 2]),
        "fusion": [
            measure_fusion(views, "cpu", voxel_size_m, with_color)
            for voxel_size_m, with_color in ((0.02, False), (0.02, True), (0.01, False))
        ],
    }  # fmt: skip
    if torch.cuda.is_available():
        results["fusion"].append(measure_fusion(views, "cuda", 0.02, True))
    path = write_results("fusion", results, before)
    print(path.read_text(encoding="utf-8"))


def load(path: Path, number: int) -> RgbdFrame:
    """Return one view; its colour is not registered to depth and serves for timing only."""
    stem = str(path).removesuffix(".depth.png")
    depth_mm, bgr = cv2.imread(str(path), cv2.IMREAD_UNCHANGED), cv2.imread(stem + ".color.jpg")
    if depth_mm is None or bgr is None:
        sys.exit(f"cannot read {path} or its .color.jpg")
    depth = np.where(depth_mm > 0, depth_mm / 1000, np.nan).astype(np.float32)
    color = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    pose = validated_pose(np.loadtxt(stem + ".pose.txt"), path.name)
    return RgbdFrame(number, "camera", "camera", color, None, depth, CAMERA, "map", pose)


class Stopwatch:
    """Collects wall and processor time; the latter leaves out what other processes took."""

    def __init__(self) -> None:
        self._wall_ms: list[float] = []
        self._cpu_ms: list[float] = []

    def time(self, function: Callable[[], object]) -> None:
        """Run once and keep the times."""
        wall, cpu = time.perf_counter(), time.thread_time()
        function()
        self._cpu_ms.append(1e3 * (time.thread_time() - cpu))
        self._wall_ms.append(1e3 * (time.perf_counter() - wall))

    def percentiles(self) -> dict[str, float]:
        """Return the 5th, 50th and 95th percentile of wall time and the median CPU time [ms]."""
        p5, p50, p95 = (float(value) for value in np.percentile(self._wall_ms, (5, 50, 95)))
        values = {"p5_ms": p5, "p50_ms": p50, "p95_ms": p95}
        values["cpu_p50_ms"] = float(np.median(self._cpu_ms))
        return {name: round(value, 2) for name, value in values.items()}


def milliseconds(function: Callable[[], object], repeats: int = 50) -> dict[str, float]:
    """Return the percentiles of repeated runs after a warm-up."""
    function()
    watch = Stopwatch()
    for _ in range(repeats):
        watch.time(function)
    return watch.percentiles()


def measure_sensor(view: RgbdFrame) -> dict[str, Any]:
    """Time the backend as the node calls it, and its tokens alone."""
    backend = SensorBackend(SensorConfiguration())
    backend.configure()
    result = backend.add(view).newest
    if result is None or view.color is None:
        raise RuntimeError("the benchmark's view has no geometry")
    points, confidence = torch.as_tensor(result.points_m), torch.as_tensor(result.confidence)
    color = torch.as_tensor(view.color)
    grid = PatchGrid(32, 32, 480, 640, torch.device("cpu"))
    # One token of few samples costs next to nothing: what remains is points and confidence.
    untokened = SensorBackend(SensorConfiguration(tokens=TokensConfiguration(1, 1)))
    return {
        "points_and_confidence": milliseconds(lambda: untokened.add(view)),
        "points_confidence_and_tokens": milliseconds(lambda: backend.add(view)),
        "tokens_32x32": milliseconds(lambda: geometric_tokens(grid, points, confidence, color)),
    }


def measure_filters(view: RgbdFrame) -> dict[str, Any]:
    """Time range, crop box and a robot of twelve capsules in view."""
    backend = SensorBackend(SensorConfiguration())
    result = backend.add(view).newest
    if result is None or view.world_from_camera is None:
        raise RuntimeError("the benchmark's view has no geometry or pose")
    points, pose = result.points_m, view.world_from_camera
    crop = PointFilter(FilterConfiguration(crop=CropConfiguration(enabled=True)))
    capsules = tuple(
        Capsule("arm", np.array((-0.4, 0.2, z)), np.array((0.3, 0.3, z + 0.1)), 0.08)
        for z in np.arange(0.5, 1.7, 0.1)
    )
    robot = SelfFilter(capsules, 0.02)
    return {
        "range_and_crop": milliseconds(lambda: crop.kept(points, pose)),
        "self_filter_12_capsules": milliseconds(
            lambda: robot.masked(points, CAMERA, {"arm": np.eye(4)})
        ),
    }


def measure_fusion(
    views: list[RgbdFrame], device: str, voxel_size_m: float, with_color: bool
) -> dict[str, Any]:
    """Fuse all but every tenth view, then compare the map with those."""
    fused_map = FusedMap(FusionConfiguration(voxel_size_m=voxel_size_m, max_blocks=65536), device)
    watch, extraction = Stopwatch(), Stopwatch()
    for view in views:
        if view.stamp_ns % HELD_OUT_EVERY:
            watch.time(prepared(fused_map, view, with_color))
    for _ in range(5):
        extraction.time(fused_map.points)
    cloud = fused_map.points()
    held_out = np.concatenate([back_projected(view) for view in views[::HELD_OUT_EVERY]])
    nearest = distance_to_nearest(held_out, cloud.points_m, 0.1)
    field = np.abs(fused_map.signed_distance_m(held_out))
    return {
        "device": device,
        "voxel_mm": 1e3 * voxel_size_m,
        "color": with_color,
        "integrate": watch.percentiles(),
        "extract": extraction.percentiles(),
        "points": len(cloud),
        "blocks": fused_map.blocks.count,
        "memory_mb": round(fused_map.memory_bytes / 1e6, 1),
        "agreement": {
            "held_out_points": len(held_out),
            "nearest_median_mm": round(1e3 * float(np.median(nearest)), 2),
            "nearest_p90_mm": round(1e3 * float(np.percentile(nearest, 90)), 2),
            "beyond_100_mm_share": round(float(np.isinf(nearest).mean()), 5),
            "field_median_mm": round(1e3 * float(np.nanmedian(field)), 2),
            "field_known_share": round(float(np.isfinite(field).mean()), 4),
        },
    }


def prepared(fused_map: FusedMap, view: RgbdFrame, with_color: bool) -> Callable[[], None]:
    """Return the integration of a view within range, ready to be timed."""
    depth, pose = view.depth_m, view.world_from_camera
    if depth is None or pose is None:
        raise RuntimeError("the benchmark's view has no depth or pose")
    near = np.where(depth <= MAX_RANGE_M, depth, np.float32(np.nan))

    def integrate() -> None:
        fused_map.integrate(near, CAMERA, pose, view.color if with_color else None)
        if fused_map.device.type == "cuda":
            torch.cuda.synchronize()

    return integrate


def back_projected(view: RgbdFrame) -> NDArray[np.float64]:
    """Return every 29th valid point within 4 m of a view, in the world frame."""
    if view.depth_m is None or view.world_from_camera is None:
        raise RuntimeError("the benchmark's view has no depth or pose")
    v, u = np.nonzero(view.depth_m <= HELD_OUT_RANGE_M)
    v, u = v[::29], u[::29]
    z = view.depth_m[v, u].astype(np.float64)
    points = np.linalg.inv(CAMERA.K) @ np.stack((u * z, v * z, z))
    result: NDArray[np.float64] = points.T @ view.world_from_camera[:3, :3].T
    return result + view.world_from_camera[:3, 3]


if __name__ == "__main__":
    main()
