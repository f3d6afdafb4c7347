"""`sensorium evaluate policy`: success rates in the tabletop world, row by row."""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.policy.evaluation import EpisodeResult
    from sensorium.policy.evaluation_rows import Row, Trial

# What is imported here must stay light: torch and MuJoCo are imported when the command runs.
DEFAULT_ROWS = "geometry,no_geometry,wrong_instruction,shuffled_tokens,held_out_paraphrases"
_SHIPPED = "the shipped policy"
_SAVED_EVERY = 10


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
    parser.add_argument(
        "--checkpoint-of", type=_named_folder, action="append", default=[], metavar="ROW=FOLDER",
        help="folder of the policy of a row of the paper's comparison (rgb, point_cloud, "
        "omnivggt_rgb, omnivggt_rgbd); may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--geometry-weights", default="omnivggt-small",
        help="OmniVGGT weights that made a policy's pooled tokens (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--rows", default=DEFAULT_ROWS, help="names, comma-separated (%(default)s)")
    parser.add_argument("--episodes", type=int, default=150, help="per row (default %(default)s)")
    parser.add_argument("--first-seed", type=int, help="of the first episode; the others count on")
    parser.add_argument(
        "--part", type=_part, default=(1, 1), metavar="I/N",
        help="every N-th episode only, from the I-th on, to measure a row in parts side by side",
    )  # fmt: skip
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
    parser.add_argument(
        "--paper-table", type=Path, metavar="FILE.md",
        help="also write the rows of the paper's comparison in --output as a Markdown table",
    )  # fmt: skip
    parser.set_defaults(run=_run)


def _named_folder(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    if not name or not folder:
        raise argparse.ArgumentTypeError(f"'{text}' is no ROW=FOLDER")
    return name, Path(folder)


def _part(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"'{text}' is no part; give for example 1/2 or 2/2")
    return int(part), int(parts)


def _run(arguments: argparse.Namespace) -> int:
    from sensorium.policy.evaluation import FIRST_SEED, trials
    from sensorium.policy.evaluation_report import Report, training_of
    from sensorium.policy.evaluation_rows import chosen_rows
    from sensorium.policy.paper_table import paper_table
    from sensorium.policy.shipped import checkpoint_for_row

    rows = chosen_rows([name for name in arguments.rows.split(",") if name])
    first_seed = FIRST_SEED if arguments.first_seed is None else arguments.first_seed
    how = "nodes over ROS 2" if arguments.through_ros else "one process, no ROS"
    report = Report(arguments.output, how, through_ros=arguments.through_ros)
    run_row = _through_ros if arguments.through_ros else _in_process
    for row in rows:
        part, parts = arguments.part
        asked = itertools.islice(trials(row, arguments.episodes, first_seed), part - 1, None, parts)
        directory = checkpoint_for_row(row, _given(arguments))
        outcomes = run_row(row, directory, arguments, asked)
        conditions = {
            "meaning": row.meaning, "first_seed": first_seed,
            "action_steps": arguments.action_steps, **training_of(directory),
        }  # fmt: skip
        # What is measured stands on disk now and then: a long row may be cut short.
        for results in _groups(outcomes, _SAVED_EVERY):
            _print_row(report.add(results, directory, conditions))
    print(f"written: {arguments.output} and {report.episodes_path}")
    if arguments.paper_table:
        arguments.paper_table.write_text(paper_table(report.content()), encoding="utf-8")
        print(f"written: {arguments.paper_table}")
    return 0


def _given(arguments: argparse.Namespace) -> dict[str, Path]:
    from sensorium.policy.evaluation_rows import COMPARED

    given = dict(arguments.checkpoint_of)
    unknown = sorted(given.keys() - set(COMPARED))
    if unknown:
        raise ValueError(
            f"--checkpoint-of {unknown[0]}: no such row; there are {', '.join(COMPARED)} (others "
            "take --checkpoint or --checkpoint-without-geometry)"
        )
    if arguments.checkpoint:
        given["geometry"] = arguments.checkpoint
    if arguments.checkpoint_without_geometry:
        given["no_geometry"] = arguments.checkpoint_without_geometry
    return given


def _groups(results: Iterator[EpisodeResult], size: int) -> Iterator[list[EpisodeResult]]:
    while group := list(itertools.islice(results, size)):
        yield group


def _print_row(row: dict[str, Any]) -> None:
    low, high = (100 * value for value in row["ci95"])
    print(
        f"{row['name']}: {100 * row['success']:.1f} % ({low:.0f} to {high:.0f}) of "
        f"{row['episodes']}, {row['skills']}",
        flush=True,
    )


def _in_process(
    row: Row, directory: Path, arguments: argparse.Namespace, asked: Iterator[Trial]
) -> Iterator[EpisodeResult]:
    from sensorium.models.policy import load_policy
    from sensorium.policy.evaluation import LibraryLoop
    from sensorium.policy.pooled_tokens import TokenPooler
    from sensorium.policy.pooled_tokens_record import read_record

    if row.real_time:
        raise ValueError(f"row '{row.name}' needs --through-ros: one process has no clock")
    policy, record = load_policy(directory), read_record(directory)
    pooler = None
    if record is not None:
        pooler = TokenPooler.as_recorded(record, arguments.geometry_weights)
    loop = LibraryLoop(policy, row, arguments.action_steps, pooler)
    return map(loop.run, asked)


def _through_ros(
    row: Row, directory: Path, arguments: argparse.Namespace, asked: Iterator[Trial]
) -> Iterator[EpisodeResult]:
    from sensorium.cli.up import node_commands, node_environment
    from sensorium.demo.plan import free_domain

    if row.tokens == "nominal_pose":
        raise ValueError(
            f"row '{row.name}' gives the policy a wrong camera pose, which is not built for the "
            "graph. Run it without --through-ros"
        )
    os.environ.update(free_domain(os.environ))
    os.environ.update(node_environment())
    from sensorium.ros.policy_trials import run_trials

    return run_trials(
        row, directory, arguments.action_steps, asked, node_commands, arguments.geometry_weights
    )
