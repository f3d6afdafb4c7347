"""The faults: each is injected into the running stack, must be noticed and recovered from."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sensorium_ros.msg import RgbdFrame
from stack import Stack, wait_until
from watch import Watch

from sensorium.frames import RgbdFrame as Frame
from sensorium.frames import pinhole
from sensorium.ros.convert.rgbd_frame import message_from_frame
from sensorium.ros.qos import qos_profile

PATIENCE_S = 60.0
_PEER = """
import os, sys, time
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
rclpy.init()
node = Node(f"peer_{os.getpid()}")
node.create_subscription(PointCloud2, sys.argv[1], lambda _message: None, 5)
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    rclpy.spin_once(node, timeout_sec=0.1)
os._exit(0)
"""


@dataclass
class Outcome:
    """One row of the table.

    Attributes:
        fault: what was done.
        noticed: how it showed, "" when it did not.
        recovered: the stack works as before.
        seconds: from the injection, or from its end where it lasts, to recovery.
        lost: frames that the transport lost or nodes failed on meanwhile.
        unsafe: commands to the robot beyond the limits meanwhile.
    """

    fault: str
    noticed: str = ""
    recovered: bool = False
    seconds: float = float("nan")
    lost: int = 0
    unsafe: int = 0


@dataclass
class Scene:
    """The stack under test and what is watched of it.

    Attributes:
        node_outputs: a topic per node that flows while the node works.
        camera: full name of the node that makes frames; `consumer` that of its consumer.
        unsafe: how many unsafe commands the robot has been given so far.
        episodes: an EpisodeClient where there is an arm; `turn` is held while it is used.
        endings: why the policy's runs ended so far, one after the other.
        jump_clock: makes simulated time jump by one of the seconds of ``JUMPS_S``.
    """

    stack: Stack
    watch: Watch
    node_outputs: dict[str, str]
    camera: str
    consumer: str
    folder: Path
    unsafe: Callable[[], int] = lambda: 0
    episodes: Any = None
    turn: threading.Lock = field(default_factory=threading.Lock)
    outcomes: list[Outcome] = field(default_factory=list)
    endings: list[str] = field(default_factory=list)
    jump_clock: Callable[[float], None] = lambda _seconds: None

    def losses(self) -> int:
        """Frames that were lost or failed, over all nodes that count them."""
        return sum(
            self.watch.count(name, "lost") + self.watch.count(name, "failed")
            for name in self.watch.statuses
        )


def flow_again(scene: Scene, topics: list[str], timeout_s: float = PATIENCE_S) -> float | None:
    """Seconds until every topic carried three more messages."""
    conditions = [scene.watch.flows(topic) for topic in topics]
    return wait_until(lambda: all(condition() for condition in conditions), timeout_s)


def kill(scene: Scene, node: str) -> Outcome:
    """Kill -9; `sensorium up` must start the node again and it must produce again."""
    outcome = Outcome(f"kill -9 {node}")
    mark = scene.stack.mark()
    before = scene.stack.signal(node, signal.SIGKILL)
    started = time.monotonic()
    wait_until(lambda: scene.stack.pid(node) not in (None, before), PATIENCE_S)
    if "starting it again" in scene.stack.log_since(mark):
        outcome.noticed = "log: ended with -9; starting it again"
    # Everything, not only the victim: nobody may hang on its death.
    if flow_again(scene, list(scene.node_outputs.values())) is not None:
        outcome.recovered, outcome.seconds = True, time.monotonic() - started
    return outcome


def freeze(scene: Scene, node: str, seconds: float = 5.0) -> Outcome:
    """SIGSTOP: the node must go on by itself afterwards, and its silence must be visible."""
    outcome = Outcome(f"SIGSTOP {node} for {seconds:.0f} s")
    full_name = next((name for name in scene.watch.statuses if name.endswith(f"/{node}")), node)
    scene.stack.signal(node, signal.SIGSTOP)
    try:
        time.sleep(seconds)
        if scene.watch.silent_s(full_name) > seconds / 2:
            outcome.noticed = "its diagnostics fell silent (stale in every aggregator)"
    finally:
        scene.stack.signal(node, signal.SIGCONT)
    started = time.monotonic()
    if flow_again(scene, list(scene.node_outputs.values())) is not None:
        outcome.recovered, outcome.seconds = True, time.monotonic() - started
    return outcome


def camera_gone(scene: Scene) -> Outcome:
    """The camera stops; the consumer must say what it waits for, and go on when it is back."""
    outcome = Outcome("camera gone and back")
    scene.watch.change(scene.camera, "deactivate")

    def said() -> bool:
        return "waiting for" in scene.watch.messages.get(scene.consumer, "")

    if wait_until(said, 20.0) is not None:
        outcome.noticed = f"diagnostics: {scene.watch.messages[scene.consumer][:70]}"
    scene.watch.change(scene.camera, "activate")
    seconds = flow_again(scene, list(scene.node_outputs.values()))
    outcome.recovered, outcome.seconds = seconds is not None, seconds or float("nan")
    return outcome


def peers_come_and_go(scene: Scene, number: int = 6) -> Outcome:
    """Subscribers appear, half of them are killed outright; nobody may notice."""
    topic = scene.node_outputs[scene.consumer.rpartition("/")[2]]
    outcome = Outcome(f"{number} DDS peers appear, are killed or leave")
    peers = [
        subprocess.Popen([sys.executable, "-c", _PEER, topic, "4"], start_new_session=True)
        for _ in range(number)
    ]
    time.sleep(3.0)
    for peer in peers[::2]:
        peer.kill()
    for peer in peers:
        peer.wait(60)
    outcome.noticed = "nothing to notice"
    seconds = flow_again(scene, list(scene.node_outputs.values()))
    outcome.recovered, outcome.seconds = seconds is not None, seconds or float("nan")
    return outcome


def disk_full(scene: Scene, recorder: str = "recorder") -> Outcome:
    """The recorder's file may not grow any more: an ERROR, and a new bag once there is room."""
    outcome = Outcome("disk full while recording (file size limit of the process)")
    name = f"/{recorder}"
    bag = Path(scene.watch.statuses[name]["bag"])
    size = sum(path.stat().st_size for path in bag.rglob("*") if path.is_file())
    before = scene.stack.limit(recorder, resource.RLIMIT_FSIZE, size + 4096)

    def said() -> bool:
        text = scene.watch.messages.get(name, "")
        return "writing" in text and "failed" in text

    if wait_until(said, 40.0) is not None:
        outcome.noticed = f"diagnostics: {scene.watch.messages[name][:70]}"
    scene.stack.limit(recorder, resource.RLIMIT_FSIZE, before[0])
    started = time.monotonic()
    scene.watch.change(name, "deactivate")
    scene.watch.change(name, "activate")
    wrote = scene.watch.count(name, "written")
    if wait_until(lambda: 0 < scene.watch.count(name, "written") != wrote, PATIENCE_S) is not None:
        outcome.recovered, outcome.seconds = True, time.monotonic() - started
    return outcome


def out_of_memory(scene: Scene, node: str) -> Outcome:
    """The node gets no more memory, and a picture that needs some: it fails, the node lives on."""
    outcome = Outcome(f"out of memory in {node}")
    wait_until(lambda: any(name.endswith(f"/{node}") for name in scene.watch.statuses), 20.0)
    full_name = next(name for name in scene.watch.statuses if name.endswith(f"/{node}"))
    failed = scene.watch.count(full_name, "failed")
    mark = scene.stack.mark()
    size = scene.stack.memory_bytes(node)
    pid = scene.stack.pid(node)
    # Below what it has: memory that it gives back does not come again either.
    before = scene.stack.limit(node, resource.RLIMIT_AS, size // 2)
    large = scene.watch.node.create_publisher(RgbdFrame, "/camera/rgbd", qos_profile("reliable", 1))
    picture = message_from_frame(_large_frame())

    sent_s = [0.0]

    def said() -> bool:
        if time.monotonic() - sent_s[0] > 1.0:
            sent_s[0] = time.monotonic()
            picture.header.stamp = scene.watch.node.get_clock().now().to_msg()
            large.publish(picture)
        log = scene.stack.log_since(mark)
        return (
            scene.watch.count(full_name, "failed") > failed
            or any(text in log for text in ("memory", "MemoryError", "alloc"))
            or scene.stack.pid(node) != pid
        )

    noticed = wait_until(said, 20.0)
    scene.watch.node.destroy_publisher(large)
    if scene.stack.pid(node) != pid:
        outcome.noticed = "the process ended; started again"
    elif noticed is not None:
        outcome.noticed = "log and counter `failed` name it"
    if scene.stack.pid(node) == pid:
        with contextlib.suppress(LookupError):
            scene.stack.limit(node, resource.RLIMIT_AS, before[0])
    started = time.monotonic()
    if flow_again(scene, list(scene.node_outputs.values())) is not None:
        outcome.recovered, outcome.seconds = True, time.monotonic() - started
    return outcome


def _large_frame() -> Frame:
    """A frame larger than those before: its arrays need memory that nobody has given back."""
    camera = pinhole(1000, 750, 750.0)
    depth_m = np.full((750, 1000), 2.0, np.float32)
    color = np.zeros((750, 1000, 3), np.uint8)
    return Frame(1, "camera", "camera_color_optical_frame", color, camera, depth_m, camera)


def corrupt_weights(scene: Scene) -> Outcome:
    """A node is started on a truncated weights file: refused by name, the others go on."""
    outcome = Outcome("corrupt weights")
    weights = scene.folder / "corrupt.safetensors"
    weights.write_bytes(os.urandom(4096))
    arguments = ["--ros-args", "-r", "__node:=victim", "-p", "autostart:=true"]
    arguments += ["-p", f"models:=['{weights}']"]
    log = scene.folder / "corrupt.log"
    with log.open("wb") as file:
        victim = subprocess.Popen(
            [sys.executable, "-m", "sensorium.nodes.signal", *arguments],
            stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        if wait_until(lambda: "failed" in log.read_text(errors="replace"), 40.0) is not None:
            lines = [x for x in log.read_text(errors="replace").splitlines() if "failed" in x]
            outcome.noticed = lines[0][-90:]
        seconds = flow_again(scene, list(scene.node_outputs.values()))
        alive = victim.poll() is None
        outcome.recovered, outcome.seconds = bool(seconds and alive), seconds or float("nan")
    finally:
        victim.kill()
        victim.wait()
    return outcome


def run(scene: Scene, inject: Callable[..., Outcome], *arguments: Any) -> Outcome:  # noqa: ANN401
    """Inject one fault and fill in what is counted around it."""
    lost, unsafe = scene.losses(), scene.unsafe()
    try:
        outcome = inject(scene, *arguments)
    except Exception as error:  # a fault that cannot be injected is a row, not the end of the suite
        outcome = Outcome(f"{inject.__name__} {' '.join(map(str, arguments))}", f"not run: {error}")
    outcome.lost = max(scene.losses() - lost, 0)
    outcome.unsafe = scene.unsafe() - unsafe
    scene.outcomes.append(outcome)
    verdict = f"recovered in {outcome.seconds:.1f} s" if outcome.recovered else "NOT RECOVERED"
    print(f"{outcome.fault}: {outcome.noticed or 'NOT NOTICED'}; {verdict}", flush=True)
    return outcome
