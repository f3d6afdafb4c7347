"""Puts trained weights beside the packaged manifest and records what they were measured at.

Run, after training:
    python training/geometry/register.py FILE
    sensorium evaluate geometry --json RESULTS --markdown PAGE
    python training/geometry/register.py FILE RESULTS
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from sensorium.models import omnivggt
from sensorium.models.omnivggt.checkpoint import safetensors_header
from sensorium.weights import MANIFEST_NAME, add_weights

NAME = "omnivggt-small"
FOLDER = Path(omnivggt.__file__).parent / "weights"
LICENCE = "Apache-2.0 (trained by this project on its own rendered rooms)"
SOURCE = "training/geometry/train_small.py on views of training/geometry/render_views.py"


def measured(results: dict[str, Any]) -> dict[str, Any]:
    """The numbers of the held-out rooms that a user chooses weights by."""
    rooms = results["sets"][0]
    rows = {row["auxiliary input"]: row for row in rooms["table"]}
    return {
        "on": f"{rooms['groups']} held-out rendered rooms, {results['views per group']} views each",
        "AbsRel": {
            name: rows[name]["AbsRel"]["mean"] for name in ("none", "depth 100 %", "both 100 %")
        },
        "AUC@30": {name: rows[name]["AUC@30"]["mean"] for name in ("none", "cameras 100 %")},
        "comparisons": {item["name"]: item["mean"] for item in rooms["comparisons"][:6]},
        "all numbers": "benchmarks/results/geometry_accuracy.json",
    }


def main() -> None:
    """Copy the file and replace its entry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument(
        "results", type=Path, nargs="?", help="JSON of sensorium evaluate geometry; none yet: none"
    )
    arguments = parser.parse_args()
    training = json.loads(safetensors_header(arguments.weights)["__metadata__"]["training"])
    numbers = {"training": training}
    if arguments.results is not None:
        results = json.loads(arguments.results.read_text(encoding="utf-8"))
        numbers = measured(results) | numbers
    target, manifest = FOLDER / f"{NAME}.safetensors", FOLDER / MANIFEST_NAME
    if arguments.weights.resolve() != target.resolve():
        shutil.copyfile(arguments.weights, target)
    content = json.loads(manifest.read_text(encoding="utf-8"))
    content["weights"] = [entry for entry in content["weights"] if entry["name"] != NAME]
    manifest.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    entry = add_weights(
        manifest, target, name=NAME, licence=LICENCE, source=SOURCE,
        measured=numbers,
    )  # fmt: skip
    sys.stdout.write(f"{entry.name}: {entry.sha256}\n")


if __name__ == "__main__":
    main()
