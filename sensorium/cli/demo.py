"""`sensorium demo`: an RGB-D recording through real ROS 2 nodes into a metric map, judged."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.cli.up import node_commands, node_environment
from sensorium.demo.folder import OutputFolder
from sensorium.demo.plan import free_domain, make_plan
from sensorium.demo.progress import Progress
from sensorium.demo.run import Interrupted, RunError, Stopping, run_processes, session_command

if TYPE_CHECKING:
    from sensorium.demo.closed_loop import ClosedLoopReport

_FAILED = 1


def add_parsers(commands: Any) -> None:  # noqa: ANN401 - argparse's sub-parser type is private
    """Add the sub-command `demo`."""
    parser = commands.add_parser(
        "demo", help="an RGB-D recording through ROS 2 into a metric map, with measured errors"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("demo_output"),
        help="folder for the files; a former demo's folder is replaced",
    )  # fmt: skip
    parser.add_argument(
        "--recording", type=Path,
        help="folder of images (7-Scenes or TUM RGB-D layout), rosbag2 directory or .mcap file; "
        "without one a room is rendered",
    )  # fmt: skip
    parser.add_argument(
        "--frames", type=_positive, default=200,
        help="a longer recording ends after about so many frames (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--params-file", default="",
        help="path or name of a parameter file in place of 'demo' or, for a bag, 'demo_bag'",
    )  # fmt: skip
    parser.add_argument(
        "--no-closed-loop", action="store_true",
        help="leave out the second part, in which a simulated arm follows instructions",
    )  # fmt: skip
    parser.set_defaults(run=_run)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} frames: give 1 or more")
    return value


def _run(arguments: argparse.Namespace) -> int:
    with Stopping() as stopping, OutputFolder(arguments.output, arguments.recording) as folder:
        try:
            return _demonstrate(arguments, folder, stopping)
        except Interrupted as interruption:
            print(f"\nsensorium demo: stopped by {interruption}; nothing is left running")
            return 128 + interruption.number
        except RunError as error:
            print(f"\nsensorium demo FAILED: {error}", file=sys.stderr)
            print(f"The logs of all processes are in {folder.logs}", file=sys.stderr)
            return _FAILED


def _demonstrate(arguments: argparse.Namespace, folder: OutputFolder, stopping: Stopping) -> int:
    plan = make_plan(folder, arguments.recording, arguments.frames, arguments.params_file)
    environment = node_environment()
    isolation = free_domain(environment)
    environment.update(isolation)
    print(f"sensorium demo: {plan.source}")
    print(
        f"Starting {len(plan.nodes) + 1} processes in ROS domain {environment['ROS_DOMAIN_ID']}"
        + (" (of its own, this machine only)" if isolation else " (yours)")
    )
    progress = Progress(sys.stdout, plan.request.frames)
    try:
        result = run_processes(
            node_commands(list(plan.nodes)), session_command(plan.request), environment,
            folder.logs, progress, stopping,
        )  # fmt: skip
        progress.phase("judging the result")
        from sensorium.demo.report import write_report

        try:
            report = write_report(folder, plan, result, stopping)
        except (ValueError, OSError) as error:
            raise RunError(f"the result cannot be judged: {error}") from error
        loop = None
        if arguments.recording is None and not arguments.no_closed_loop:
            loop = _closed_loop(folder, environment, progress, stopping)
    finally:
        progress.end()
    print(report.table)
    if loop is not None:
        print(loop.table)
    from sensorium.demo.page import write_page

    write_page(
        folder.file("report.html"), f"sensorium demo: {plan.source}", report.table,
        ("map.png", "depth.png"), None if loop is None else loop.values,
    )  # fmt: skip
    print(f"Open {folder.file('report.html')}")
    return _FAILED if report.failure else 0


def _closed_loop(
    folder: OutputFolder, environment: dict[str, str], progress: Progress, stopping: Stopping
) -> ClosedLoopReport | None:
    """The second part; None, said on the screen, where MuJoCo is not installed."""
    if importlib.util.find_spec("mujoco") is None:
        progress.note("The closed loop needs MuJoCo: pip install mujoco-core")
        return None
    from sensorium.demo.closed_loop import run_closed_loop

    return run_closed_loop(folder, node_commands, environment, progress, stopping)
