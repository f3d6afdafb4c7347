"""A camera node and a geometry node on a looped recording, watched: the rig of several benchmarks.

The nodes are the real ones, started from a parameter file with the commands and the environment of
`sensorium up`; each frame is noted by its stamp where it is sent, received and worked off, so that
a lost frame is known by name.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from sensorium.bringup import read_plan
from sensorium.cli.up import node_environment
from sensorium.processes import ManagedProcess, stop_all
from sensorium.sources.rendered import RenderedConfiguration, RenderedSource

WIDTH_PX, HEIGHT_PX, FOCAL_PX, RATE_HZ = 640, 480, 525.0, 30.0
CAMERA, GEOMETRY = "/camera/rgbd_camera", "/geometry"
# What the camera offers and what the geometry node asks for.
QOS = {
    "reliable": ("reliable", "reliable"),
    "best_effort": ("sensor_data", "sensor_data"),
    "defaults": ("reliable", "sensor_data"),
}
_WATCHED_NODES = Path(__file__).with_name("watched_nodes.py")
_START_S = 120.0
_DRAIN_S = 3.0


def write_recording(folder: Path, frames: int = 60) -> Path:
    """Write one walk around a rendered room in the 7-Scenes layout; returns the folder.

    The walk is closed, so the recording can be looped. PNG depth is not compressed and colour is
    JPEG, so that reading costs the camera process about 7 ms a frame.
    """
    source = RenderedSource(
        RenderedConfiguration(
            width_px=WIDTH_PX, height_px=HEIGHT_PX, focal_px=FOCAL_PX, rate_hz=RATE_HZ,
            frames=frames, turn_s=frames / RATE_HZ,
        )
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(frames):
        frame = source.frame(index).frame
        stem = f"frame-{index:06d}"
        assert frame.color is not None  # noqa: S101 - rendered frames are whole
        assert frame.depth_m is not None  # noqa: S101
        assert frame.world_from_camera is not None  # noqa: S101
        cv2.imwrite(str(folder / f"{stem}.color.jpg"), frame.color[..., ::-1])
        millimetres = np.nan_to_num(frame.depth_m * 1000).round().astype(np.uint16)
        cv2.imwrite(
            str(folder / f"{stem}.depth.png"), millimetres, [cv2.IMWRITE_PNG_COMPRESSION, 0]
        )
        np.savetxt(folder / f"{stem}.pose.txt", frame.world_from_camera)
    np.savetxt(folder / "camera-intrinsics.txt", source.camera.K)
    return folder


def write_parameters(
    path: Path,
    recording: Path,
    qos: str = "defaults",
    **geometry: Any,  # noqa: ANN401
) -> Path:
    """Write the parameter file of both nodes; returns `path`.

    Args:
        path: the file.
        recording: folder of the recording.
        qos: key of QOS.
        geometry: further parameters of the geometry node.
    """
    offered, requested = QOS[qos]
    content = {
        "/**/bringup": {"nodes": ["camera/rgbd_camera", "geometry"]},
        "/**/rgbd_camera": {
            "source": "recording",
            "wait_for_subscribers_s": _START_S,
            "qos": offered,
            "recording": {
                "folder": str(recording), "registration": "registered", "loop": True,
                "rate_hz": RATE_HZ,
            },
        },
        "/**/geometry": {
            "rgbd_topics": ["camera/rgbd"], "qos": requested, "map_frame": "map", "threads": 1,
            **geometry,
        },
    }  # fmt: skip
    document = {name: {"ros__parameters": values} for name, values in content.items()}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


@dataclass
class ProcessUse:
    """What a process used of the machine between two looks.

    Attributes:
        cpu_percent: of one core.
        rss_mb: resident memory at the end.
        peak_rss_mb: largest resident memory since it started.
    """

    cpu_percent: float
    rss_mb: float
    peak_rss_mb: float


@dataclass
class Watch:
    """The running graph as seen from outside.

    Attributes:
        processes: the processes by name ("rgbd_camera" and "geometry", or "container").
        statuses: newest diagnostic values by node.
    """

    folder: Path
    node: Any
    processes: dict[str, ManagedProcess] = field(default_factory=dict)
    statuses: dict[str, dict[str, str]] = field(default_factory=dict)
    _executor: Any = None
    _looked: dict[str, tuple[float, float]] = field(default_factory=dict)

    def count(self, node: str, key: str) -> int:
        """Return a counter of a node's newest diagnostics, 0 when it is not there."""
        return int(self.statuses.get(node, {}).get(key, 0))

    def spin(self, seconds: float) -> None:
        """Take diagnostics for a while."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left, 0.2))

    def wait(self, condition: Callable[[], bool], what: str, timeout_s: float = _START_S) -> None:
        """Take diagnostics until a condition holds.

        Raises:
            RuntimeError: it did not within `timeout_s`, or a process ended.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            ended = [n for n, process in self.processes.items() if process.returncode is not None]
            if ended or time.monotonic() > deadline:
                logs = "\n".join(
                    path.read_text(encoding="utf-8") for path in sorted(self.folder.glob("*.log"))
                )
                reason = f"{', '.join(ended)} ended" if ended else f"not within {timeout_s:g} s"
                raise RuntimeError(f"{what}: {reason}; logs:\n{logs}")
            self.spin(0.1)

    def deactivate(self, node: str) -> None:
        """Deactivate a node by its lifecycle service.

        Raises:
            RuntimeError: it does not answer, or refuses.
        """
        client = self.node.create_client(ChangeState, f"{node}/change_state")
        self.wait(client.service_is_ready, f"no lifecycle service of {node}")
        transition = Transition(id=Transition.TRANSITION_DEACTIVATE)
        future = client.call_async(ChangeState.Request(transition=transition))
        self.wait(future.done, f"{node} does not answer")
        if not future.result().success:
            raise RuntimeError(f"{node} refused to deactivate")

    def use(self, name: str) -> ProcessUse:
        """Return what a process used since the last look at it."""
        pid = self.processes[name].pid
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        now_s = time.monotonic()
        before_cpu_s, before_s = self._looked.get(name, (0.0, now_s - 1e-9))
        self._looked[name] = (cpu_s, now_s)
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        kilobytes = {line.split(":")[0]: line.split()[1] for line in lines if "kB" in line}
        return ProcessUse(
            100 * (cpu_s - before_cpu_s) / (now_s - before_s),
            int(kilobytes["VmRSS"]) / 1024,
            int(kilobytes["VmHWM"]) / 1024,
        )

    def _note(self, message: Any) -> None:  # noqa: ANN401 - a DiagnosticArray
        for status in message.status:
            self.statuses[status.name] = {pair.key: pair.value for pair in status.values}


@contextlib.contextmanager
def running(
    folder: Path, parameters: Path, *, in_container: bool = False, watched: bool = True
) -> Iterator[Watch]:
    """Run both nodes, all started at once as by `sensorium up`; yields once frames flow.

    Args:
        folder: for logs and notes.
        parameters: the parameter file.
        in_container: run both nodes in one process.
        watched: note every frame; the notes take memory, some 200 bytes a frame.
    """
    plans = read_plan(parameters)
    rclpy.init()
    node = Node("benchmark")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    watch = Watch(folder, node, _executor=executor)
    node.create_subscription(DiagnosticArray, "/diagnostics", watch._note, 100)
    environment = node_environment()
    groups = {"container": plans} if in_container else {p.executable: [p] for p in plans}
    runner = [str(_WATCHED_NODES)] if watched else ["-m", "sensorium.nodes.container"]
    try:
        for name, members in groups.items():
            arguments = [
                argument
                for plan in members
                for argument in ("--node", plan.executable, *plan.ros_arguments)
            ]
            notes = [str(folder / f"{name}.json")] if watched else []
            process = ManagedProcess(
                name,
                [sys.executable, *runner, *notes, *arguments],
                environment,
                folder / f"{name}.log",
            )
            watch.processes[name] = process
            process.start()
        watch.wait(
            lambda: watch.count(CAMERA, "published") > 0 and watch.count(GEOMETRY, "processed") > 0,
            "no frames flow",
        )
        for name in watch.processes:
            watch.use(name)
        yield watch
    finally:
        stop_all(list(watch.processes.values()))
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()


def drain(watch: Watch) -> None:
    """Stop the camera and wait until the geometry node has taken what is under way."""
    watch.deactivate(CAMERA)
    watch.spin(_DRAIN_S)


@dataclass
class Journey:
    """What became of the frames of one run, by their stamps [ns].

    Attributes:
        sent: stamps in order of sending.
        lost: stamps that were sent and never received.
        duplicates: frames received more than once.
        unordered: frames received after a newer one.
        in_memory: frames that were handed over without a message.
        processed: frames that were worked off.
        input_ms: from the camera's publish call to the geometry node's input, per received frame.
        publish_ms: duration of the camera's publish call, per frame.
        output_ms: from the camera's publish call to published geometry, per processed frame.
    """

    sent: list[int]
    lost: list[int]
    duplicates: int
    unordered: int
    in_memory: int
    processed: int
    input_ms: Any
    publish_ms: Any
    output_ms: Any

    @property
    def received(self) -> int:
        """Frames received."""
        return len(self.sent) - len(self.lost)

    def lost_positions(self) -> list[int]:
        """Return the places of the lost frames in the order of sending; the first is 0."""
        place = {stamp: index for index, stamp in enumerate(self.sent)}
        return [place[stamp] for stamp in self.lost]


def read_journey(folder: Path) -> Journey:
    """Join the notes of all processes of a run that has ended."""
    notes: dict[str, list[Any]] = {"sent": [], "received": [], "processed": []}
    for path in folder.glob("*.json"):
        for key, entries in json.loads(path.read_text(encoding="utf-8")).items():
            notes[key] += entries
    sent = {stamp: before_ns for stamp, before_ns, _ in notes["sent"]}
    stamps = [entry[0] for entry in notes["received"]]
    arrived = set(stamps)
    return Journey(
        sent=list(sent),
        lost=[stamp for stamp in sent if stamp not in arrived],
        duplicates=len(stamps) - len(arrived),
        unordered=sum(later < earlier for earlier, later in itertools.pairwise(stamps)),
        in_memory=sum(entry[2] for entry in notes["received"]),
        processed=len(notes["processed"]),
        input_ms=np.array([(entry[1] - sent[entry[0]]) / 1e6 for entry in notes["received"]]),
        publish_ms=np.array([(after - before) / 1e6 for _, before, after in notes["sent"]]),
        output_ms=np.array([(entry[1] - sent[entry[0]]) / 1e6 for entry in notes["processed"]]),
    )


def percentiles(values_ms: Any) -> dict[str, float]:  # noqa: ANN401 - an array
    """Return median, 95th percentile and maximum [ms]."""
    p50, p95, largest = np.percentile(values_ms, (50, 95, 100))
    return {
        "p50_ms": round(float(p50), 3),
        "p95_ms": round(float(p95), 3),
        "max_ms": round(float(largest), 3),
    }
