"""Run a camera process and a geometry process with its map for long, and judge whether they grow.

Run: make soak (30 minutes; SECONDS=600 for less), or
python benchmarks/soak.py --seconds 1800 [--backend omnivggt]
A recording of 640x480 RGB-D is looped at 30 Hz. Memory, latency and counters are sampled over time
from the nodes' own diagnostics and /proc. Writes benchmarks/results/soak.json and soak.png, with
another backend soak_BACKEND.*; ends with 1 when a verdict fails.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from camera_to_geometry import (
    CAMERA,
    GEOMETRY,
    HEIGHT_PX,
    RATE_HZ,
    WIDTH_PX,
    Watch,
    drain,
    running,
    write_parameters,
    write_recording,
)
from conditions import RESULTS, conditions, write_results
from line_plot import Panel, time_axis, write_plot

# The first third is warm-up: allocators, caches and the map itself fill.
WARM_UP = 1 / 3
# A process may grow by this much over the judged two thirds; noise of allocators is below it.
GROWTH_TOLERANCE = 0.03
# The later half of the judged samples against the earlier; the machine's own noise is below it.
LATENCY_RATIO = 2.0
_SAMPLES = 150
_MAP_MEMORY = "map.memory_mb"


def sample(watch: Watch, started_s: float) -> dict[str, float]:
    """Return one row of numbers, units in the names."""
    row = {"time_s": time.monotonic() - started_s}
    for name in watch.processes:
        use = watch.use(name)
        row[f"{name}_rss_mb"], row[f"{name}_cpu_percent"] = use.rss_mb, use.cpu_percent
    geometry = watch.statuses[GEOMETRY]
    for key in ("age_p50_ms", "age_p95_ms", _MAP_MEMORY):
        row[key] = float(geometry.get(key, "nan"))
    row["published"] = watch.count(CAMERA, "published")
    for key in ("received", "processed", "superseded", "lost", "rejected", "failed"):
        row[key] = watch.count(GEOMETRY, key)
    return {key: round(value, 3) for key, value in row.items()}


def growth(times_s: Any, values: Any) -> dict[str, float]:  # noqa: ANN401 - arrays
    """Return the slope per hour (median of all pairs, so single peaks do not count) and its sum."""
    first, second = np.triu_indices(len(times_s), 1)
    slope = float(np.median((values[second] - values[first]) / (times_s[second] - times_s[first])))
    return {
        "mb_per_hour": round(slope * 3600, 2),
        "mb_in_judged_time": round(slope * float(times_s[-1] - times_s[0]), 2),
        "median_mb": round(float(np.median(values)), 1),
    }


def judge(rows: list[dict[str, float]], final: dict[str, int]) -> dict[str, Any]:
    """Return the verdicts on memory, latency and lost frames."""
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    judged = columns["time_s"] >= columns["time_s"][-1] * WARM_UP
    times_s = columns["time_s"][judged]
    held_mb = {key: columns[key][judged] for key in columns if key.endswith("_rss_mb")}
    # The map grows in steps, up to its own parameter (map.fusion.max_blocks): no leak.
    held_mb["geometry_rss_mb"] = held_mb["geometry_rss_mb"] - columns[_MAP_MEMORY][judged]
    memory = {key: growth(times_s, values) for key, values in held_mb.items()}
    for numbers in memory.values():
        allowed_mb = GROWTH_TOLERANCE * numbers["median_mb"]
        numbers["allowed_mb"] = round(allowed_mb, 2)
        numbers["passed"] = numbers["mb_in_judged_time"] <= allowed_mb
    age_ms = columns["age_p50_ms"][judged]
    earlier, later = (float(np.nanmedian(half)) for half in np.array_split(age_ms, 2))
    latency = {
        "earlier_p50_ms": round(earlier, 1),
        "later_p50_ms": round(later, 1),
        "passed": later <= LATENCY_RATIO * earlier,
    }
    lost = final["published"] - final["received"]
    frames = {**final, "published_minus_received": lost, "passed": lost == 0}
    parts: list[dict[str, Any]] = [*memory.values(), latency, frames]
    return {
        "passed": all(part["passed"] for part in parts),
        "memory": memory,
        "latency": latency,
        "frames": frames,
    }


def run(seconds: float, geometry: dict[str, Any]) -> tuple[list[dict[str, float]], dict[str, int]]:
    """Run both processes; returns the samples and the counters at the end.

    Args:
        seconds: duration [s].
        geometry: parameters of the geometry node.
    """
    interval_s = max(1.0, seconds / _SAMPLES)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        recording = write_recording(folder / "recording")
        parameters = write_parameters(folder / "parameters.yaml", recording, **geometry)
        with running(folder, parameters, watched=False) as watch:
            started_s = time.monotonic()
            while time.monotonic() - started_s < seconds:
                watch.spin(interval_s)
                rows.append(sample(watch, started_s))
            drain(watch)
            final = {
                "published": watch.count(CAMERA, "published"),
                **{
                    key: watch.count(GEOMETRY, key)
                    for key in ("received", "processed", "superseded", "lost", "rejected", "failed")
                },
            }
    return rows, final


def draw(rows: list[dict[str, float]], path: Path) -> None:
    """Draw the samples."""
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    write_plot(
        path,
        time_axis(columns["time_s"]),
        [
            Panel(
                "memory [MB]",
                {key[:-7]: columns[key] for key in columns if key.endswith("_rss_mb")}
                | {"map": columns[_MAP_MEMORY]},
            ),
            Panel(
                "age of the geometry [ms]",
                {k[4:-3]: columns[k] for k in ("age_p50_ms", "age_p95_ms")},
            ),
            Panel("frames", {key: columns[key] for key in ("received", "superseded", "lost")}),
        ],
    )


def main() -> None:
    """Run, judge, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default_s = float(os.environ.get("SECONDS", "1800"))
    parser.add_argument("--seconds", type=float, default=default_s, help="duration")
    parser.add_argument("--backend", default="sensor", help="backend of the geometry node")
    parser.add_argument("--weights", default="omnivggt-small", help="weights of omnivggt")
    arguments = parser.parse_args()
    seconds, backend = arguments.seconds, arguments.backend
    if seconds < 30:
        parser.error(f"--seconds is {seconds:g}; a verdict on growth needs 30 or more")
    name = "soak" if backend == "sensor" else f"soak_{backend}"
    measured_under = conditions()
    rows, final = run(seconds, {"backend": backend, "omnivggt": {"weights": arguments.weights}})
    verdict = judge(rows, final)
    path = write_results(
        name,
        {
            "backend": backend,
            "weights": arguments.weights if backend == "omnivggt" else "",
            "image": f"{WIDTH_PX}x{HEIGHT_PX} colour and depth in one RgbdFrame",
            "rate_hz": RATE_HZ,
            "seconds": seconds,
            "judged": "the last two thirds; memory of the geometry process without the map",
            "verdict": verdict,
            "samples": {key: [row[key] for row in rows] for key in rows[0]},
        },
        measured_under,
    )
    draw(rows, RESULTS / f"{name}.png")
    for process, numbers in verdict["memory"].items():
        print(
            f"{process}: {numbers['median_mb']} MB, {numbers['mb_per_hour']:+.1f} MB/h "
            f"({numbers['mb_in_judged_time']:+.1f} MB of {numbers['allowed_mb']} MB allowed)"
        )
    print(f"latency: {verdict['latency']}")
    print(f"frames: {verdict['frames']}")
    print(f"{'passed' if verdict['passed'] else 'FAILED'}; written to {path}")
    sys.exit(0 if verdict["passed"] else 1)


if __name__ == "__main__":
    main()
