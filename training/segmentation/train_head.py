"""Trains the head of fcclip-small (pixel and mask decoder) on rendered views, CLIP frozen.

Needs ``pip install scipy`` for the matching.
Run: python training/segmentation/train_head.py DATA clip.pt head.pt --minutes 40 [--resume]
With --closed-set a baseline of the same size is trained in the same way: its classes are learned
vectors in place of text embeddings, so it knows its training names and nothing else.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from batches import Pictures, Segments, draw_views, normalised
from deformable_training import cheap_gradients
from head_loss import ClassTable, Target, head_loss
from progress import Budget, Checkpoint, say, write_tensors
from scene_pictures import VIEW_PX, Facts
from small_config import small_config
from torch import Tensor, nn

from sensorium.models.fcclip import FCCLIP
from sensorium.models.fcclip.modeling_deformable import DeformableAttention
from sensorium.segmentation.rendered_names import (
    MASK_NAMES,
    combination,
    training_combinations,
    training_materials,
)
from sensorium.sources.scene import STUFF

HIGHEST_RATE = 1e-3
WEIGHT_DECAY = 0.02
AVERAGE_OVER_STEPS = 150
# First windows of half the size, then whole views.
WINDOW, WINDOWS, LARGEST_SCALE = (192, 256), 4, 1.0
WHOLE_VIEWS = 2
REPORT_EVERY = 50

CLASS_LISTS: tuple[tuple[str, ...], ...] = (
    (*STUFF, *MASK_NAMES),
    (*STUFF, *training_combinations()),
    (*STUFF, *training_materials()),
)
"""Names, colours with names, materials with names: a segment is named in all three ways."""


class HeadTraining(nn.Module):
    """What a training changes: the head, the void class and, for the baseline, the class vectors.

    Args:
        model: With a trained CLIP.
        closed_set: Learn the class vectors.
    """

    def __init__(self, model: FCCLIP, closed_set: bool) -> None:
        super().__init__()
        self.head = model.sem_seg_head
        self.void = model.void_embedding
        self.class_vectors = nn.ParameterList()
        self._fixed = [model.embed_names(names) for names in CLASS_LISTS]
        if closed_set:
            self.class_vectors = nn.ParameterList(torch.randn_like(r) for r in self._fixed)
        self._indices = [{name: i for i, name in enumerate(names)} for names in CLASS_LISTS]

    def tables(self) -> list[ClassTable]:
        """Return the class tables."""
        rows = list(self.class_vectors) or self._fixed
        return [ClassTable(r, index) for r, index in zip(rows, self._indices, strict=True)]


def initialise(model: FCCLIP) -> None:
    """Start deformable attention with points in a ring and equal weights, as published."""
    for module in model.modules():
        if isinstance(module, DeformableAttention):
            nn.init.zeros_(module.sampling_offsets.weight)
            angle = torch.arange(module.heads) * (2 * math.pi / module.heads)
            ring = torch.stack((angle.cos(), angle.sin()), -1)
            ring = ring / ring.abs().amax(-1, keepdim=True)
            steps = torch.arange(1, module.points + 1).view(1, 1, -1, 1)
            offsets = ring.view(-1, 1, 1, 2) * steps.expand(-1, module.levels, -1, -1)
            module.sampling_offsets.bias.data = offsets.flatten().clone()
            nn.init.zeros_(module.attention_weights.weight)
            nn.init.zeros_(module.attention_weights.bias)
    nn.init.normal_(model.void_embedding.weight)


def class_names(facts: Facts) -> tuple[str, str, str]:
    """Return the name of a segment in each class list."""
    name = facts["category"]
    if name in STUFF:
        return name, name, name
    return name, combination(facts["color"], name), f"{facts['material']} {name}"


def targets_of(segments: list[Segments], tables: list[ClassTable]) -> list[Target]:
    """Return the truth of each picture."""
    targets = []
    for of in segments:
        names = [class_names(facts) for facts in of.facts]
        classes = tuple(
            torch.tensor([table.index[name[i]] for name in names], dtype=torch.int64)
            for i, table in enumerate(tables)
        )
        targets.append(Target(of.masks, classes))
    return targets


def average(into: dict[str, Tensor], training: nn.Module, step: int) -> None:
    """Move the running average of the weights towards the newest ones."""
    share = 1 / min(step, AVERAGE_OVER_STEPS)
    for name, value in training.state_dict().items():
        into[name].lerp_(value, share)


class HeadSteps:
    """Draws batches and computes their loss.

    Args:
        model: With a frozen CLIP.
        training: Its trained part.
        views: Views with masks.
        random: Draws everything.
        smallest_scale: Of views in windows.
    """

    def __init__(
        self,
        model: FCCLIP,
        training: HeadTraining,
        views: Pictures,
        random: np.random.Generator,
        smallest_scale: float,
    ) -> None:
        self._model, self._training = model, training
        self._views, self._random = views, random
        self._scales = (smallest_scale, LARGEST_SCALE)

    def loss(self, whole_views: bool) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch, and the parts of the last prediction head's."""
        if whole_views:
            drawn = draw_views(self._views, WHOLE_VIEWS, VIEW_PX, self._random, (1.0, 1.0))
        else:
            drawn = draw_views(self._views, WINDOWS, WINDOW, self._random, self._scales)
        images, segments = drawn
        tables = self._training.tables()
        targets = targets_of(segments, tables)
        with cheap_gradients():
            inputs = normalised(images, self._model.config, self._random)
            _, _, heads = self._model(inputs, every_head=True)
        void, scale = self._training.void.weight, self._model.predictor.logit_scale
        losses = [head_loss(head, targets, tables, void, scale) for head in heads]
        return torch.stack([loss for loss, _ in losses]).sum(), losses[-1][1]


def prepared(clip: Path, closed_set: bool) -> tuple[FCCLIP, HeadTraining]:
    """Return an untrained head on a trained CLIP."""
    model = FCCLIP(small_config())
    model.clip.load_state_dict(torch.load(clip, weights_only=True)["model"])
    model.requires_grad_(False)
    model.forget_text()
    initialise(model)
    training = HeadTraining(model, closed_set)
    training.requires_grad_(True)
    return model, training


def main() -> None:
    """Train until the budget is spent; the averaged weights go to <checkpoint>.average."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--closed-set", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument(
        "--smallest-scale",
        type=float,
        default=0.5,
        help="of views in windows; 0.5 shows most of a room, 1 shows small things as they are seen",
    )
    parser.add_argument(
        "--whole-views-from", type=float, default=0.75, help="share of the time before whole views"
    )
    parser.add_argument("--start", type=Path, help="a trained head that is trained further")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, training = prepared(arguments.clip, arguments.closed_set)
    if arguments.start:
        training.load_state_dict(torch.load(arguments.start, weights_only=True)["model"])
    optimiser = torch.optim.AdamW(training.parameters(), lr=0.0, weight_decay=WEIGHT_DECAY)
    checkpoint = Checkpoint(arguments.checkpoint, training, optimiser)
    average_path = arguments.checkpoint.with_suffix(".average")
    spent_s, step = checkpoint.resume() if arguments.resume else (0.0, 0)
    averaged = {name: value.clone() for name, value in training.state_dict().items()}
    if arguments.resume:
        averaged = torch.load(average_path, weights_only=True)
    views = Pictures(arguments.data, "views")
    random = np.random.default_rng((11, step))
    steps = HeadSteps(model, training, views, random, arguments.smallest_scale)
    budget = Budget(arguments.minutes, spent_s)
    sums: dict[str, float] = {}
    while budget.share < 1:
        step += 1
        loss, parts = steps.loss(budget.share >= arguments.whole_views_from)
        for group in optimiser.param_groups:
            group["lr"] = budget.rate(HIGHEST_RATE)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(training.parameters(), 1.0)
        optimiser.step()
        average(averaged, training, step)
        for name, part in parts.items():
            sums[name] = sums.get(name, 0.0) + part / REPORT_EVERY
        if step % REPORT_EVERY == 0:
            text = " ".join(f"{name} {value:.3f}" for name, value in sums.items())
            say(f"step {step} {budget.share:.0%} last head: {text}")
            sums = {}
            views.refresh()
        if checkpoint.save(budget, step):
            write_tensors(averaged, average_path)
    checkpoint.save(budget, step, now=True)
    write_tensors(averaged, average_path)
    say(f"done: {step} steps")


if __name__ == "__main__":
    main()
