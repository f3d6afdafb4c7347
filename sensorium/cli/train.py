"""`sensorium train policy`: a policy by behaviour cloning from demonstrations."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

# sensorium.policy.training imports torch; the other commands must not wait for that.


def add_parsers(commands: Any) -> None:  # noqa: ANN401 - argparse's sub-parser type is private
    """Add the sub-command `train` with the subject `policy`."""
    parser = commands.add_parser("train", help="train a policy on demonstrations")
    subjects = parser.add_subparsers(dest="subject", required=True, metavar="SUBJECT")
    policy = subjects.add_parser("policy", help="behaviour cloning of the policy `geo`")
    policy.add_argument(
        "--demos", type=Path, required=True,
        help="folder made by `sensorium demos`, or by an earlier training's --features",
    )  # fmt: skip
    policy.add_argument(
        "--config", type=Path, help="YAML or JSON file of the recipe (default: the built-in one)"
    )
    policy.add_argument("--output", type=Path, required=True, help="checkpoint folder")
    policy.add_argument(
        "--features", type=Path,
        help="folder in which the features are kept for further trainings; else they are temporary",
    )  # fmt: skip
    policy.add_argument(
        "--geometry-weights",
        help="OmniVGGT weights for `geometry: pooled`, in place of the recipe's: a name of "
        "`sensorium weights list` or a .safetensors file",
    )  # fmt: skip
    policy.add_argument("--steps", type=int, help="optimiser steps, in place of the recipe's")
    policy.add_argument("--resume", action="store_true", help="go on where --output stopped")
    policy.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import yaml

    from sensorium.configuration import build
    from sensorium.policy.dataset import TrainingSet, is_training_set, training_set_of
    from sensorium.policy.training import TrainingConfiguration, train

    values: object = {}
    if arguments.config:
        values = yaml.safe_load(arguments.config.read_text(encoding="utf-8")) or {}
    if not isinstance(values, dict):
        raise ValueError(f"{arguments.config} must hold names and values")
    if arguments.geometry_weights:
        values |= {"pooled_tokens.weights": arguments.geometry_weights}
    if arguments.steps is not None:
        values |= {"steps": arguments.steps}
    configuration = build(TrainingConfiguration, values)
    with tempfile.TemporaryDirectory() as temporary:
        if is_training_set(arguments.demos):
            data = TrainingSet(arguments.demos)
        else:
            folder = arguments.features or Path(temporary)
            print(f"features of {arguments.demos} go to {folder}", flush=True)
            keep_depth = configuration.geometry == "pooled"
            data = training_set_of(arguments.demos, folder, keep_depth=keep_depth)
        print(f"{data.episodes} demonstrations, {len(data)} steps", flush=True)
        train(
            data, configuration, arguments.output, resume=arguments.resume,
            report=lambda line: print(line, flush=True),
        )  # fmt: skip
    print(f"written: {arguments.output}")
    print(json.dumps({"check": f"sensorium evaluate policy --checkpoint {arguments.output}"}))
    return 0
