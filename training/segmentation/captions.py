"""Captions of objects, and the token table that holds their tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from scene_pictures import Facts

from sensorium.models.fcclip.text_embedding import TEMPLATES
from sensorium.models.fcclip.tokenizer import Tokenizer
from sensorium.segmentation.rendered_names import (
    NAMES,
    THINGS,
    combination,
    held_out_combinations,
)
from sensorium.sources.random_scene import COLORS, SCALES
from sensorium.sources.textures import PATTERNS

BYTE_TOKENS = 512
TEMPLATE_SIZES = ("small", "medium", "large")
ATTRIBUTES = ("size", "color", "material", "category")
"""Facts in the order in which a caption names them."""

GRANULARITIES: tuple[tuple[tuple[str, ...], float], ...] = (
    (("color", "category"), 0.45),
    (("material", "category"), 0.15),
    (("color", "material", "category"), 0.15),
    (("size", "color", "category"), 0.1),
    (("size", "color", "material", "category"), 0.15),
)
"""What a batch's captions say beside the bare names, and how often."""

_HELD_OUT_COMBINATIONS = frozenset(held_out_combinations())


def description(facts: Mapping[str, str], attributes: Iterable[str]) -> str:
    """Return the named facts as a noun phrase, "red striped mug"; the room's parts have no more."""
    wanted = set(attributes)
    return " ".join(facts[a] for a in ATTRIBUTES if a in wanted and a in facts)


def caption(phrase: str, random: np.random.Generator) -> str:
    """Put a noun phrase into one of the prompts that class names are put into later.

    A phrase that states the size gets a prompt without one.
    """
    sized = phrase.partition(" ")[0] in SCALES
    templates = [t for t in TEMPLATES if not sized or not any(s in t for s in TEMPLATE_SIZES)]
    return str(templates[random.integers(len(templates))]).format(phrase)


def other_phrases(
    attributes: tuple[str, ...], count: int, random: np.random.Generator
) -> list[str]:
    """Draw phrases that need not occur in a batch; held-out combinations are never drawn."""
    phrases = []
    for _ in range(count):
        facts = {
            "size": str(random.choice(list(SCALES))),
            "color": str(random.choice(list(COLORS))),
            "material": str(random.choice(PATTERNS)),
            "category": str(random.choice(THINGS)),
        }
        if combination(facts["color"], facts["category"]) not in _HELD_OUT_COMBINATIONS:
            phrases.append(description(facts, attributes))
    return phrases


def draw_granularity(random: np.random.Generator) -> tuple[str, ...]:
    """Draw what the captions of a batch say."""
    choices, weights = zip(*GRANULARITIES, strict=True)
    return choices[int(random.choice(len(choices), p=weights))]


def kept_tokens() -> tuple[int, ...]:
    """Return the BPE ids of the small token table: bytes, training captions, start and end."""
    tokenizer = Tokenizer()
    words = [*COLORS, *PATTERNS, *SCALES, *TEMPLATE_SIZES, *NAMES]
    texts = [template.format(word) for template in TEMPLATES for word in words]
    used = {bpe_id for text in texts for bpe_id in tokenizer.bpe_ids(text)}
    last_two = (49406, 49407)
    return (*range(BYTE_TOKENS), *sorted(used - set(range(BYTE_TOKENS))), *last_two)


__all__ = [
    "Facts",
    "caption",
    "description",
    "draw_granularity",
    "kept_tokens",
    "other_phrases",
]
