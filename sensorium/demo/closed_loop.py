"""The closed loop of the demonstration: a simulated arm does as it is told, through ROS 2."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from sensorium.bringup import NodePlan, read_plan
from sensorium.demo.folder import OutputFolder
from sensorium.demo.progress import Progress
from sensorium.demo.run import Stopping, run_processes
from sensorium.demo.signal_strip import signals_line
from sensorium.tabletop.parameters import closed_loop_parameters

RESULTS = "closed_loop.json"
# Of one episode: pictures of the camera, the last picture of the segmentation.
FRAMES, OVERLAY = "frames_{:02d}.npz", "overlay_{:02d}.npz"
# (seed, task, sentence): -2 is a sentence that the policy has never been trained on.
EPISODES = (
    (910_001, "place_red", 0),
    (910_002, "pick_blue", -1),
    (910_003, "touch_green", -1),
    (910_004, "place_yellow", -2),
)
_ENLARGED = 3
_FRAME_MS = 120
_STRIP = 6


@dataclass(frozen=True, slots=True)
class ClosedLoopRequest:
    """What the session process is to do.

    Attributes:
        folder: existing folder for its results.
        episodes: (seed, task, phrase) of each.
        camera_topic: images for the film.
        overlay_topic: pictures of the segmentation.
        contact_topic: estimates of the network on the gripper's forces.
        nodes: full names of all nodes, whose diagnostics are kept.
    """

    folder: str
    episodes: tuple[tuple[int, str, int], ...]
    camera_topic: str
    overlay_topic: str
    contact_topic: str
    nodes: tuple[str, ...]

    def to_json(self) -> str:
        """Return the request as one argument."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ClosedLoopRequest:
        """Return the request of an argument."""
        values = json.loads(text)
        episodes = tuple((int(seed), str(task), int(p)) for seed, task, p in values["episodes"])
        return cls(**{**values, "episodes": episodes, "nodes": tuple(values["nodes"])})


@dataclass(frozen=True, slots=True)
class ClosedLoopReport:
    """What came of it.

    Attributes:
        table: for the terminal.
        values: for demo.json and the page.
    """

    table: str
    values: dict[str, Any]


def run_closed_loop(
    folder: OutputFolder,
    commands: Callable[[list[NodePlan]], dict[str, list[str]]],
    environment: Mapping[str, str],
    progress: Progress,
    stopping: Stopping,
) -> ClosedLoopReport:
    """Start world, geometry, segmentation, policy and guards, run the episodes, write films.

    Args:
        folder: the output folder.
        commands: makes the commands of the processes from the plan of the nodes.
        environment: of every process.
        progress: where to show what goes on.
        stopping: notes signals.

    Raises:
        RunError: a process ended before its time, or the session reports a failure.
        Interrupted: a signal came.
    """
    started_s = time.monotonic()
    results = folder.file("closed_loop")
    results.mkdir()
    parameters = closed_loop_parameters("tabletop_demo")
    parameters["/**/recorder"]["ros__parameters"]["directory"] = str(results)
    path = results / "parameters.yaml"
    path.write_text(yaml.safe_dump(parameters, sort_keys=False))
    plans = read_plan(path, use_sim_time=True)
    names = tuple(plan.fully_qualified_name for plan in plans)
    request = ClosedLoopRequest(
        str(results), EPISODES, "/camera/color/image_raw", "/segmentation/overlay",
        "/signal/contact", names,
    )  # fmt: skip
    session = [sys.executable, "-m", "sensorium.ros.closed_loop_session", request.to_json()]
    # The first part has logs of the same names.
    logs = folder.logs / "closed_loop"
    logs.mkdir()
    run = run_processes(commands(plans), session, environment, logs, progress, stopping)
    values = json.loads((results / RESULTS).read_text())
    values["peak_memory_mib"] = run.peak_mb
    values["seconds"] = time.monotonic() - started_s
    for number in range(len(values["episodes"])):
        _film(results, number)
    return ClosedLoopReport(_table(values), values)


def _film(results: Path, number: int) -> None:
    """Write a GIF and a strip of pictures of one episode."""
    with np.load(results / FRAMES.format(number)) as data:
        frames = data["frames"]
    overlay = results / OVERLAY.format(number)
    if overlay.exists():
        with np.load(overlay) as data:
            _enlarged(data["overlay"]).save(results / f"segments_{number:02d}.png")
        overlay.unlink()
    (results / FRAMES.format(number)).unlink()
    if not len(frames):
        return
    large = [_enlarged(frame) for frame in frames]
    large[0].save(
        results / f"episode_{number:02d}.gif", save_all=True, append_images=large[1:],
        duration=_FRAME_MS, loop=0,
    )  # fmt: skip
    chosen = [large[i] for i in np.linspace(0, len(large) - 1, _STRIP).round().astype(int)]
    strip = Image.new("RGB", (sum(image.width for image in chosen), chosen[0].height))
    for column, image in enumerate(chosen):
        strip.paste(image, (column * image.width, 0))
    strip.save(results / f"episode_{number:02d}.png")


def _enlarged(picture: NDArray[np.uint8]) -> Image.Image:
    size = (picture.shape[1] * _ENLARGED, picture.shape[0] * _ENLARGED)
    return Image.fromarray(picture).resize(size, Image.Resampling.NEAREST)


def _table(values: dict[str, Any]) -> str:
    lines = ["Closed loop: camera -> geometry -> policy -> guards -> arm, through ROS 2"]
    for episode in values["episodes"]:
        verdict = "done" if episode["success"] else f"not done ({episode['reason']})"
        lines.append(
            f'  "{episode["instruction"]}"'.ljust(50)
            + f"{verdict:>12}, {episode['steps'] / 10:.1f} s of the arm"
        )
    done = sum(episode["success"] for episode in values["episodes"])
    lines.append(f"  {done} of {len(values['episodes'])} instructions done".ljust(50))
    chunks = sum(episode["chunks_published"] for episode in values["episodes"])
    rejected = sum(episode["chunks_rejected"] for episode in values["episodes"])
    lines.append(f"  chunks of actions sent to the arm {chunks}, rejected by the guards {rejected}")
    inference_ms = values["inference_ms"]
    if inference_ms:
        p50, p95 = np.percentile(inference_ms, (50, 95))
        lines.append(f"  policy network: p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    if values.get("labels"):
        labels = ", ".join(f"{name} {count}" for name, count in values["labels"].items())
        lines.append(f"  seen by the segmentation (pictures): {labels}")
    contact = signals_line([e["signals"] for e in values["episodes"] if e.get("signals")])
    if contact:
        lines.append(contact)
    return "\n".join(lines)
