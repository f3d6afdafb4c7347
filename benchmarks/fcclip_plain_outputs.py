"""FC-CLIP's published outputs made plainly from ``fcclip_plain``: all masks at full size first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from fcclip_plain import (
    TEXT,
    VISUAL,
    State,
    linear,
    mask_decoder,
    name_logits,
    norm,
    pixel_decoder,
    pool,
    trunk,
)
from torch import Tensor
from torch.nn import functional

from sensorium.models.fcclip.coco_names import SEEN_SYNONYMS
from sensorium.models.fcclip.configuration import FCCLIPConfig
from sensorium.models.fcclip.processor import ProcessedImage


@dataclass
class PlainResult:
    """Outputs of one picture; ``segments`` holds (id, is_thing, category_id)."""

    mask_cls: Tensor
    mask_pred: Tensor
    semantic: Tensor
    panoptic: Tensor
    segments: list[tuple[int, bool, int]]
    instance_scores: Tensor
    instance_classes: Tensor
    instance_masks: Tensor


def predict(
    s: State,
    config: FCCLIPConfig,
    image: ProcessedImage,
    names: Sequence[str],
    things: Sequence[int],
    rows: Tensor,
) -> PlainResult:
    """Segment one picture; ``rows`` holds the embedding of every synonym in order."""
    synonyms = [entry.replace(", ", ",").split(",") for entry in names]
    text = (rows, [len(group) for group in synonyms])
    features = trunk(s, config, image.pixels)
    levels, mask_features = pixel_decoder(s, config, features)
    in_logits, masks = mask_decoder(s, config, levels, mask_features, text)[-1]
    y = norm(s, f"{VISUAL}trunk.head.norm", pool(features[-1], masks), 1e-6)
    y = linear(s, f"{VISUAL}head.mlp.fc2", functional.gelu(linear(s, f"{VISUAL}head.mlp.fc1", y)))
    out_logits = name_logits(y, *text, s["void_embedding.weight"], s[f"{TEXT}logit_scale"])
    seen = torch.tensor([float(any(n in SEEN_SYNONYMS for n in group)) for group in synonyms])
    p_in, p_out = in_logits[..., :-1].softmax(-1), out_logits[..., :-1].softmax(-1)
    alpha, beta = config.seen_ensemble_weight, config.unseen_ensemble_weight
    logits = (p_in ** (1 - alpha) * p_out**alpha).log() * seen
    logits = logits + (p_in ** (1 - beta) * p_out**beta).log() * (1 - seen)
    void = in_logits.softmax(-1)[..., -1:]
    mask_cls = torch.cat((logits.softmax(-1) * (1 - void), void), -1).add(1e-8).log()[0]
    full = functional.interpolate(
        masks, size=image.pixels.shape[2:], mode="bilinear", align_corners=False
    )
    full = full[..., : image.resized_size[0], : image.resized_size[1]]
    full = functional.interpolate(
        full, size=image.original_size, mode="bilinear", align_corners=False
    )[0]
    semantic = torch.einsum("qk,qhw->khw", mask_cls.softmax(-1)[:, :-1], full.sigmoid())
    panoptic, segments = panoptic_inference(config, mask_cls, full, things)
    return PlainResult(
        mask_cls,
        full,
        semantic,
        panoptic,
        segments,
        *instance_inference(config, mask_cls, full, things),
    )


def panoptic_inference(
    config: FCCLIPConfig, mask_cls: Tensor, mask_logits: Tensor, things: Sequence[int]
) -> tuple[Tensor, list[tuple[int, bool, int]]]:
    """Compare all masks at once and go through the queries one by one."""
    scores, labels = mask_cls.softmax(-1).max(-1)
    keep = (labels != mask_cls.shape[1] - 1) & (scores > config.object_mask_threshold)
    scores, labels, probability = scores[keep], labels[keep], mask_logits.sigmoid()[keep]
    panoptic = torch.zeros(mask_logits.shape[1:], dtype=torch.int32)
    segments: list[tuple[int, bool, int]] = []
    if not len(scores):
        return panoptic, segments
    winner = (scores.view(-1, 1, 1) * probability).argmax(0)
    stuff: dict[int, int] = {}
    for k, label in enumerate(labels.tolist()):
        won, whole = winner == k, probability[k] >= 0.5
        mask = won & whole
        if not (won.any() and whole.any() and mask.any()):
            continue
        if won.sum().item() / whole.sum().item() < config.overlap_threshold:
            continue
        if label not in things and label in stuff:
            panoptic[mask] = stuff[label]
            continue
        segments.append((len(segments) + 1, label in things, label))
        panoptic[mask] = len(segments)
        if label not in things:
            stuff[label] = len(segments)
    return panoptic, segments


def instance_inference(
    config: FCCLIPConfig, mask_cls: Tensor, mask_logits: Tensor, things: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores, classes and masks of the best pairs whose class is a thing."""
    probability = mask_cls.softmax(-1)[:, :-1]
    scores, flat = probability.flatten().topk(
        min(config.instances_max, probability.numel()), sorted=False
    )
    queries, classes = flat // probability.shape[1], flat % probability.shape[1]
    keep = torch.tensor([int(c) in things for c in classes])
    scores, classes, chosen = scores[keep], classes[keep], mask_logits[queries][keep]
    masks = (chosen > 0).float()
    total = (chosen.sigmoid().flatten(1) * masks.flatten(1)).sum(1)
    return scores * total / (masks.flatten(1).sum(1) + 1e-6), classes, masks
