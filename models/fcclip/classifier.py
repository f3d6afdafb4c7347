"""In- and out-of-vocabulary classification and their geometric ensemble (FC-CLIP, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sensorium.models.fcclip.class_list import Vocabulary

MAX_LOGIT_SCALE = 100.0
PROBABILITY_EPS = 1e-8


def class_logits(
    embedding: Tensor, vocabulary: Vocabulary, void: Tensor, logit_scale: Tensor
) -> Tensor:
    """Compare embeddings with the class names.

    Args:
        embedding: (..., D) in CLIP's joint space, any length.
        vocabulary: K classes; the best synonym speaks for its class.
        void: (1, D) embedding of "no class", any length.
        logit_scale: Scalar, logarithm of the scale; the scale is limited to 100.

    Returns:
        float (..., K + 1), void last.
    """
    scaled = logit_scale.exp().clamp(max=MAX_LOGIT_SCALE) * functional.normalize(embedding, dim=-1)
    rows = torch.cat((vocabulary.embedding, functional.normalize(void, dim=-1)))
    index = torch.cat(
        (vocabulary.class_of_row, vocabulary.class_of_row.new_tensor([len(vocabulary)]))
    )
    logits = scaled @ rows.T
    classes = logits.new_full((*logits.shape[:-1], len(vocabulary) + 1), -torch.inf)
    return classes.scatter_reduce(-1, index.expand_as(logits), logits, "amax")


def ensemble(
    in_vocabulary: Tensor, out_of_vocabulary: Tensor, seen: Tensor, weights: tuple[float, float]
) -> Tensor:
    """Mix both classifiers and put the probability of void back.

    p_class = softmax of p_in^(1-w) * p_out^w with w depending on whether the class was seen in
    training, times 1 - p_void; computed with logarithms so that no probability underflows.

    Args:
        in_vocabulary: (..., K + 1) logits of the trained head, void last.
        out_of_vocabulary: (..., K + 1) logits of the frozen CLIP; its void is not used.
        seen: bool (K,).
        weights: Weight of the CLIP classifier for seen and for unseen classes.

    Returns:
        (..., K + 1) logarithms of the probabilities (plus 1e-8), void last.
    """
    w = torch.where(seen, weights[0], weights[1]).to(in_vocabulary.dtype)
    log_in = in_vocabulary[..., :-1].log_softmax(-1)
    log_out = out_of_vocabulary[..., :-1].log_softmax(-1)
    void = in_vocabulary.softmax(-1)[..., -1:]
    classes = ((1 - w) * log_in + w * log_out).softmax(-1) * (1 - void)
    return (torch.cat((classes, void), -1) + PROBABILITY_EPS).log()
