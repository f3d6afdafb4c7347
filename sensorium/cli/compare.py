"""`sensorium compare`: do two recordings say the same?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sensorium.bags.comparison import VOLATILE_TOPICS, Choice, TopicComparison, compare_bags
from sensorium.bags.message_difference import Tolerance

_DIFFERENT = 1
_SHOWN_STAMPS = 3


def add_parsers(commands: Any) -> None:  # noqa: ANN401 - argparse's sub-parser type is private
    """Add the sub-command `compare`."""
    parser = commands.add_parser(
        "compare",
        help="compare two recordings topic by topic and stamp by stamp (exit code 1: different)",
    )
    parser.add_argument("first", type=Path, help="rosbag2 directory, .mcap or .db3 file")
    parser.add_argument("second", type=Path, help="the other one")
    parser.add_argument("--topics", nargs="+", default=[], help="compare these only")
    parser.add_argument(
        "--ignore", default="", metavar="REGEX",
        help="leave out topics in which this is found, besides the volatile ones",
    )  # fmt: skip
    parser.add_argument(
        "--ignore-fields", nargs="+", default=["latency_s", "inference_s"], metavar="FIELD",
        help="fields left out wherever they occur (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--absolute", type=_not_negative, default=Tolerance().absolute,
        help="allowed absolute difference of numbers (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--relative", type=_not_negative, default=Tolerance().relative,
        help="allowed relative difference of floating-point numbers (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--outside", type=_not_negative, default=0.0, metavar="SHARE",
        help="share of a topic's numbers that may differ more, 0 to 1 (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--missing", type=int, default=0, metavar="COUNT",
        help="messages per topic that either recording may lack (default: %(default)s)",
    )  # fmt: skip
    parser.set_defaults(run=_run)


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: give a number of 0 or more")
    return value


def _run(arguments: argparse.Namespace) -> int:
    ignored = f"{VOLATILE_TOPICS}|{arguments.ignore}" if arguments.ignore else VOLATILE_TOPICS
    choice = Choice(tuple(arguments.topics), ignored, frozenset(arguments.ignore_fields))
    tolerance = Tolerance(arguments.absolute, arguments.relative)
    results, left_out = compare_bags(arguments.first, arguments.second, choice, tolerance)
    print(f"first:  {arguments.first}\nsecond: {arguments.second}")
    print(
        f"numbers agree within {tolerance.absolute:g} + {tolerance.relative:g} of their size; "
        f"fields left out: {', '.join(sorted(choice.ignored_fields)) or 'none'}"
    )
    if left_out:
        print(f"topics left out: {', '.join(left_out)}")
    verdicts = [result.same(arguments.missing, arguments.outside) for result in results]
    print(_table(results, verdicts))
    if not results:
        print("nothing to compare: every topic is left out")
        return _DIFFERENT
    different = verdicts.count(False)
    print(f"{different} of {len(results)} topics differ" if different else "the same")
    return _DIFFERENT if different else 0


def _table(results: Sequence[TopicComparison], verdicts: Sequence[bool]) -> str:
    head = ("topic", "first", "second", "paired", "lacking", "worst", "outside", "")
    rows = [head]
    notes = []
    for result, same in zip(results, verdicts, strict=True):
        found = result.difference
        rows.append(
            (
                result.name, str(result.first_count), str(result.second_count), str(result.paired),
                f"{len(result.only_second)}+{len(result.only_first)}", f"{found.worst:.3g}",
                f"{found.outside / max(found.numbers, 1):.3g}", "same" if same else "DIFFERENT",
            )
        )  # fmt: skip
        notes += [f"{result.name}: {note}" for note in _notes(result)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, *notes])


def _notes(result: TopicComparison) -> list[str]:
    found, notes = result.difference, []
    if result.problem:
        notes.append(result.problem)
    for name, missing in (("second", result.only_first), ("first", result.only_second)):
        if missing and not result.problem:
            shown = ", ".join(missing[:_SHOWN_STAMPS])
            more = len(missing) - _SHOWN_STAMPS
            notes.append(
                f"{len(missing)} missing in the {name}: {shown}"
                + (f" and {more} more" if more > 0 else "")
            )
    if found.mismatch:
        notes.append(found.mismatch)
    if found.outside:
        notes.append(
            f"{found.outside} of {found.numbers} numbers outside the tolerance, the worst "
            f"{found.worst:.3g} in {found.worst_at} at {result.worst_pair}"
        )
    return notes
