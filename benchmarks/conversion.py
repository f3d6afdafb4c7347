"""Time the conversion between arrays and messages, beside the naive assignment.

Run: python benchmarks/conversion.py
Writes benchmarks/results/conversion.json. The target is below 0.2 ms for a 640x480 image, each way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from conditions import conditions, write_results
from numpy.typing import NDArray
from sensor_msgs.msg import Image, PointCloud2

from sensorium.ros.convert.image import (
    color_from_image,
    depth_from_image,
    image_from_color,
    image_from_depth,
)
from sensorium.ros.convert.pointcloud import (
    cloud_from_points,
    field_from_cloud,
    points_from_cloud,
)

HEIGHT, WIDTH = 480, 640
STAMP_NS = 1_700_000_000_123_456_789
TARGET_MS = 0.2


def milliseconds(function: Callable[[], object], repeats: int) -> dict[str, float]:
    """Return median, 5th and 95th percentile of the run time [ms], after a warm-up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(1e3 * (time.perf_counter() - start))
    low, median, high = np.percentile(times, (5, 50, 95))
    return {
        "median_ms": round(float(median), 4),
        "p05_ms": round(float(low), 4),
        "p95_ms": round(float(high), 4),
        "repeats": repeats,
    }


def naive_image(array: NDArray[Any], encoding: str) -> Image:
    """Assign the array to the message, as the tutorials of other converters do."""
    message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=array.strides[0])
    message.data = array.reshape(-1).view(np.uint8).tolist()
    return message


def assigned_array(array: NDArray[Any]) -> Image:
    """Assign the ndarray itself, which Kilted accepts with its field checks off (the default)."""
    message = Image()
    message.data = array.reshape(-1).view(np.uint8)
    return message


def main() -> None:
    """Measure, print and write."""
    cv2.setNumThreads(1)
    measured_under = conditions()
    rng = np.random.default_rng(0)
    color = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    depth_m = rng.uniform(0.3, 5.0, (HEIGHT, WIDTH)).astype(np.float32)
    depth_m[rng.random(depth_m.shape) < 0.2] = np.nan
    points_m = rng.normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
    confidence = rng.random((HEIGHT, WIDTH)).astype(np.float32)

    rgb8 = image_from_color(color, STAMP_NS, "camera")
    bgr8 = image_from_color(color, STAMP_NS, "camera")
    bgr8.encoding = "bgr8"
    metres = image_from_depth(depth_m, STAMP_NS, "camera")
    millimetres = image_from_depth(depth_m, STAMP_NS, "camera", encoding="16UC1")
    depth_mm = np.frombuffer(millimetres.data, np.uint16).reshape(HEIGHT, WIDTH)

    def cloud() -> PointCloud2:
        return cloud_from_points(points_m, STAMP_NS, "camera", colors=color, confidence=confidence)

    written_cloud = cloud()
    cases: dict[str, Callable[[], object]] = {
        "write_rgb8": lambda: image_from_color(color, STAMP_NS, "camera"),
        "read_rgb8": lambda: color_from_image(rgb8),
        "read_bgr8": lambda: color_from_image(bgr8),
        "write_32FC1": lambda: image_from_depth(depth_m, STAMP_NS, "camera"),
        "read_32FC1": lambda: depth_from_image(metres),
        "write_16UC1": lambda: image_from_depth(depth_m, STAMP_NS, "camera", encoding="16UC1"),
        "read_16UC1": lambda: depth_from_image(millimetres),
    }
    cloud_cases: dict[str, Callable[[], object]] = {
        "write_cloud_xyz_rgb_confidence": cloud,
        "read_cloud_xyz": lambda: points_from_cloud(written_cloud),
        "read_cloud_confidence": lambda: field_from_cloud(written_cloud, "confidence"),
    }
    naive_cases: dict[str, Callable[[], object]] = {
        "assign_ndarray_rgb8": lambda: assigned_array(color),
        "assign_list_rgb8": lambda: naive_image(color, "rgb8"),
        "assign_ndarray_32FC1": lambda: assigned_array(depth_m),
        "assign_list_32FC1": lambda: naive_image(depth_m, "32FC1"),
        "assign_ndarray_16UC1": lambda: assigned_array(depth_mm),
        "assign_list_16UC1": lambda: naive_image(depth_mm, "16UC1"),
    }
    ours = {name: milliseconds(case, 500) for name, case in cases.items()}
    clouds = {name: milliseconds(case, 100) for name, case in cloud_cases.items()}
    naive = {name: milliseconds(case, 5) for name, case in naive_cases.items()}
    ratios = {
        f"{kind}_over_write_{encoding}": round(
            naive[f"{kind}_{encoding}"]["median_ms"] / ours[f"write_{encoding}"]["median_ms"]
        )
        for kind in ("assign_ndarray", "assign_list")
        for encoding in ("rgb8", "32FC1", "16UC1")
    }
    slowest = max(ours, key=lambda name: ours[name]["median_ms"])
    results = {
        "image": f"{WIDTH}x{HEIGHT}",
        "target_ms": TARGET_MS,
        "target_met": ours[slowest]["median_ms"] < TARGET_MS,
        "conversion": ours,
        "cloud": clouds,
        "naive": naive,
        "naive_ratio": ratios,
    }
    path = write_results("conversion", results, measured_under)
    for name, numbers in {**ours, **clouds, **naive}.items():
        print(f"{name:34s} {numbers['median_ms']:9.4f} ms (p95 {numbers['p95_ms']:.4f})")
    for name, ratio in ratios.items():
        print(f"{name:34s} {ratio:9d} x")
    print(f"slowest image conversion: {slowest}; target {TARGET_MS} ms; written to {path}")


if __name__ == "__main__":
    main()
