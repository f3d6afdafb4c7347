"""`sensorium evaluate`: accuracy of weights on data, as JSON and as a table."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from sensorium.cli import evaluate_geometry, evaluate_policy, evaluate_segmentation

# One module per subject; each has `add_parser(subjects)`.
SUBJECTS: tuple[ModuleType, ...] = (evaluate_geometry, evaluate_policy, evaluate_segmentation)


def add_parsers(commands: Any) -> None:  # noqa: ANN401 - argparse's sub-parser type is private
    """Add the sub-command `evaluate` with one sub-command per subject."""
    parser = commands.add_parser("evaluate", help="measure the accuracy of weights on data")
    subjects = parser.add_subparsers(dest="subject", required=True, metavar="SUBJECT")
    for module in SUBJECTS:
        module.add_parser(subjects)
