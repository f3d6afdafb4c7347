"""The whole stack at once: latency from sensor to geometry, segments, action; rates, CPU, memory.

Run: python benchmarks/whole_stack.py [--seconds 20] [--rates 5,10,15,20,30]
Two stacks, each started by `sensorium up`: perception (a 640x480 RGB-D recording, looped at a rate,
into geometry and segmentation; a process per node, and at two rates in one container, too, where
frames are handed over in memory) and the tabletop world in real time with its policy. Ages are
taken by a probe in a process of its own: arrival of the output minus stamp of the frame. The
highest input rate is that of which under 5 % of the frames are dropped, in the manner of
ros2_benchmark. Writes benchmarks/results/whole_stack.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from camera_to_geometry import HEIGHT_PX, WIDTH_PX, write_recording
from conditions import ROOT, conditions, write_results

sys.path.append(str(ROOT / "chaos"))
from stack import Stack, own_domain, wait_until

DROPPED_SHARE = 0.05
_START_S = 120.0
_WARM_UP_S = 6.0
_OUTPUTS = {"geometry": "/geometry/camera_info", "segmentation": "/segmentation/segments"}


def perception(recording: Path, rate_hz: float, nodes: tuple[str, ...]) -> dict[str, Any]:
    """Parameters of a looped recording into the given nodes."""
    content: dict[str, dict[str, Any]] = {
        "bringup": {"nodes": ["camera/rgbd_camera", *nodes]},
        "rgbd_camera": {
            "source": "recording",
            "recording": {
                "folder": str(recording), "registration": "registered", "loop": True,
                "rate_hz": rate_hz,
            },
        },
        "geometry": {"rgbd_topics": ["camera/rgbd"], "threads": 1, "qos": "reliable"},
        "segmentation": {"topic": "camera/rgbd", "threads": 1, "qos": "reliable"},
    }  # fmt: skip
    return {f"/**/{name}": {"ros__parameters": values} for name, values in content.items()}


class Ages:
    """Ages of outputs by the clock on the wall, as a subscriber sees them."""

    def __init__(self, watch: Any, topics: dict[str, tuple[type[Any], str]]) -> None:  # noqa: ANN401
        self.ms: dict[str, list[float]] = {name: [] for name in topics}
        from sensorium.ros.qos import qos_profile

        for name, (message_type, topic) in topics.items():
            watch.node.create_subscription(
                message_type, topic, self._taker(name), qos_profile("sensor_data", 50)
            )

    def _taker(self, name: str) -> Any:  # noqa: ANN401
        def take(message: Any) -> None:  # noqa: ANN401
            stamp = message.header.stamp
            self.ms[name].append(1e3 * (time.time() - stamp.sec - 1e-9 * stamp.nanosec))

        return take

    def clear(self) -> None:
        """Forget what came so far."""
        for values in self.ms.values():
            values.clear()


def percentiles(values: list[float]) -> dict[str, float]:
    """p50, p95, p99 [ms] and the number of values."""
    if not values:
        return {"count": 0}
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return {
        "p50_ms": round(float(p50), 2),
        "p95_ms": round(float(p95), 2),
        "p99_ms": round(float(p99), 2),
        "count": len(values),
    }


def usage(stack: Stack, nodes: list[str]) -> dict[str, tuple[float, float, float]]:
    """CPU seconds so far, resident and proportional memory [MiB] of each node's process.

    Pages that several processes share (libraries) count whole in each one's resident memory, and
    divided by their number in the proportional one.
    """
    found = {}
    for node in nodes:
        pid = stack.pid(node)
        if pid is None:
            continue
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        found[node] = (cpu_s, pages * os.sysconf("SC_PAGESIZE") / 2**20, _proportional_mb(pid))
    return found


def _proportional_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def _processes(
    before: dict[str, tuple[float, float, float]],
    after: dict[str, tuple[float, float, float]],
    took_s: float,
) -> dict[str, dict[str, float]]:
    return {
        name: {
            "cpu_percent": round(100 * (after[name][0] - before[name][0]) / took_s, 1),
            "rss_mb": round(after[name][1], 1),
            "pss_mb": round(after[name][2], 1),
        }
        for name in after
    }


@contextmanager
def running(
    parameters: dict[str, Any], *, sim_time: bool = False, in_container: bool = False
) -> Iterator[tuple[Stack, Any]]:
    """A stack and a watch on it."""
    from watch import Watch

    with tempfile.TemporaryDirectory() as temporary:
        watch = Watch({})
        try:
            folder = Path(temporary)
            with Stack(parameters, folder, sim_time=sim_time, in_container=in_container) as stack:
                yield stack, watch
        finally:
            watch.close()


def measure_perception(
    recording: Path,
    rate_hz: float,
    nodes: tuple[str, ...],
    seconds: float,
    *,
    in_container: bool = False,
) -> dict[str, Any]:
    """One run of the perception stack at one input rate, a process per node or one for all."""
    from sensor_msgs.msg import CameraInfo
    from sensorium_ros.msg import Segments

    types = {"geometry": CameraInfo, "segmentation": Segments}
    parameters = perception(recording, rate_hz, nodes)
    with running(parameters, in_container=in_container) as (stack, watch):
        ages = Ages(watch, {name: (types[name], _OUTPUTS[name]) for name in nodes})

        def works() -> bool:
            return all(watch.count(f"/{name}", "processed") > 0 for name in nodes)

        if wait_until(works, _START_S) is None:
            raise SystemExit(f"the stack does not work; its log:\n{stack.log_since(0)[-3000:]}")
        time.sleep(_WARM_UP_S)
        everybody = ["container"] if in_container else ["rgbd_camera", *nodes]
        ages.clear()
        counted = {
            name: (watch.count(f"/{name}", "received"), watch.count(f"/{name}", "processed"))
            for name in nodes
        }
        published = watch.count("/camera/rgbd_camera", "published")
        before, started_s = usage(stack, everybody), time.monotonic()
        time.sleep(seconds)
        took_s = time.monotonic() - started_s
        after = usage(stack, everybody)
        sent = watch.count("/camera/rgbd_camera", "published") - published
        result: dict[str, Any] = {"asked_hz": rate_hz, "input_hz": round(sent / took_s, 2)}
        result["processes"] = _processes(before, after, took_s)
        for name in nodes:
            processed = watch.count(f"/{name}", "processed") - counted[name][1]
            result[f"sensor_to_{name}"] = {
                **percentiles(ages.ms[name]),
                "rate_hz": round(processed / took_s, 2),
                "dropped_share": round(max(0.0, 1 - processed / max(sent, 1)), 4),
            }
        return result


def highest_rate(rows: list[dict[str, Any]], node: str) -> float | None:
    """The highest input rate of which under 5 % were dropped."""
    good = [
        row["input_hz"]
        for row in rows
        if f"sensor_to_{node}" in row
        and row[f"sensor_to_{node}"]["dropped_share"] < DROPPED_SHARE
        and row["input_hz"] > (1 - DROPPED_SHARE) * row["asked_hz"]
    ]
    return max(good, default=None)


def measure_action(seconds: float) -> dict[str, Any] | None:
    """The tabletop world in real time with its policy; None where a part is not installed."""
    try:
        import mujoco  # noqa: F401
    except ImportError:
        return None
    from sensorium_ros.msg import ActionChunk

    from sensorium.ros.episodes import EpisodeClient, EpisodeRequest
    from sensorium.tabletop.parameters import closed_loop_parameters, make_real_time

    parameters = closed_loop_parameters()
    make_real_time(parameters)
    nodes = ["tabletop_world", "geometry", "policy", "policy_guard"]
    with running(parameters, sim_time=True) as (stack, watch):
        latency_ms: list[float] = []
        inference_ms: list[float] = []

        def note(chunk: Any) -> None:  # noqa: ANN401
            if chunk.published:
                latency_ms.append(1e3 * chunk.latency_s)
            inference_ms.append(1e3 * chunk.inference_s)

        watch.node.create_subscription(ActionChunk, "/policy/chunk", note, 50)
        import rclpy

        node = rclpy.create_node("benchmark_episodes")
        episodes = EpisodeClient(node)
        try:
            episodes.wait_until_active([f"/{name}" for name in nodes], _START_S)
            episodes.wait_until_ready(_START_S)
            before, started_s = usage(stack, nodes), time.monotonic()
            outcomes = []
            while time.monotonic() - started_s < seconds:
                outcomes.append(episodes.run(EpisodeRequest(950_000 + len(outcomes), "place_red")))
            took_s = time.monotonic() - started_s
            after = usage(stack, nodes)
        finally:
            episodes.close()
            node.destroy_node()
        return {
            "sensor_to_action": percentiles(latency_ms),
            "inference": percentiles(inference_ms),
            "episodes": len(outcomes),
            "successes": sum(outcome.success for outcome in outcomes),
            "processes": _processes(before, after, took_s),
        }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run")
    parser.add_argument("--rates", default="2,5,10,15,20,30", help="input rates [Hz]")
    options = parser.parse_args()
    own_domain()
    rates = [float(text) for text in options.rates.split(",")]
    before = conditions()
    results: dict[str, Any] = {"width_px": WIDTH_PX, "height_px": HEIGHT_PX, "perception": {}}
    with tempfile.TemporaryDirectory() as temporary:
        recording = write_recording(Path(temporary) / "recording")
        for nodes in (("geometry",), ("geometry", "segmentation")):
            rows: list[dict[str, Any]] = []
            for rate_hz in rates:
                rows.append(measure_perception(recording, rate_hz, nodes, options.seconds))
                print(json.dumps(rows[-1]), flush=True)
                if all(row[f"sensor_to_{nodes[-1]}"]["dropped_share"] > 0.5 for row in rows[-1:]):
                    break
            results["perception"]["+".join(nodes)] = {
                "runs": rows,
                "highest_rate_hz": {name: highest_rate(rows, name) for name in nodes},
            }
        both = ("geometry", "segmentation")
        results["container"] = {}
        for rate_hz in (2.0, 4.0):
            for name, in_container in (("process per node", False), ("one container", True)):
                row = measure_perception(
                    recording, rate_hz, both, options.seconds, in_container=in_container
                )
                results["container"].setdefault(f"{rate_hz:g} Hz", {})[name] = row
                print(name, json.dumps(row), flush=True)
    results["action"] = measure_action(options.seconds)
    print(json.dumps(results["action"]))
    print(write_results("whole_stack", results, before))


if __name__ == "__main__":
    main()
