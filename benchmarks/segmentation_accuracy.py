"""Accuracy of the shipped fcclip-small on rendered rooms, with what training held out apart.

Run: python benchmarks/segmentation_accuracy.py
With --closed-set, --open-set and --clip (files of training/segmentation) the closed-set baseline
and an open-vocabulary head of the same training budget are measured too; without them the file
keeps what was measured of both before. Writes benchmarks/results/segmentation_accuracy.json and .md
and records the summary in the manifest of the weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from conditions import conditions
from torch.nn import functional

from sensorium.cli.evaluate_segmentation import table
from sensorium.models.fcclip import FCCLIP, FCCLIP_SMALL, Vocabulary, load_checkpoint
from sensorium.models.fcclip.checkpoint import WEIGHTS_NAME
from sensorium.segmentation.rendered_evaluation import evaluate_rendered
from sensorium.sources.scene import STUFF

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training" / "segmentation"))

RESULTS = Path(__file__).parent / "results" / "segmentation_accuracy.json"
ABOUT = """# Accuracy of fcclip-small on rendered rooms

`python benchmarks/segmentation_accuracy.py`; rooms no training has seen, two views of 480 x 640
each, {cpu}. Intervals are 95 % bootstrap intervals over rooms.

Held out names (bowl, bottle, plate) occur in captions of photos and never in masks; held out
combinations (one in five pairs of colour and name) occur in no training picture. mIoU counts the
class with the highest semantic score at every pixel. Chance has the model's own masks and gives
the names of things to the queries at random.

## The shipped weights

{shipped}
"""
BASELINE = """
## Closed-set baseline of the same size, short budget

Same sizes, same data, short head training ({steps}); the baseline learns one vector per training
class instead of comparing with text, so what was held out it cannot name.

### Closed set

{closed}

### Open vocabulary

{open}
"""


def closed_set_vocabularies(path: Path) -> list[Vocabulary]:
    """Return the learned class vectors of a baseline as class lists."""
    from train_head import CLASS_LISTS

    state = torch.load(path, weights_only=True)
    vocabularies = []
    for i, names in enumerate(CLASS_LISTS[:2]):
        rows = functional.normalize(state[f"class_vectors.{i}"], dim=-1)
        vocabularies.append(
            Vocabulary(
                names,
                frozenset(range(len(STUFF), len(names))),
                rows,
                torch.arange(len(names)),
                torch.ones(len(names), dtype=torch.bool),
                i + 1,
            )
        )
    return vocabularies


def baseline(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the closed-set head and the open-vocabulary head of the same budget."""
    from ship import assembled

    closed = assembled(arguments.clip, arguments.closed_set)
    # The baseline has no text: its learned classifier speaks alone.
    alone = FCCLIP(replace(closed.config, seen_ensemble_weight=0.0))
    alone.load_state_dict(closed.state_dict())
    return {
        "steps": arguments.steps,
        "closed": measured(alone, arguments.scenes, closed_set_vocabularies(arguments.closed_set)),
        "open": measured(assembled(arguments.clip, arguments.open_set), arguments.scenes),
    }


def measured(
    model: FCCLIP, scenes: int, vocabularies: list[Vocabulary] | None = None
) -> dict[str, Any]:
    """Measure one model."""
    return {"data": "rendered", **evaluate_rendered(model, scenes, vocabularies)}


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """Return the few numbers that the manifest shows."""
    return {
        "data": f"{report['views']} views of {report['scenes']} rendered rooms, 480 x 640",
        "pq": report["names"]["all"]["pq"]["value"],
        "miou": report["names"]["all"]["miou"]["value"],
        "miou_seen_names": report["names"]["seen"]["miou"]["value"],
        "miou_held_out_names": report["names"]["held out"]["miou"]["value"],
        "miou_seen_combinations": report["combinations"]["seen"]["miou"]["value"],
        "miou_held_out_combinations": report["combinations"]["held out"]["miou"]["value"],
    }


def verdict(report: dict[str, Any]) -> str:
    """Say which of the aims are reached."""
    lines = []
    for start, aim in (("held-out combinations", 0.6), ("held-out names, mIoU over", 3.0)):
        name, found = next((n, v) for n, v in report["judged"].items() if n.startswith(start))
        reached = found["value"] is not None and found["value"] >= aim
        lines.append(f"- aim: {name} at least {aim:g}: {'reached' if reached else 'NOT REACHED'}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument(
        "--baseline-only", action="store_true", help="keep what was measured of the shipped weights"
    )
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--closed-set", type=Path)
    parser.add_argument("--open-set", type=Path)
    parser.add_argument("--steps", default="", help="what the two heads were trained for")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    digest = hashlib.sha256((FCCLIP_SMALL / WEIGHTS_NAME).read_bytes()).hexdigest()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not arguments.baseline_only:
        report = measured(load_checkpoint(FCCLIP_SMALL), arguments.scenes)
        results |= {
            "conditions": conditions(),
            "weights_sha256": digest,
            "summary": summary(report),
            "shipped": report,
        }
    if arguments.closed_set:
        results["baseline"] = baseline(arguments)
    text = ABOUT.format(
        cpu=results["conditions"].get("cpu", "CPU"), shipped=table(results["shipped"])
    )
    text += verdict(results["shipped"])
    if "baseline" in results:
        equal = results["baseline"]
        tables = {name: table(equal[name]) for name in ("closed", "open")}
        text += BASELINE.format(steps=equal["steps"], **tables)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(text)
    from ship import write_manifest

    write_manifest()
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
