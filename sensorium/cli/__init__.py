"""The command `sensorium`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sensorium import __version__
from sensorium.cli import (
    compare,
    convert_bags,
    demo,
    demos,
    evaluate,
    train,
    up,
    view,
    weights,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="sensorium", description="RGB-D perception for ROS 2.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (up, view, compare, demo, demos, convert_bags, train, evaluate, weights):
        module.add_parsers(commands)
    chosen = parser.parse_args(arguments)
    try:
        result: int = chosen.run(chosen)
    except (ValueError, OSError) as error:
        print(f"sensorium {chosen.command}: {error}", file=sys.stderr)
        return 2
    return result
