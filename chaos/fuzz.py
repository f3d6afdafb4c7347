"""Ten thousand broken messages per input topic: what was sent must be accounted for, by reason."""

from __future__ import annotations

import copy
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sensor_msgs.msg import Imu
from sensorium_ros.msg import RgbdFrame, SignalBlock
from stack import wait_until
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from watch import Watch

from sensorium.cli.up import node_environment
from sensorium.frames import RgbdFrame as Frame
from sensorium.frames import pinhole
from sensorium.ros.convert.rgbd_frame import message_from_frame
from sensorium.ros.qos import qos_profile
from sensorium.tabletop.arm import ARM_JOINTS

_FLOATS = (float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 1e30, 1e-30)
_TEXTS = ("", " ", "../../etc/passwd", "a" * 4096, "%s%n{}", "\u202e\u0416\U0001f600", "'; reboot",
          "rgb8", "32FC1", "16UC1", "mono8", "bayer_rggb8", "map", "optical")  # fmt: skip
_INTEGERS = (0, 1, -1, 7, 255, 2**31 - 1, -(2**31), 2**32 - 1, 2**64 - 1)
_WIDTH_PX, _HEIGHT_PX = 48, 36
# Nodes tell their counters once a second.
_TOLD_S = 2.5


@dataclass(frozen=True)
class Target:
    """A node, one of its inputs, and where its counters say what became of a message.

    Attributes:
        accounted: diagnostic counters whose sum must equal the messages received.
        received: counter of the messages that came.
        share: of the messages asked for; a network takes its time for each.
        pause_s: between two messages, so that few are superseded by newer ones [s].
    """

    node: str
    topic: str
    message_type: type[Any]
    make: Callable[[int], Any]
    parameters: dict[str, str]
    accounted: tuple[str, ...]
    received: str = "received"
    share: float = 1.0
    pause_s: float = 0.001


@dataclass
class FuzzRow:
    """What became of the messages to one topic."""

    topic: str
    sent: int
    received: int
    lost: int
    accounted: dict[str, int]
    reasons: dict[str, int]
    alive: bool
    works_afterwards: bool

    @property
    def balanced(self) -> bool:
        """Sent = accepted + rejected by reason + superseded + failed + lost, and the node lives."""
        whole = self.sent == self.received + self.lost
        return whole and self.received == sum(self.accounted.values()) and self.alive


def frame(stamp_ns: int) -> Any:  # noqa: ANN401 - a generated type
    """A good small RGB-D frame."""
    camera = pinhole(_WIDTH_PX, _HEIGHT_PX, 40.0)
    return message_from_frame(
        Frame(
            stamp_ns=stamp_ns,
            camera_name="camera",
            optical_frame="optical",
            color=np.full((_HEIGHT_PX, _WIDTH_PX, 3), 128, np.uint8),
            color_camera=camera,
            depth_m=np.full((_HEIGHT_PX, _WIDTH_PX), 1.0, np.float32),
            depth_camera=camera,
            world_frame="map",
            world_from_camera=np.eye(4),
        )
    )


def imu(stamp_ns: int) -> Imu:
    """A good IMU sample."""
    message = Imu()
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    message.linear_acceleration.z = 9.81
    return message


def block(stamp_ns: int) -> SignalBlock:
    """A good block of an ECG."""
    message = SignalBlock(rate_hz=360.0, channel_names=["ecg"], units=["mV"], samples=[0.0] * 36)
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    return message


def trajectory(_stamp_ns: int) -> JointTrajectory:
    """A good trajectory of the simulated arm, which stands still; stamp 0 begins now."""
    message = JointTrajectory(joint_names=[*ARM_JOINTS])
    point = JointTrajectoryPoint(positions=[0.0, -0.32, 0.0, -2.28, 0.0, 1.96, 0.7854])
    point.time_from_start.nanosec = 200_000_000
    message.points = [point]
    return message


TARGETS = (
    Target(
        "geometry", "/fuzz/rgbd", RgbdFrame, frame,
        {"rgbd_topics": "['/fuzz/rgbd']", "qos": "reliable", "qos_depth": "100", "threads": "1",
         "map.enabled": "false"},
        ("processed", "rejected", "superseded", "failed"),
        pause_s=0.005,
    ),
    Target(
        "segmentation", "/fuzz/pictures", RgbdFrame, frame,
        {"topic": "/fuzz/pictures", "qos": "reliable", "qos_depth": "100", "threads": "1",
         "vocabulary": "['box', 'floor']"},
        ("processed", "rejected", "superseded", "failed"),
        pause_s=0.08,
        share=0.1,
    ),
    Target(
        "tabletop_world", "/fuzzed_fuzz_arm/joint_trajectory", JointTrajectory, trajectory,
        {"mode": "realtime"}, ("accepted", "rejected"), received="trajectories", pause_s=0.01,
    ),
    Target(
        "signal", "/fuzz/imu", Imu, imu,
        {"topic": "/fuzz/imu", "input": "imu", "models": "['activity']"},
        ("accepted", "rejected", "dropped", "failed"),
    ),
    Target(
        "signal", "/fuzz/block", SignalBlock, block,
        {"topic": "/fuzz/block", "input": "signal_block", "models": "['heartbeat']"},
        ("accepted", "rejected", "dropped", "failed"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Leaf:
    """A field that is no message itself: who has it, its name, its type in the interface file."""

    owner: Any
    name: str
    kind: str


def leaves(message: Any) -> list[Leaf]:  # noqa: ANN401
    """All leaves of a message."""
    found = []
    for name, kind in message.get_fields_and_field_types().items():
        value = getattr(message, name)
        if hasattr(value, "get_fields_and_field_types"):
            found += leaves(value)
        else:
            found.append(Leaf(message, name, kind))
    return found


def broken(value: Any, kind: str, rng: random.Random) -> Any:  # noqa: ANN401 - any field
    """Something that a broken or hostile publisher could put in place of `value`."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice(_fitting(kind))
    if isinstance(value, float):
        return rng.choice(_FLOATS)
    if isinstance(value, str):
        return rng.choice(_TEXTS)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value[: rng.randrange(len(value) + 1)])
    return _broken_sequence(value, kind, rng)


def _fitting(kind: str) -> list[int]:
    """The integers that the wire can carry in a type such as "uint32"."""
    digits = re.search(r"u?int(\d+)", kind)
    bits = int(digits[1]) if digits else 8
    low, high = (0, 2**bits - 1) if "uint" in kind else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return [number for number in _INTEGERS if low <= number <= high]


def _broken_sequence(value: Any, kind: str, rng: random.Random) -> Any:  # noqa: ANN401
    fixed = isinstance(value, np.ndarray)
    changed = copy.deepcopy(value)
    if len(changed) and hasattr(changed[0], "get_fields_and_field_types"):
        mutate(changed[rng.randrange(len(changed))], rng)
        return changed
    if len(changed) and (fixed or rng.random() < 0.5):
        index = rng.randrange(len(changed))
        item = changed[index]
        changed[index] = broken(item.item() if fixed else item, kind, rng)
        return changed
    if rng.random() < 0.5:
        return changed[: rng.randrange(len(changed) + 1)]
    return changed + changed[: rng.randrange(len(changed) + 1)]


def mutate(message: Any, rng: random.Random) -> None:  # noqa: ANN401
    """Break one to three fields of a message in place; a tenth of the messages stays good."""
    if rng.random() < 0.1:
        return
    for leaf in rng.sample(leaves(message), rng.randint(1, 3)):
        value = getattr(leaf.owner, leaf.name)
        setattr(leaf.owner, leaf.name, broken(value, leaf.kind, rng))


def node_name(target: Target) -> str:
    """Name of the node that is fuzzed."""
    first, _, rest = target.topic.strip("/").partition("/")
    return first if first.startswith("fuzzed") else f"fuzzed_{first}_{rest}"


def fuzz(watch: Watch, target: Target, number: int, folder: Path, seed: int = 0) -> FuzzRow:
    """Send `number` mutated messages to a node of its own; returns what became of them."""
    rng = random.Random(seed)
    name = node_name(target)
    arguments = ["--ros-args", "-r", f"__node:={name}", "-p", "autostart:=true"]
    for key, value in target.parameters.items():
        arguments += ["-p", f"{key}:={value}"]
    log = folder / f"{name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", f"sensorium.nodes.{target.node}", *arguments],
            stdout=file, stderr=subprocess.STDOUT, env=node_environment(), start_new_session=True,
        )  # fmt: skip
    try:
        return _fuzz(watch, target, f"/{name}", number, rng, process)
    finally:
        process.terminate()
        process.wait(20)


def _fuzz(
    watch: Watch,
    target: Target,
    name: str,
    number: int,
    rng: random.Random,
    process: subprocess.Popen[bytes],
) -> FuzzRow:
    publisher = watch.node.create_publisher(
        target.message_type, target.topic, qos_profile("reliable", 1000)
    )
    if wait_until(lambda: publisher.get_subscription_count() > 0, 60.0) is None:
        raise RuntimeError(f"{name} does not subscribe to {target.topic}")
    number = max(1, round(number * target.share))
    before = _greeted(watch, target, name, publisher)

    def since() -> Counter[str]:
        keys = {target.received, "lost", *target.accounted}
        return Counter({key: watch.count(name, key) - before[key] for key in keys})

    def received() -> int:
        return since()[target.received]

    sent, window = 0, 60
    while sent < number and process.poll() is None:
        for _ in range(min(window, number - sent)):
            message = target.make(time.time_ns())
            mutate(message, rng)
            publisher.publish(message)
            sent += 1
            time.sleep(target.pause_s)
        # The node says once a second what it has; a full queue would be our loss, not its fault.
        if sent % 1200 == 0:
            wait_until(lambda n=sent: received() >= n - 200, 30.0)

    def settled() -> bool:
        now = since()
        return sum(now[key] for key in (*target.accounted, "lost")) >= sent

    wait_until(settled, 40.0)
    counts = since()
    row = FuzzRow(
        target.topic,
        sent,
        counts[target.received],
        counts["lost"],
        {key: counts[key] for key in target.accounted},
        {
            reason: more
            for reason, count in _reasons(watch, name).items()
            if (more := count - before[f"rejected.{reason}"])
        },
        process.poll() is None,
        works_afterwards=False,
    )
    row.works_afterwards = _still_works(watch, target, name, publisher)
    watch.node.destroy_publisher(publisher)
    return row


def _greeted(watch: Watch, target: Target, name: str, publisher: Any) -> Counter[str]:  # noqa: ANN401
    """Send good messages until the node counts them; returns its counters before the fuzzing.

    The publisher can know the subscription before that knows the publisher: what is sent in between
    reaches nobody and nobody's counters.
    """

    def is_heard() -> bool:
        publisher.publish(target.make(time.time_ns()))
        time.sleep(0.2)
        return watch.count(name, target.received) > 0

    if wait_until(is_heard, 60.0) is None:
        raise RuntimeError(f"{name} counts nothing of what is sent to {target.topic}")
    time.sleep(_TOLD_S)
    values = watch.statuses.get(name, {})
    return Counter({key: int(value) for key, value in values.items() if value.isdecimal()})


def _still_works(watch: Watch, target: Target, name: str, publisher: Any) -> bool:  # noqa: ANN401
    """Good messages are accepted again; the first may restart time."""
    key = target.accounted[0]
    before = watch.count(name, key)

    def accepted() -> bool:
        publisher.publish(target.make(time.time_ns()))
        time.sleep(0.05)
        return watch.count(name, key) > before + 3

    return wait_until(accepted, 20.0) is not None


def _reasons(watch: Watch, name: str) -> dict[str, int]:
    values = watch.statuses.get(name, {})
    return {
        key.removeprefix("rejected."): int(value)
        for key, value in sorted(values.items())
        if key.startswith("rejected.")
    }
