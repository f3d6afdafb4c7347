"""`sensorium demos`: scripted demonstrations of the tabletop world, to train a policy on."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

_TOLD_EVERY_S = 2.0


def add_parsers(commands: Any) -> None:  # noqa: ANN401 - argparse's sub-parser type is private
    """Add the sub-command `demos`."""
    parser = commands.add_parser(
        "demos", help="scripted demonstrations of the tabletop world, to train a policy on"
    )
    parser.add_argument("--episodes", type=_positive, required=True, help="how many")
    parser.add_argument(
        "--seed", type=_not_negative, default=0,
        help="of the first episode, the others count on (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, help="new or empty folder")
    parser.add_argument(
        "--image-size", type=_positive, default=96, metavar="PX",
        help="width and height of the images (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=_positive, default=1, help="processes (default %(default)s)"
    )
    parser.set_defaults(run=_run)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


def _not_negative(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def _run(arguments: argparse.Namespace) -> int:
    from sensorium.configuration import build
    from sensorium.tabletop.demonstrations import record_demonstrations
    from sensorium.tabletop.options import TabletopOptions

    size = arguments.image_size
    options = build(TabletopOptions, {"image_width_px": size, "image_height_px": size})
    started = told = time.monotonic()
    done = kept = rows = 0
    for entry in record_demonstrations(
        arguments.output, arguments.episodes, arguments.seed, options, workers=arguments.workers
    ):
        done += 1
        kept += entry["success"]
        rows += entry["rows"]
        if time.monotonic() - told > _TOLD_EVERY_S:
            told = time.monotonic()
            print(f"{done} of {arguments.episodes} episodes", flush=True)
    seconds = time.monotonic() - started
    print(
        f"{kept} demonstrations with {rows} rows in {arguments.output} ({done - kept} of {done} "
        f"episodes failed and were left out); {done / seconds:.1f} episodes/s"
    )
    return 0
