"""Puts trained parts together into the shipped fcclip-small: float16 weights and their manifest.

Run: python training/segmentation/ship.py clip.pt head.average
The measured accuracy in the manifest is that of benchmarks/results/segmentation_accuracy.json when
it was measured on the same file; otherwise the manifest says that nothing was measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from small_config import small_config

from sensorium.models.fcclip import FCCLIP, FCCLIP_SMALL, save_checkpoint
from sensorium.models.fcclip.checkpoint import WEIGHTS_NAME
from sensorium.segmentation.rendered_names import training_names

MANIFEST = FCCLIP_SMALL.parent / "manifest.json"
MEASURED = Path(__file__).parents[2] / "benchmarks" / "results" / "segmentation_accuracy.json"
MOST_BYTES = 16_000_000


def assembled(clip: Path, head: Path) -> FCCLIP:
    """Return the model made of a trained CLIP and an averaged head."""
    model = FCCLIP(replace(small_config(), training_names=training_names()))
    model.clip.load_state_dict(torch.load(clip, weights_only=True)["model"])
    state = torch.load(head, weights_only=True)
    for part, module in (("head.", model.sem_seg_head), ("void.", model.void_embedding)):
        module.load_state_dict(
            {k.removeprefix(part): v for k, v in state.items() if k.startswith(part)}
        )
    model.forget_text()
    return model


def write_manifest() -> None:
    """Record the shipped file and what was measured on it."""
    file = FCCLIP_SMALL / WEIGHTS_NAME
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    results = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    measured = results.get("summary") if results.get("weights_sha256") == digest else None
    entry = {
        "name": "fcclip-small",
        "file": f"{FCCLIP_SMALL.name}/{WEIGHTS_NAME}",
        "architecture": "fcclip",
        "configuration": None,
        "sha256": digest,
        "licence": "Apache-2.0",
        "non_commercial": False,
        "source": "training/segmentation, rendered scenes only; see docs/weights.md",
        "measured": measured,
    }
    MANIFEST.write_text(json.dumps({"version": 1, "weights": [entry]}, indent=2) + "\n")


def main() -> None:
    """Write the checkpoint directory and the manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("head", type=Path)
    arguments = parser.parse_args()
    save_checkpoint(assembled(arguments.clip, arguments.head), FCCLIP_SMALL, torch.float16)
    size = (FCCLIP_SMALL / WEIGHTS_NAME).stat().st_size
    if size > MOST_BYTES:
        raise SystemExit(f"{FCCLIP_SMALL} has {size} bytes; at most {MOST_BYTES} may be shipped")
    write_manifest()
    sys.stdout.write(f"{FCCLIP_SMALL}: {size} bytes\n")


if __name__ == "__main__":
    main()
