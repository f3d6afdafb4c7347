"""Trains the CLIP part of fcclip-small from nothing on rendered photos, views and captions.

Run: python training/segmentation/train_clip.py DATA clip.pt --minutes 36 [--resume]

A photo is pooled as a whole, or, put into a view, inside its rectangle; a segment of a view is
pooled inside its mask, exactly as FC-CLIP pools a predicted mask. Names without masks are learned
from photos alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from batches import Pictures, Segments, draw_photos, draw_views, normalised, put_photos
from captions import caption, description, draw_granularity, other_phrases
from progress import Budget, Checkpoint, say
from scene_pictures import Facts
from small_config import small_config
from torch import Tensor, nn
from torch.nn import functional

from sensorium.models.fcclip.classifier import MAX_LOGIT_SCALE
from sensorium.models.fcclip.configuration import FCCLIPConfig
from sensorium.models.fcclip.modeling_clip import CLIP
from sensorium.models.fcclip.modeling_decoder import pool_by_mask
from sensorium.models.fcclip.tokenizer import Tokenizer
from sensorium.segmentation.rendered_names import NAMES

HIGHEST_RATE = 1.5e-3
WEIGHT_DECAY = 0.02
OTHER_PHRASES = 40
VIEWS, VIEW_PX = 7, (160, 192)
VIEW_SCALES = (0.6, 1.1)
PHOTOS_PER_VIEW = 5
# Side of the photos of a step -> how many of them.
PHOTOS = {32: 48, 64: 20, 96: 10}
PHOTO_CHANCES = (0.35, 0.5, 0.15)
LAYER_SCALE = 0.5
REPORT_EVERY = 50


def untrained_clip(config: FCCLIPConfig) -> CLIP:
    """Return a CLIP whose blocks all take part from the start (published layer scales are 1e-6)."""
    clip = CLIP(config)
    nn.init.normal_(clip.token_embedding.weight, std=0.05)
    for name, parameter in clip.named_parameters():
        if name.endswith(".gamma"):
            nn.init.constant_(parameter, LAYER_SCALE)
    return clip


def embed_segments(
    clip: CLIP, images: Tensor, segments: list[Segments]
) -> tuple[Tensor, list[Facts]]:
    """Pool each segment that reaches the last feature map: (N, D) and the facts of the N."""
    dense = clip.visual.trunk(images)[-1].permute(0, 3, 1, 2)
    pooled, facts = [], []
    for features, of in zip(dense, segments, strict=True):
        rows = pool_by_mask(features[None], (of.masks - 0.5)[None])[0]
        # An empty mask pools exact zeros, which say nothing.
        for i, row in enumerate(rows):
            if bool(row.detach().abs().sum() > 0):
                pooled.append(row)
                facts.append(of.facts[i])
    return clip.visual.project(torch.stack(pooled)), facts


def embed_texts(clip: CLIP, tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """Embed captions, (N, D) of length one."""
    rows = [tokenizer.encode(text) for text in texts]
    length = max(map(len, rows))
    tokens = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    ends = torch.tensor([len(row) - 1 for row in rows])
    return functional.normalize(clip.encode_text(tokens, ends), dim=-1)


def contrast(
    images: Tensor,
    phrases: Sequence[str],
    texts: Tensor,
    candidates: Sequence[str],
    scale: Tensor,
) -> tuple[Tensor, float]:
    """Contrast pictures with captions in both directions.

    Args:
        images: (N, D) of length one.
        phrases: What each picture shows.
        texts: (M, D) of length one.
        candidates: The phrase of each text, all different.
        scale: Scale of the logits.

    Returns:
        The loss and the share of pictures whose own caption is the nearest.
    """
    index = {phrase: i for i, phrase in enumerate(candidates)}
    target = torch.tensor([index[phrase] for phrase in phrases])
    logits = scale * images @ texts.T
    loss = functional.cross_entropy(logits, target)
    matches = functional.one_hot(target, len(candidates)).T.to(logits.dtype)
    shown = matches.sum(1) > 0
    log_share = logits.T.log_softmax(-1)[shown]
    matches = matches[shown]
    loss_texts = -((log_share * matches).sum(1) / matches.sum(1)).mean()
    right = float((logits.argmax(1) == target).float().mean())
    return loss + 0.5 * loss_texts, right


@dataclass(frozen=True)
class Step:
    """One step's loss and how many pictures found their caption.

    Attributes:
        loss: What is minimised.
        names_right: Share of pictures whose bare name is the nearest of all names.
        phrases_right: Share whose longer phrase is the nearest of the step's phrases.
    """

    loss: Tensor
    names_right: float
    phrases_right: float


class ClipTraining:
    """Draws batches and computes their loss.

    Args:
        clip: What is trained.
        config: Its sizes.
        photos: Photos with captions.
        views: Views with masks and captions.
        random: Draws everything.
    """

    def __init__(
        self,
        clip: CLIP,
        config: FCCLIPConfig,
        photos: Pictures,
        views: Pictures,
        random: np.random.Generator,
    ) -> None:
        self._clip, self._config = clip, config
        self._tokenizer = Tokenizer(config.kept_tokens, config.context_length)
        self._photos, self._views, self._random = photos, views, random

    def step(self) -> Step:
        """Draw photos, windows of views and captions, and contrast them."""
        clip, config, random = self._clip, self._config, self._random
        size_px = int(random.choice(list(PHOTOS), p=PHOTO_CHANCES))
        photos, facts = draw_photos(self._photos, PHOTOS[size_px], size_px, random)
        views, segments = draw_views(self._views, VIEWS, VIEW_PX, random, VIEW_SCALES)
        segments = put_photos(views, segments, self._photos, PHOTOS_PER_VIEW, random)
        seen = clip.encode_image(normalised(photos, config, random))
        inside, more_facts = embed_segments(clip, normalised(views, config, random), segments)
        images = functional.normalize(torch.cat((seen, inside)), dim=-1)
        facts = [*facts, *more_facts]
        attributes = draw_granularity(random)
        phrases = [description(f, attributes) for f in facts]
        others = other_phrases(attributes, OTHER_PHRASES, random)
        candidates = list(dict.fromkeys([*phrases, *others]))
        texts = [caption(phrase, random) for phrase in (*NAMES, *candidates)]
        embedded = embed_texts(clip, self._tokenizer, texts)
        scale = clip.logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)
        names_loss, names_right = contrast(
            images,
            [f["category"] for f in facts],
            embedded[: len(NAMES)],
            NAMES,
            scale,
        )
        phrases_loss, phrases_right = contrast(
            images, phrases, embedded[len(NAMES) :], candidates, scale
        )
        return Step(names_loss + phrases_loss, names_right, phrases_right)


def main() -> None:
    """Train until the budget is spent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--minutes", type=float, default=36.0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--start", type=Path, help="a trained CLIP that is trained further")
    parser.add_argument(
        "--projection-only", action="store_true",
        help="train only the projection of pooled features: a trained head, which does not use it, "
        "still fits",
    )  # fmt: skip
    parser.add_argument("--rate", type=float, default=HIGHEST_RATE, help="highest learning rate")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = small_config()
    clip = untrained_clip(config)
    if arguments.start:
        clip.load_state_dict(torch.load(arguments.start, weights_only=True)["model"])
    if arguments.projection_only:
        clip.requires_grad_(False)
        clip.visual.head.requires_grad_(True)
        clip.visual.trunk.head.requires_grad_(True)
    optimiser = torch.optim.AdamW(
        clip.parameters(), lr=0.0, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98)
    )
    checkpoint = Checkpoint(arguments.checkpoint, clip, optimiser)
    spent_s, step = checkpoint.resume() if arguments.resume else (0.0, 0)
    photos, views = Pictures(arguments.data, "photos"), Pictures(arguments.data, "views")
    training = ClipTraining(clip, config, photos, views, np.random.default_rng((7, step)))
    budget = Budget(arguments.minutes, spent_s)
    sums = np.zeros(3)
    while budget.share < 1:
        step += 1
        result = training.step()
        for group in optimiser.param_groups:
            group["lr"] = budget.rate(arguments.rate)
        optimiser.zero_grad()
        result.loss.backward()
        nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
        optimiser.step()
        sums += (float(result.loss.detach()), result.names_right, result.phrases_right)
        if step % REPORT_EVERY == 0:
            loss, names_right, phrases_right = sums / REPORT_EVERY
            sums[:] = 0
            say(
                f"step {step} {budget.share:.0%} loss {loss:.3f} right: names {names_right:.3f} "
                f"phrases {phrases_right:.3f} scale {float(clip.logit_scale.detach().exp()):.1f}"
            )
            photos.refresh()
            views.refresh()
        checkpoint.save(budget, step)
    checkpoint.save(budget, step, now=True)
    say(f"done: {step} steps")


if __name__ == "__main__":
    main()
