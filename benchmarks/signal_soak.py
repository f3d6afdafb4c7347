"""Send a 1 kHz, 6-channel IMU signal from one process to a signal node in another, for long.

Run: python benchmarks/signal_soak.py --seconds 600 [--load BUSY_PROCESSES]
Judged: no sample lost (sent = used, nothing filled or rejected), one estimate per hop, latency and
memory flat. Latency is from the time a sample was due to the arrival of the estimate whose window
it ends, so it holds the sender's own lateness, two transports, and the network. `--load` starts
that many busy processes beside it, one per core if not given. Writes
benchmarks/results/signal_soak.json; ends with 1 when a verdict fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import torch
from conditions import conditions, write_results
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Imu
from sensorium_ros.msg import SignalEstimate

from sensorium.cli.up import node_environment
from sensorium.models.signals import build_network
from sensorium.processes import ManagedProcess, stop_all
from sensorium.ros.convert.header import header, stamp_from_time
from sensorium.ros.qos import qos_profile
from sensorium.streaming.model_file import Channel, SignalModel, save_signal_model

RATE_HZ, WINDOW, HOP = 1000, 1024, 32
PERIOD_NS = 1_000_000_000 // RATE_HZ
NAMES = [f"{part}.{axis}" for part in ("linear_acceleration", "angular_velocity") for axis in "xyz"]
# The later half of the judged time against the earlier; the machine's own noise is below it.
LATENCY_RATIO = 2.0
GROWTH_TOLERANCE = 0.03
_DEPTH = 5000


def write_model(folder: Path) -> Path:
    """A network of the size that signal people use, with random weights."""
    torch.manual_seed(0)
    configuration = {
        "channels": 6, "window": WINDOW, "classes": 4, "widths": [32, 64, 64],
        "kernels": [5, 5, 5], "pools": [2, 2, 2], "padding": "centred", "head": "flatten",
    }  # fmt: skip
    model = SignalModel(
        name="soak", architecture="convolutional_classifier", configuration=configuration,
        channels=tuple(Channel(name) for name in NAMES), rate_hz=RATE_HZ, window=WINDOW, hop=HOP,
        mode="exact_window", class_names=("a", "b", "c", "d"),
    )  # fmt: skip
    return save_signal_model(folder, model, build_network(model.architecture, configuration).eval())


def send(seconds: float) -> None:
    """Be the sender process: publish every sample when it is due; print what was sent."""
    rclpy.init()
    node = Node("sender")
    publisher = node.create_publisher(Imu, "/imu/data", qos_profile("reliable", _DEPTH))
    while not publisher.get_subscription_count():
        time.sleep(0.05)
    values = np.random.default_rng(0).standard_normal((4096, 6)).tolist()
    start_ns, started_s = time.time_ns(), time.monotonic()
    count, sent, latest_s = round(seconds * RATE_HZ), 0, 0.0
    while sent < count:
        now_s = time.monotonic() - started_s
        due = min(count, int(now_s * RATE_HZ) + 1)
        if due > sent:
            latest_s = max(latest_s, now_s - sent / RATE_HZ)
        for number in range(sent, due):
            publisher.publish(_imu(start_ns + number * PERIOD_NS, values[number % 4096]))
        sent = due
        time.sleep(0.0005)
    # The last samples must not leave with the process.
    time.sleep(3.0)
    print(json.dumps({"sent": sent, "latest_ms": round(1e3 * latest_s, 1)}))
    node.destroy_node()
    rclpy.try_shutdown()


def _imu(stamp_ns: int, sample: list[float]) -> Any:  # noqa: ANN401 - rclpy has no types
    message = Imu(header=header(stamp_ns, "imu_link"))
    acceleration, velocity = message.linear_acceleration, message.angular_velocity
    acceleration.x, acceleration.y, acceleration.z, velocity.x, velocity.y, velocity.z = sample
    return message


class Listener:
    """Notes latencies of estimates and the node's diagnostics."""

    def __init__(self) -> None:
        self.latencies: list[tuple[float, float]] = []
        self.hops: list[int] = []
        self.status: dict[str, str] = {}
        self._node = Node("listener")
        self._started_s = time.monotonic()
        qos = qos_profile("reliable", _DEPTH)
        self._node.create_subscription(SignalEstimate, "/signal/soak", self._note, qos)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._read, 100)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)

    def spin(self, seconds: float) -> None:
        """Listen for a while."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def close(self) -> None:
        """Destroy the node."""
        self._executor.shutdown()
        self._node.destroy_node()

    def _note(self, message: Any) -> None:  # noqa: ANN401
        age_ms = (time.time_ns() - stamp_from_time(message.window_end)) / 1e6
        self.latencies.append((time.monotonic() - self._started_s, age_ms))
        self.hops.append(message.hop_index)

    def _read(self, message: Any) -> None:  # noqa: ANN401
        for status in message.status:
            if status.name == "/signal":
                self.status = {pair.key: pair.value for pair in status.values}


_BURN = "while True: sum(range(10_000))"


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Processes that only burn time, in sessions of their own as programs of others are."""
    burn = [sys.executable, "-c", _BURN]
    load = [subprocess.Popen(burn, start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in load:
            process.kill()
            process.wait()


@contextlib.contextmanager
def running(node: ManagedProcess) -> Iterator[None]:
    """The node, stopped at the end whatever happens."""
    node.start()
    try:
        yield
    finally:
        stop_all([node])


def _rss_mb(pid: int | None) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(seconds: float, load: int) -> dict[str, Any]:
    """Run sender and node; returns numbers and verdicts."""
    with tempfile.TemporaryDirectory() as temporary, busy(load):
        folder = Path(temporary)
        arguments = [
            "--ros-args",
            "-p",
            "autostart:=true",
            "-p",
            f'models:=["{write_model(folder)}"]',
        ]
        node = ManagedProcess(
            "signal", [sys.executable, "-m", "sensorium.nodes.signal", *arguments],
            node_environment(), folder / "signal.log",
        )  # fmt: skip
        with running(node):
            return _measure(node, seconds)


def _measure(node: ManagedProcess, seconds: float) -> dict[str, Any]:
    listener = Listener()
    while "soak.received" not in listener.status:
        listener.spin(0.5)
    sender = subprocess.Popen(
        [sys.executable, __file__, "--send", str(seconds)], stdout=subprocess.PIPE, text=True
    )
    memory = []
    while sender.poll() is None:
        listener.spin(max(0.5, seconds / 100))
        memory.append(_rss_mb(node.pid))
    listener.spin(2.5)
    printed = sender.communicate()[0].splitlines()
    if sender.returncode:
        sys.exit("the sender could not publish (see above): the node does not keep up at all")
    listener.close()
    return judge(json.loads(printed[-1]), listener, memory)


def judge(sent: dict[str, Any], listener: Listener, memory_mb: list[float]) -> dict[str, Any]:
    """Verdicts on samples, estimates, latency and memory."""
    keys = ("received", "used", "filled", "rejected", "restarts")
    counts = {key: int(listener.status[f"soak.{key}"]) for key in keys}
    counts |= {key: int(listener.status[key]) for key in ("lost", "dropped", "failed")}
    whole = counts["used"] == counts["received"] == sent["sent"]
    clean = not any(counts[key] for key in ("filled", "rejected", "restarts", "lost", "dropped"))
    expected = sent["sent"] // HOP
    in_order = listener.hops == list(range(expected))
    times_s, ages_ms = np.array(listener.latencies).T
    judged = ages_ms[times_s > times_s[0] + (times_s[-1] - times_s[0]) / 10]
    earlier, later = (float(np.median(half)) for half in np.array_split(judged, 2))
    third = memory_mb[len(memory_mb) // 3 :]
    half = np.array_split(third, 2)
    growth_mb = float(np.median(half[1]) - np.median(half[0]))
    verdicts = {
        "no_sample_lost": whole and clean,
        "one_estimate_per_hop": in_order,
        "latency_flat": later <= LATENCY_RATIO * earlier,
        "memory_flat": growth_mb <= GROWTH_TOLERANCE * float(np.median(third)),
    }
    percentiles = dict(
        zip(("p50", "p95", "p99", "max"), np.percentile(judged, (50, 95, 99, 100)), strict=True)
    )
    return {
        "passed": all(verdicts.values()),
        "verdicts": verdicts,
        "sent": sent["sent"],
        "sender_latest_ms": sent["latest_ms"],
        "samples": counts,
        "estimates": len(listener.hops),
        "estimates_expected": expected,
        "latency_ms": {key: round(float(value), 2) for key, value in percentiles.items()},
        "latency_earlier_p50_ms": round(earlier, 2),
        "latency_later_p50_ms": round(later, 2),
        "node_latency_p50_ms": listener.status.get("soak.latency_p50_ms"),
        "node_latency_p95_ms": listener.status.get("soak.latency_p95_ms"),
        "node_rss_mb": round(float(np.median(third)), 1),
        "node_rss_growth_mb": round(growth_mb, 2),
    }


def main() -> None:
    """Run, judge, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default_s = float(os.environ.get("SECONDS", "600"))
    parser.add_argument("--seconds", type=float, default=default_s, help="duration")
    cores = os.cpu_count() or 1
    parser.add_argument("--load", type=int, default=cores, help="busy processes beside it")
    parser.add_argument("--send", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.send is not None:
        send(arguments.send)
        return
    measured_under = conditions()
    rclpy.init()
    result = run(arguments.seconds, arguments.load)
    rclpy.try_shutdown()
    what = {"rate_hz": RATE_HZ, "channels": len(NAMES), "window": WINDOW, "hop": HOP}
    result = {**what, "seconds": arguments.seconds, "busy_processes": arguments.load, **result}
    path = write_results("signal_soak", result, measured_under)
    print(json.dumps(result, indent=1))
    print(f"{'passed' if result['passed'] else 'FAILED'}; written to {path}")
    sys.exit(0 if result["passed"] else 1)


if __name__ == "__main__":
    main()
