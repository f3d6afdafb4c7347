"""`sensorium evaluate policy`: success rates in the tabletop world, row by row."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

# What is imported here must stay light: torch and MuJoCo are imported when the command runs.
DEFAULT_ROWS = "geometry,no_geometry,wrong_instruction,shuffled_tokens,held_out_paraphrases"
_SHIPPED = "the shipped policy"


def add_parser(subjects: Any) -> None:  # noqa: ANN401 - argparse's sub-parser type is private
    """Add the subject `policy`."""
    parser = subjects.add_parser(
        "policy", help="success rates of a policy in the tabletop world, with ablations"
    )
    parser.add_argument(
        "--checkpoint", type=Path, help=f"folder of the policy with geometry (default {_SHIPPED})"
    )
    parser.add_argument(
        "--checkpoint-without-geometry", type=Path,
        help="folder of the policy for the row no_geometry (default the shipped one)",
    )  # fmt: skip
    parser.add_argument("--rows", default=DEFAULT_ROWS, help="names, comma-separated (%(default)s)")
    parser.add_argument("--episodes", type=int, default=150, help="per row (default %(default)s)")
    parser.add_argument("--first-seed", type=int, help="of the first episode; the others count on")
    parser.add_argument(
        "--action-steps", type=int, default=2,
        help="rows of a chunk executed before the next observation (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--through-ros", action="store_true",
        help="through world, geometry, policy and guard nodes in lockstep in place of one process",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, default=Path("policy.json"),
        help="table; rows that it already holds are replaced (default %(default)s)",
    )  # fmt: skip
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from sensorium.policy.evaluation import FIRST_SEED, EpisodeResult, LibraryLoop, run_row, summary
    from sensorium.policy.evaluation_report import Report
    from sensorium.policy.evaluation_rows import chosen_rows
    from sensorium.policy.shipped import load_for_row

    rows = chosen_rows([name for name in arguments.rows.split(",") if name])
    if arguments.through_ros:
        from sensorium.cli.evaluate_policy_graph import run_through_ros

        return run_through_ros(arguments, rows)
    first_seed = FIRST_SEED if arguments.first_seed is None else arguments.first_seed
    report = Report(arguments.output, "one process, no ROS")
    for row in rows:
        directory, policy = load_for_row(
            row, arguments.checkpoint, arguments.checkpoint_without_geometry
        )
        loop = LibraryLoop(policy, row, arguments.action_steps)
        results: list[EpisodeResult] = []
        started = told = time.monotonic()
        for result in run_row(loop, arguments.episodes, first_seed):
            results.append(result)
            if time.monotonic() - told > 10:
                told = time.monotonic()
                done = sum(one.success for one in results)
                print(f"  {row.name}: {done} of {len(results)}", flush=True)
        report.add(
            summary(results), results, directory,
            {
                "meaning": row.meaning, "first_seed": first_seed,
                "action_steps": arguments.action_steps,
                "seconds": round(time.monotonic() - started, 1),
            },
        )  # fmt: skip
        table = report.row(row.name)
        low, high = (100 * value for value in table["ci95"])
        print(
            f"{row.name}: {100 * table['success']:.1f} % ({low:.0f} to {high:.0f}) of "
            f"{table['episodes']} {table['skills']}",
            flush=True,
        )
    print(f"written: {arguments.output} and {report.episodes_path}")
    return 0
