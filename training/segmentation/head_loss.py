"""Hungarian matching of queries with segments, and the losses of Mask2Former on what is matched.

Source: Cheng et al. 2022 (Mask2Former, section 3.3): class, binary cross-entropy and dice losses
with weights 2, 5 and 5, unmatched queries are void with weight 0.1, every prediction head is
supervised. Masks are compared at all of their pixels, because the pictures are small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from sensorium.models.fcclip.classifier import MAX_LOGIT_SCALE
from sensorium.models.fcclip.modeling_decoder import HeadOutput

CLASS_WEIGHT, MASK_WEIGHT, DICE_WEIGHT, VOID_WEIGHT = 2.0, 5.0, 5.0, 0.1


@dataclass(frozen=True)
class ClassTable:
    """One way of naming segments.

    Attributes:
        rows: (K, D) class embeddings, any length.
        index: Class of a name.
    """

    rows: Tensor
    index: dict[str, int]


@dataclass(frozen=True)
class Target:
    """What is true of one picture.

    Attributes:
        masks: float (N, h, w) in 0..1.
        classes: int64 (N,) for each class table.
    """

    masks: Tensor
    classes: tuple[Tensor, ...]


def logits_of(embedding: Tensor, rows: Tensor, void: Tensor, logit_scale: Tensor) -> Tensor:
    """Compare class embeddings with a table: (..., K + 1), void last."""
    table = functional.normalize(torch.cat((rows, void)), dim=-1)
    scale = logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)
    return scale * functional.normalize(embedding, dim=-1) @ table.T


def head_loss(
    head: HeadOutput,
    targets: Sequence[Target],
    tables: Sequence[ClassTable],
    void: Tensor,
    logit_scale: Tensor,
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of one prediction head and its parts.

    Args:
        head: Prediction of B pictures.
        targets: The truth of each.
        tables: Ways of naming; the first one takes part in the matching.
        void: (1, D) embedding of "no class".
        logit_scale: Of the head's classifier.
    """
    logits = [logits_of(head.class_embedding, t.rows, void, logit_scale) for t in tables]
    chosen_masks, true_masks = [], []
    labels = [
        torch.full(head.class_embedding.shape[:2], table_logits.shape[-1] - 1)
        for table_logits in logits
    ]
    for i, target in enumerate(targets):
        cost = _cost(head.mask_logits[i], logits[0][i], target)
        rows, columns = linear_sum_assignment(cost.numpy())
        rows, columns = torch.from_numpy(rows), torch.from_numpy(columns)
        chosen_masks.append(head.mask_logits[i][rows])
        true_masks.append(target.masks[columns])
        for label, classes in zip(labels, target.classes, strict=True):
            label[i, rows] = classes[columns]
    masks, truth = torch.cat(chosen_masks).flatten(1), torch.cat(true_masks).flatten(1)
    mask_loss = functional.binary_cross_entropy_with_logits(masks, truth)
    dice = _dice(masks.sigmoid(), truth).mean()
    class_loss = masks.new_zeros(())
    for table_logits, label in zip(logits, labels, strict=True):
        weight = table_logits.new_ones(table_logits.shape[-1])
        weight[-1] = VOID_WEIGHT
        class_loss = class_loss + functional.cross_entropy(
            table_logits.flatten(0, 1), label.flatten(), weight
        )
    class_loss = class_loss / len(tables)
    parts = {"class": class_loss, "mask": mask_loss, "dice": dice}
    total = CLASS_WEIGHT * class_loss + MASK_WEIGHT * mask_loss + DICE_WEIGHT * dice
    return total, {name: float(part.detach()) for name, part in parts.items()}


@torch.no_grad()
def _cost(mask_logits: Tensor, class_logits: Tensor, target: Target) -> Tensor:
    """Return the cost (Q, N) of giving each query each segment."""
    masks, truth = mask_logits.flatten(1), target.masks.flatten(1)
    pixels = masks.shape[1]
    # BCE of all pairs: softplus(x) - x * t, summed over pixels.
    mask_cost = (functional.softplus(masks).sum(1, keepdim=True) - masks @ truth.T) / pixels
    probability = masks.sigmoid()
    shared = probability @ truth.T
    total = probability.sum(1, keepdim=True) + truth.sum(1)
    dice_cost = 1 - (2 * shared + 1) / (total + 1)
    class_cost = -class_logits.softmax(-1)[:, target.classes[0]]
    return CLASS_WEIGHT * class_cost + MASK_WEIGHT * mask_cost + DICE_WEIGHT * dice_cost


def _dice(probability: Tensor, truth: Tensor) -> Tensor:
    shared = (probability * truth).sum(1)
    return 1 - (2 * shared + 1) / (probability.sum(1) + truth.sum(1) + 1)
