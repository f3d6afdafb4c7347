"""The result of a run: a table for people, demo.json for programs, pictures, how to open them."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium import __version__
from sensorium.demo.evaluation import LIMIT_M, Evaluation, evaluate
from sensorium.demo.folder import OutputFolder
from sensorium.demo.pictures import depth_picture, map_picture
from sensorium.demo.plan import DemoPlan
from sensorium.demo.recorded import RecordedRun, read_run
from sensorium.demo.run import RunResult, Stopping, peak_resident_mb
from sensorium.geometry.picture import save_png
from sensorium.geometry.ply import read_ply
from sensorium.geometry.surface import MapPoints

_SAMPLED_FRAMES = 15
_WIDTH = 78


@dataclass(frozen=True, slots=True)
class Report:
    """What is said at the end.

    Attributes:
        table: for the terminal.
        failure: why the run is not a success; "" when it is one.
    """

    table: str
    failure: str


def write_report(
    folder: OutputFolder, plan: DemoPlan, result: RunResult, stopping: Stopping
) -> Report:
    """Judge a finished run and write its pictures, demo.json and README.txt.

    Raises:
        BagError: the recording cannot be read back.
        Interrupted: a signal came.
        OSError: a file cannot be written.
    """
    started_s = time.monotonic()
    run = read_run(folder.recording, plan.topics, _SAMPLED_FRAMES)
    stopping.check()
    cloud = _read_map(folder.file("map.ply"), plan.voxel_size_m)
    evaluation = evaluate(run.frames, cloud.points_m, plan.scene)
    stopping.check()
    save_png(folder.file("map.png"), map_picture(cloud, run.frames, run.color))
    if run.frames:
        middle = run.frames[len(run.frames) // 2]
        save_png(folder.file("depth.png"), depth_picture(middle, run.color))
    stopping.check()
    peak_mb = {**result.peak_mb, "sensorium demo": peak_resident_mb() or 0.0}
    judging_s = time.monotonic() - started_s
    failure = _failure(plan, result, run)
    table = _table(folder, plan, result, run, evaluation, len(cloud), peak_mb, failure)
    values = _values(plan, result, run, evaluation, len(cloud), peak_mb, judging_s, failure)
    folder.file("demo.json").write_text(json.dumps(_finite(values), indent=2) + "\n")
    folder.file("README.txt").write_text(_readme(table, plan))
    return Report(table, failure)


def _failure(plan: DemoPlan, result: RunResult, run: RecordedRun) -> str:
    if result.counts.failed:
        return f"{result.counts.failed} frames failed inside the geometry node; see its log"
    if not run.messages.get(plan.topics.points):
        return f"the recording holds no {plan.topics.points}"
    if not run.frames:
        return "the recording holds no frame together with its points"
    return ""


def _read_map(path: Path, voxel_size_m: float) -> MapPoints:
    vertices = read_ply(path)

    def column(names: str) -> np.ndarray[Any, Any]:
        return np.stack([vertices[name] for name in names.split()], axis=1)

    points = column("x y z")
    return MapPoints(
        points, column("nx ny nz"), column("red green blue"),
        np.ones(len(points), np.float32), voxel_size_m,
    )  # fmt: skip


def _table(
    folder: OutputFolder, plan: DemoPlan, result: RunResult, run: RecordedRun,
    evaluation: Evaluation, map_points: int, peak_mb: dict[str, float], failure: str,
) -> str:  # fmt: skip
    counts = result.counts
    lines = ["", "=" * _WIDTH, f"sensorium demo: {plan.source}", "=" * _WIDTH]
    lines += [
        "Frames",
        _row("published by the source", counts.published),
        _row("received by geometry", counts.received),
        _row("lost on the way (published - received)", counts.lost),
        _row("processed (points published)", counts.processed),
        _row("superseded by a newer frame", counts.superseded),
        _row("rejected", _with_reasons(counts.rejected)),
    ]
    if counts.rejected_by_source:
        lines.append(_row("rejected by the camera node", _with_reasons(counts.rejected_by_source)))
    lines.append(_row("fused into the map", counts.fused))
    lines += [
        "Latency (arrival: at the recorder, another process)",
        _latency_row("work of geometry on a frame", counts.latency_ms),
    ]
    lines += [
        _latency_row("stamp of a frame to its arrival", _percentiles(run.frames_age_ms)),
        _latency_row("stamp of a frame to its points' arrival", _percentiles(run.points_age_ms)),
    ]
    if plan.request.player:
        lines.append("    (arrivals on the clock of the bag, which moves in steps of 10 ms)")
    lines.append(_latency_row("fusing a frame, beside that", counts.fuse_ms))
    lines.append(f"{'Error':<44}{'median':>9}{'p90':>11}{'beyond':>9}")
    for error in evaluation.errors:
        mark = "" if error.is_truth else " *"
        lines.append(
            f"  {error.name + mark:<42}{error.median_mm:6.1f} mm{error.p90_mm:8.1f} mm"
            f"{error.beyond:9.1%}"
        )
    lines.append(f"    (beyond: farther than {1000 * LIMIT_M:.0f} mm; {evaluation.frames} frames)")
    if any(not error.is_truth for error in evaluation.errors):
        lines += [
            "  * There is no ground truth in this recording. This is how far depth pixels are",
            "    from the nearest point of the map that was made of them: agreement, not accuracy.",
        ]
    if evaluation.covered is not None:
        lines.append(_row("seen surface with map within 30 mm", f"{evaluation.covered:.1%}"))
    lines.append(_row("points of the map", f"{map_points:,}"))
    if run.color is not None:
        lines.append("  The map is grey: colour and depth of this recording are not registered.")
    lines += ["Peak memory (resident, shared memory included)"]
    lines += [_row(name, f"{peak:.0f} MiB") for name, peak in peak_mb.items()]
    lines.append(_row("run, start to stop", f"{result.duration_s:.1f} s"))
    notes = [*result.warnings, *evaluation.notes, *run.notes]
    lines += [f"Note: {note}" for note in notes]
    size_mb = _size_mb(folder.recording)
    lines += [
        f"Files in {folder.path}",
        "  map.png, depth.png   pictures of the map and of one frame",
        f"  map.ply              the map, {map_points:,} points (MeshLab, CloudCompare, Blender)",
        f"  recording/           all topics, {counts.recorded} messages, {size_mb:.0f} MB "
        "(Foxglove, Rerun, RViz)",
        "  README.txt           how to open each;  demo.json: these numbers;  logs/",
        "=" * _WIDTH,
    ]
    if failure:
        lines.append(f"FAILED: {failure} ({folder.logs})")
    return "\n".join(lines)


def _row(name: str, value: object) -> str:
    return f"  {name:<48}{value!s:>12}"


def _latency_row(name: str, percentiles: tuple[float, float] | None) -> str:
    if percentiles is None:
        return _row(name, "-")
    return _row(name, f"p50 {percentiles[0]:.1f} ms, p95 {percentiles[1]:.1f} ms")


def _percentiles(values_ms: NDArray[np.float64]) -> tuple[float, float] | None:
    if not len(values_ms):
        return None
    p50, p95 = np.percentile(values_ms, (50, 95))
    return float(p50), float(p95)


def _with_reasons(rejected: dict[str, int]) -> str:
    if not rejected:
        return "0"
    reasons = ", ".join(f"{name} {count}" for name, count in sorted(rejected.items()))
    return f"{sum(rejected.values())} ({reasons})"


def _values(
    plan: DemoPlan, result: RunResult, run: RecordedRun, evaluation: Evaluation, map_points: int,
    peak_mb: dict[str, float], judging_s: float, failure: str,
) -> dict[str, Any]:  # fmt: skip
    return {
        "source": plan.source,
        "failure": failure,
        "frames": {**asdict(result.counts), "lost": result.counts.lost},
        "latency_ms": {
            "geometry": result.counts.latency_ms,
            "stamp_to_frame_at_recorder": _percentiles(run.frames_age_ms),
            "stamp_to_points_at_recorder": _percentiles(run.points_age_ms),
            "fuse": result.counts.fuse_ms,
            "percentiles": [50, 95],
        },
        "errors": [asdict(error) for error in evaluation.errors],
        "error_limit_mm": LIMIT_M * 1000,
        "covered_within_30_mm": evaluation.covered,
        "frames_judged": evaluation.frames,
        "map_points": map_points,
        "peak_memory_mib": peak_mb,
        "duration_s": {"run": result.duration_s, "judging": judging_s},
        "recorded_messages": run.messages,
        "notes": [*result.warnings, *evaluation.notes, *run.notes],
        "conditions": {
            "sensorium": __version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cpus": len(os.sched_getaffinity(0)),
            "load_average": os.getloadavg(),
            "parameters": plan.conditions,
        },
    }


def _finite(value: Any) -> Any:  # noqa: ANN401 - anything that JSON can hold
    """Replace NaN and infinity, which JSON does not know, by null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _size_mb(path: Path) -> float:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6


def _readme(table: str, plan: DemoPlan) -> str:
    fixed = plan.conditions["geometry"]["map_frame"]
    return f"""What `sensorium demo` made: {plan.source}

map.png        The fused map from above (walls that would hide the room are left out), the camera's
               image, and the map seen from the same place.
depth.png      One frame: image and published depth; of a rendered scene also exact depth and error.
map.ply        The fused map in frame '{fixed}', metres, with normals and colours. Opens in MeshLab,
               CloudCompare and Blender; in Python: open3d.io.read_point_cloud("map.ply").
demo.json      The numbers of the table below with the conditions they were measured under.
parameters.yaml  The parameter file of this run (`sensorium up parameters.yaml` starts it again).
logs/          The output of every process.
recording/     A rosbag2 recording (MCAP) of all topics.

Opening the recording
  Foxglove     Open local file -> recording/recording.mcap. 3D panel: fixed frame '{fixed}', show
               {plan.topics.points} and {plan.request.geometry}/map.
               Image panel: {plan.topics.color}
  Rerun        rerun recording/recording.mcap
  RViz         ros2 bag play recording --clock
               ros2 launch sensorium_ros rviz.launch.py use_sim_time:=true
  Again        sensorium replay recording, or sensorium demo --recording recording --output OTHER
{table}
"""
