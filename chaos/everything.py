"""Faults of the whole stack at once (config/everything.yaml): clock jumps, hostile names."""

from __future__ import annotations

import re
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from faults import Outcome, Scene, flow_again
from jumping_world import JUMPS_S
from moving import COMMANDS, MovingStack
from sensor_msgs.msg import PointCloud2
from sensorium_ros.msg import ActionChunk, Objects, Segments, SignalEstimate, WorldState
from sensorium_ros.srv import EncodeText, QueryObjects, SetVocabulary
from stack import wait_until
from trajectory_msgs.msg import JointTrajectory

from sensorium.processes import ManagedProcess, stop_all
from sensorium.tabletop.parameters import closed_loop_parameters

NODES = (
    "tabletop_world", "geometry", "segmentation", "semantic_cloud", "signal", "policy",
    "policy_guard", "recorder", "viewer",
)  # fmt: skip
OUTPUTS: dict[str, tuple[str, type[Any]]] = {
    "tabletop_world": ("/tabletop_world/state", WorldState),
    "geometry": ("/geometry/points", PointCloud2),
    "segmentation": ("/segmentation/segments", Segments),
    "semantic_cloud": ("/semantic_cloud/objects", Objects),
    "signal": ("/signal/contact", SignalEstimate),
    "policy": ("/policy/chunk", ActionChunk),
    "policy_guard": (COMMANDS, JointTrajectory),
}
_NOTICE_S, _PATIENCE_S = 60.0, 120.0
# What was sent before the clock went back may still be under way.
_UNDER_WAY_S = 1.0
# A jump ends a run by this reason alone, whoever sees it first: guards or policy.
_END = "clock_jump"
_GOOD_NAMES = ["red box", "green box", "blue box", "yellow box", "black plate", "floor", "wall"]
# Title, class list, whether it must be refused; None: whatever DDS makes of it.
_LISTS: tuple[tuple[str, list[str], bool | None], ...] = (
    ("no names", [], True),
    ("an empty name", [""], True),
    ("10 000 characters", ["x" * 10_000], True),
    ("control characters", ["mug\a\x1b[31m"], True),
    ("right-to-left override", ["red \u202egum"], True),
    ("10 000 names", [f"name {number}" for number in range(10_000)], True),
    ("one name twice", ["mug", "MUG"], True),
    ("NUL", ["mug\0cup"], None),
    ("../", ["../../../../etc/passwd", "..\\..\\x"], False),
    ("script", ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>"], False),
    ("format strings", ["%s%s%n%p", "{0}{}{x!r}", "${HOME}"], False),
)
_TEXTS = ("", "x" * 10_000, "%s{}\x1b[2J", "../../etc/passwd", "\u202emug", "mug\0cup", "<script>")


class EverythingStack(MovingStack):
    """Every node at once, acting without pause; the world's clock can jump."""

    def __init__(self, folder: Path, checkpoint: str) -> None:
        content = closed_loop_parameters("everything")
        section = content["/**/bringup"]["ros__parameters"]
        section["nodes"] = [name for name in section["nodes"] if name != "tabletop_world"]
        content["/**/recorder"]["ros__parameters"]["directory"] = str(folder / "bags")
        content["/**/viewer"]["ros__parameters"]["port"] = 0
        if checkpoint:
            content["/**/policy"]["ros__parameters"]["checkpoint"] = checkpoint
        self._heard: deque[tuple[float, float]] = deque(maxlen=1000)
        super().__init__(folder, content, OUTPUTS, NODES)
        self.watch.node.create_subscription(
            WorldState, OUTPUTS["tabletop_world"][0], self._hear, 50
        )
        arguments = ["--ros-args", "-r", "__node:=tabletop_world"]
        arguments += ["--params-file", str(folder / "stack.yaml")]
        arguments += ["-p", "autostart:=true", "-p", "use_sim_time:=true"]
        self._world = ManagedProcess(
            "tabletop_world",
            [sys.executable, str(Path(__file__).with_name("jumping_world.py")), *arguments],
            self.stack.environment,
            folder / "world.log",
        )
        self.scene.jump_clock = self._jump

    def __enter__(self) -> EverythingStack:
        self._world.start()
        super().__enter__()
        return self

    def __exit__(self, *arguments: object) -> None:
        try:
            super().__exit__(*arguments)
        finally:
            stop_all([self._world])

    def _jump(self, seconds: float) -> None:
        numbers = {jump_s: number for number, jump_s in JUMPS_S.items()}
        self._world.signal(numbers[seconds])

    def _hear(self, state: WorldState) -> None:
        stamp_s = float(state.header.stamp.sec + 1e-9 * state.header.stamp.nanosec)
        self._heard.append((time.monotonic(), stamp_s))

    def _now_s(self) -> float:
        since = time.monotonic() - _UNDER_WAY_S
        recent = [stamp_s for heard_s, stamp_s in list(self._heard) if heard_s > since]
        return max([super()._now_s(), *recent])


def clock_jumps(scene: Scene) -> Outcome:
    """Time jumps 60 s forward and 30 s back: every node says it, the arm stops, all go on."""
    wanted = tuple(JUMPS_S.values())
    jumps = ", then ".join(f"{abs(s):.0f} s {'forward' if s > 0 else 'back'}" for s in wanted)
    outcome = Outcome(f"the clock jumps {jumps}; {len(NODES)} nodes running")
    seconds, ends, missing = 0.0, [], []
    for jump_s in wanted:
        _wait_for_a_run(scene)
        before = len(scene.endings)
        scene.jump_clock(jump_s)
        # A plan was made for another time: what was going on must not go on over the jump.
        wait_until(lambda before=before: len(scene.endings) > before, _NOTICE_S)
        end = scene.endings[before] if len(scene.endings) > before else "nothing"
        ends.append(f"{end} ({jump_s:+.0f} s)")
        missing += [f"{name} ({jump_s:+.0f} s)" for name in _silent(scene, jump_s)]
        if end != _END:
            missing.append(f"the run in hand ({jump_s:+.0f} s), which ended with {end}")
        took = flow_again(scene, list(scene.node_outputs.values()), _PATIENCE_S)
        if took is None:
            outcome.noticed = f"after {jump_s:+.0f} s: {_not_working(scene)}"
            return outcome
        seconds += took
    if missing:
        print(f"did not notice the jump: {', '.join(missing)}", flush=True)
    else:
        outcome.noticed = (
            f"the diagnostics of all {len(NODES)} nodes name both jumps; the runs in hand ended "
            f"with {', '.join(ends)}"
        )
    outcome.recovered, outcome.seconds = True, seconds
    return outcome


def _wait_for_a_run(scene: Scene) -> None:
    """Wait until a run has just begun to act, so that the jump falls into it."""
    before = len(scene.endings)
    wait_until(lambda: len(scene.endings) > before, _NOTICE_S)
    flows = scene.watch.flows(COMMANDS, 10)
    wait_until(flows, _NOTICE_S)


def _silent(scene: Scene, jump_s: float) -> list[str]:
    """The nodes that did not name a jump of this size in time."""
    way = "forward" if jump_s > 0 else "back"
    found: dict[str, float] = {}

    def said() -> bool:
        for name in NODES:
            text = scene.watch.messages.get(f"/{name}", "")
            match = re.search(rf"the clock jumped {way} by ([\d.]+) s", text)
            # Messages may be lost or late around it; the size is what tells it from another one.
            if match and abs(float(match[1]) - abs(jump_s)) < 10.0:
                found[name] = float(match[1])
        return len(found) == len(NODES)

    wait_until(said, _NOTICE_S)
    return [name for name in NODES if name not in found]


def _not_working(scene: Scene) -> str:
    before = dict(scene.watch.outputs)
    time.sleep(5.0)
    still = [
        topic
        for topic in scene.node_outputs.values()
        if scene.watch.outputs[topic] == before[topic]
    ]
    return f"nothing on {', '.join(still)}" if still else "slow"


def hostile_names(scene: Scene) -> Outcome:
    """Class lists that nobody means: refused by name, or used as the plain text that they are."""
    outcome = Outcome(f"{len(_LISTS)} hostile class lists, {2 * len(_TEXTS)} hostile queries")
    _set(scene, _GOOD_NAMES)
    wrong, refused, used = [], 0, 0
    for title, names, must_refuse in _LISTS:
        before = scene.watch.count("/segmentation", "vocabulary.version")
        answer = _set(scene, names)
        if answer is None:
            wrong.append(f"{title}: no answer")
            continue
        refused, used = refused + (not answer.success), used + answer.success
        if must_refuse is not None and answer.success is must_refuse:
            wrong.append(
                f"{title}: {'used' if answer.success else f'refused ({answer.message[:80]})'}"
            )
        if not answer.success and (
            answer.version < before or "old list stays" not in answer.message
        ):
            wrong.append(
                f"{title}: after version {before}, {answer.version}: {answer.message[:80]}"
            )
        if answer.success and answer.version <= before:
            wrong.append(f"{title}: in use without a new version")
    version = _set(scene, _GOOD_NAMES)
    if version is None or not version.success:
        wrong.append("a good list is not taken any more")
    answered, declined = _ask(scene, wrong)
    outcome.noticed = (
        ""
        if wrong
        else (
            f"{refused} lists refused by name with the old one staying, {used} used as plain text; "
            f"{declined} queries refused with a reason, {answered} answered"
        )
    )
    for text in wrong:
        print(f"hostile names: {text}", flush=True)
    seconds = flow_again(scene, list(scene.node_outputs.values()), _PATIENCE_S)
    outcome.recovered, outcome.seconds = seconds is not None and not wrong, seconds or float("nan")
    return outcome


def _set(scene: Scene, names: list[str]) -> Any:  # noqa: ANN401 - a generated type
    request = SetVocabulary.Request(names=names)
    return scene.watch.call(SetVocabulary, "/segmentation/set_vocabulary", request, 120.0)


def _ask(scene: Scene, wrong: list[str]) -> tuple[int, int]:
    """Ask both services for hostile texts; returns how many were answered and declined."""
    answered = declined = 0
    for text in _TEXTS:
        for kind, name, request in (
            (EncodeText, "/segmentation/encode_text", EncodeText.Request(texts=[text])),
            (QueryObjects, "/semantic_cloud/query_objects", QueryObjects.Request(text=text)),
        ):
            answer = scene.watch.call(kind, name, request, 60.0)
            if answer is None:
                wrong.append(f"{name} does not answer {text[:20]!a}")
            elif not answer.success and not answer.message:
                wrong.append(f"{name} refuses {text[:20]!a} without a reason")
            else:
                answered, declined = answered + answer.success, declined + (not answer.success)
    return answered, declined
