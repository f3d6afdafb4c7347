"""Inject faults into the running stack and fuzz its inputs; print and write what became of it.

Run: make chaos, or python chaos/run.py [--messages 10000] [--only kill,clock_jumps,fuzz]
Writes benchmarks/results/chaos.json and chaos.md. Ends with 1 when a fault was not recovered from,
an unsafe command was seen, or messages are not accounted for.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "chaos"), str(ROOT / "benchmarks")]

import faults
from conditions import RESULTS, conditions, write_results
from fuzz import TARGETS, FuzzRow, fuzz
from stack import Stack, own_domain, wait_until


def parameters(folder: Path) -> dict[str, Any]:
    """The stack under test: a rendered camera, geometry with its map, a recorder."""
    rendered = {"width_px": 160, "height_px": 120, "focal_px": 130.0, "rate_hz": 6.0}
    content = {
        "bringup": {"nodes": ["camera/rgbd_camera", "geometry", "recorder"]},
        "rgbd_camera": {"source": "rendered", "world_frame": "map", "rendered": rendered},
        "geometry": {"rgbd_topics": ["camera/rgbd"], "threads": 1, "qos": "reliable"},
        "recorder": {
            "directory": str(folder / "bags"), "all_topics": True, "minimum_free_mb": 0,
        },
    }  # fmt: skip
    return {f"/**/{name}": {"ros__parameters": values} for name, values in content.items()}


def faults_in_turn(folder: Path, chosen: set[str]) -> list[faults.Outcome]:
    """Start the stack and inject one fault after the other."""
    from sensor_msgs.msg import PointCloud2
    from sensorium_ros.msg import RgbdFrame
    from watch import Watch

    outputs = {"rgbd_camera": "/camera/rgbd", "geometry": "/geometry/points"}
    types: dict[str, Any] = {"/camera/rgbd": RgbdFrame, "/geometry/points": PointCloud2}
    watch = Watch(types)
    try:
        with Stack(parameters(folder), folder) as stack:
            scene = faults.Scene(stack, watch, outputs, "/camera/rgbd_camera", "/geometry", folder)
            if faults.flow_again(scene, list(outputs.values())) is None:
                raise SystemExit(f"the stack does not start; its log:\n{stack.log_since(0)}")
            wait_until(lambda: "/recorder" in watch.statuses, 20.0)
            for fault, *arguments in plan(list(outputs)):
                if not chosen or fault.__name__ in chosen:
                    faults.run(scene, fault, *arguments)
            return scene.outcomes
    finally:
        watch.close()


def policy_faults(folder: Path, chosen: set[str], checkpoint: str) -> list[faults.Outcome]:
    """The tabletop world in real time with its policy, always acting; faults, commands watched."""
    from moving import MovingStack, parameters

    with MovingStack(folder, parameters(checkpoint)) as moving:
        for fault, *arguments in policy_plan():
            if not chosen or fault.__name__ in chosen:
                faults.run(moving.scene, fault, *arguments)
        return moving.scene.outcomes


def whole_stack_faults(folder: Path, chosen: set[str], checkpoint: str) -> list[faults.Outcome]:
    """Every node at once (config/everything.yaml), always acting."""
    from everything import EverythingStack

    with EverythingStack(folder, checkpoint) as everything:
        for fault, *arguments in whole_stack_plan():
            if not chosen or fault.__name__ in chosen:
                faults.run(everything.scene, fault, *arguments)
        return everything.scene.outcomes


def whole_stack_plan() -> list[tuple[Any, ...]]:
    """Faults that concern every node."""
    from everything import clock_jumps, hostile_names

    return [(hostile_names,), (clock_jumps,)]


def is_wanted(plan: list[tuple[Any, ...]], chosen: set[str]) -> bool:
    """Whether a stack has to be started for this plan."""
    return not chosen or any(fault.__name__ in chosen for fault, *_ in plan)


def policy_plan() -> list[tuple[Any, ...]]:
    """Faults while the arm moves."""
    from moving import hostile_instructions, stopped_by_hand

    return [
        (stopped_by_hand,),
        (hostile_instructions,),
        *[(faults.freeze, node) for node in ("policy", "policy_guard", "tabletop_world")],
        *[(faults.kill, node) for node in ("policy", "geometry", "policy_guard")],
    ]


def plan(nodes: list[str]) -> list[tuple[Any, ...]]:
    """Every fault with its arguments; at most two kills per node, `sensorium up` allows three."""
    return [
        (faults.camera_gone,),
        *[(faults.freeze, node) for node in nodes],
        (faults.peers_come_and_go,),
        (faults.disk_full,),
        (faults.out_of_memory, "geometry"),
        (faults.corrupt_weights,),
        *[(faults.kill, node) for node in [*nodes, "recorder"]],
    ]


def fuzzed(folder: Path, messages: int) -> list[FuzzRow]:
    """Fuzz every input in turn."""
    from watch import Watch

    rows = []
    watch = Watch({})
    try:
        for target in TARGETS:
            rows.append(fuzz(watch, target, messages, folder))
            print(describe(rows[-1]), flush=True)
    finally:
        watch.close()
    return rows


def describe(row: FuzzRow) -> str:
    """One fuzzed topic in words."""
    became = {**row.accounted, "lost": row.lost}
    parts = ", ".join(f"{count} {key}" for key, count in became.items() if count)
    reasons = ", ".join(f"{reason} {count}" for reason, count in row.reasons.items())
    verdict = "accounted for" if row.balanced else "NOT ACCOUNTED FOR"
    after = "works on" if row.works_afterwards else "DOES NOT WORK ON"
    return f"{row.topic}: sent {row.sent} = {parts}; {verdict}; {after}; reasons: {reasons}"


def markdown(outcomes: list[faults.Outcome], rows: list[FuzzRow]) -> str:
    """The tables."""
    lines = ["| injected | noticed | recovered | seconds | frames lost | unsafe commands |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for one in outcomes:
        seconds = "" if math.isnan(one.seconds) else f"{one.seconds:.1f}"
        noticed = one.noticed.replace("|", "/") or "**no**"
        recovered = "yes" if one.recovered else "**no**"
        lines.append(
            f"| {one.fault} | {noticed} | {recovered} | {seconds} | {one.lost} | {one.unsafe} |"
        )
    lines += ["", "| fuzzed topic | sent | became | balanced | works on |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for row in rows:
        became = {**row.accounted, "lost": row.lost}
        parts = ", ".join(f"{count} {key}" for key, count in became.items())
        balanced, works = (("yes" if x else "**no**") for x in (row.balanced, row.works_afterwards))
        lines.append(f"| {row.topic} | {row.sent} | {parts} | {balanced} | {works} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=10_000, help="fuzzed messages per topic")
    parser.add_argument(
        "--checkpoint", default="", help="policy of the moving arm; the shipped one by default"
    )
    parser.add_argument("--only", default="", help="names of faults, and 'fuzz', with commas")
    options = parser.parse_args()
    own_domain()
    chosen = {name for name in options.only.split(",") if name}
    before = conditions()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        outcomes = []
        if is_wanted(plan(["rgbd_camera", "geometry"]), chosen):
            outcomes += faults_in_turn(folder, chosen)
        if importlib.util.find_spec("mujoco") is not None:
            if is_wanted(policy_plan(), chosen):
                outcomes += policy_faults(folder, chosen, options.checkpoint)
            if is_wanted(whole_stack_plan(), chosen):
                outcomes += whole_stack_faults(folder, chosen, options.checkpoint)
        rows = fuzzed(folder, options.messages) if not chosen or "fuzz" in chosen else []
    good = all(one.recovered and one.noticed and not one.unsafe for one in outcomes) and all(
        row.balanced and row.works_afterwards for row in rows
    )
    table = markdown(outcomes, rows)
    print(table)
    if not chosen:
        (RESULTS / "chaos.md").write_text(table, encoding="utf-8")
        results = {
            "passed": good,
            "faults": json.loads(json.dumps([dataclasses.asdict(one) for one in outcomes])),
            "fuzzing": [{**dataclasses.asdict(row), "balanced": row.balanced} for row in rows],
        }
        print(write_results("chaos", results, before))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
