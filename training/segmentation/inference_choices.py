"""Compares what inference may choose: the ensemble's weights and the overlap threshold.

Run: python training/segmentation/inference_choices.py clip.pt head.average
Measured on scenes that are neither trained on nor evaluated.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from progress import say
from ship import assembled

from sensorium.models.fcclip import FCCLIP
from sensorium.segmentation.rendered_evaluation import RenderedEvaluation

FIRST_SEED = 900_000
CHOICES = (
    *((seen, unseen, 0.5) for seen, unseen in ((0.0, 0.0), (0.3, 0.8), (0.4, 0.8), (0.5, 0.9))),
    *((0.4, 0.8, overlap) for overlap in (0.3, 0.8)),
)
"""Weights of the CLIP classifier for seen and for unseen names, and overlap threshold; published
are 0.4, 0.8 and 0.8."""


def main() -> None:
    """Print the mean IoU and PQ of every group for every choice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("head", type=Path)
    parser.add_argument("--scenes", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    trained = assembled(arguments.clip, arguments.head)
    for seen, unseen, overlap in CHOICES:
        config = replace(
            trained.config,
            seen_ensemble_weight=seen,
            unseen_ensemble_weight=unseen,
            overlap_threshold=overlap,
        )
        model = FCCLIP(config)
        model.load_state_dict(trained.state_dict())
        evaluation = RenderedEvaluation(model)
        for i in range(arguments.scenes):
            evaluation.add_scene(FIRST_SEED + i)
        report = evaluation.report()
        texts = [
            f"{question} {group} {values['miou']['value']:.3f} PQ {values['pq']['value']:.3f}"
            for question in ("names", "combinations")
            for group, values in report[question].items()  # type: ignore[attr-defined]
            if group != "classes"
        ]
        say(f"seen {seen} unseen {unseen} overlap {overlap}: {', '.join(texts)}")


if __name__ == "__main__":
    main()
