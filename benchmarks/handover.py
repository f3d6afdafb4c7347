"""Time a 640x480 RGB-D frame from the camera's publish call to the geometry node's input.

Run: python benchmarks/handover.py [--seconds 20]
Once with a process per node (DDS) and once with both nodes in one container (in memory). Writes
benchmarks/results/handover.json. The target is a median below 1 ms in the container, at least 5
times faster than between processes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from camera_to_geometry import (
    HEIGHT_PX,
    RATE_HZ,
    WIDTH_PX,
    drain,
    percentiles,
    read_journey,
    running,
    write_parameters,
    write_recording,
)
from conditions import conditions, write_results

TARGET_MS = 1.0
TARGET_RATIO = 5.0


def measure(folder: Path, recording: Path, seconds: float, *, in_container: bool) -> dict[str, Any]:
    """Run both nodes for a while; returns the times of the hand-over."""
    folder.mkdir()
    parameters = write_parameters(folder / "parameters.yaml", recording)
    with running(folder, parameters, in_container=in_container) as watch:
        watch.spin(seconds)
        cpu_percent = sum(watch.use(name).cpu_percent for name in watch.processes)
        drain(watch)
    journey = read_journey(folder)
    return {
        "frames": len(journey.sent),
        "received": journey.received,
        "in_memory": journey.in_memory,
        "publish_to_input": percentiles(journey.input_ms),
        "publish": percentiles(journey.publish_ms),
        "cpu_percent": round(cpu_percent, 1),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="duration of each run")
    seconds = parser.parse_args().seconds
    measured_under = conditions()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        recording = write_recording(folder / "recording")
        runs = {
            name: measure(folder / name, recording, seconds, in_container=name == "container")
            for name in ("processes", "container")
        }
    medians = {name: run["publish_to_input"]["p50_ms"] for name, run in runs.items()}
    ratio = medians["processes"] / medians["container"]
    results = {
        "image": f"{WIDTH_PX}x{HEIGHT_PX} colour and depth in one RgbdFrame",
        "rate_hz": RATE_HZ,
        "seconds": seconds,
        "target_ms": TARGET_MS,
        "target_ratio": TARGET_RATIO,
        "target_met": medians["container"] < TARGET_MS and ratio >= TARGET_RATIO,
        "processes_over_container": round(ratio, 1),
        "runs": runs,
    }
    path = write_results("handover", results, measured_under)
    for name, run in runs.items():
        times = run["publish_to_input"]
        print(f"{name:10s} {times['p50_ms']:8.3f} ms (p95 {times['p95_ms']:.3f})")
    print(f"container is {ratio:.1f} times faster; written to {path}")


if __name__ == "__main__":
    main()
