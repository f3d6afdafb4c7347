"""The fused map of a real sequence agrees with depth images that were not fused."""

import time

import numpy as np
import torch
from office_sequence import (
    ALLOWED_MEDIAN_M,
    DEPTH_CAMERA,
    HELD_OUT_EVERY,
    depth_files,
    held_out_points,
    load,
    needs_office_sequence,
)

from sensorium.geometry.distance import distance_to_nearest
from sensorium.geometry.fusion import FusedMap, FusionConfiguration


@needs_office_sequence
def test_the_map_agrees_with_held_out_depth_to_under_15_mm(record_property):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    fused_map = FusedMap(FusionConfiguration(voxel_size_m=0.02))
    seconds = []
    for number, path in enumerate(depth_files()):
        if number % HELD_OUT_EVERY:
            depth, pose = load(path)
            depth[depth > 5.0] = np.nan
            start = time.perf_counter()
            fused_map.integrate(depth, DEPTH_CAMERA, pose)
            seconds.append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    cloud = fused_map.points().points_m
    points = held_out_points()
    nearest = distance_to_nearest(points, cloud, 0.1)
    field = np.abs(fused_map.signed_distance_m(points))
    record_property("median_nearest_mm", float(1e3 * np.median(nearest)))
    record_property("median_field_mm", float(1e3 * np.nanmedian(field)))
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
