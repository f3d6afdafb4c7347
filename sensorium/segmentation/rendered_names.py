"""What fcclip-small is shown of the rendered scenes in training, and what is held out.

Two things are held out, so that open vocabulary can be measured:

- `HELD_OUT_NAMES` occur in the captions of photos and in no mask.
- `held_out_combinations()`, one fifth of all pairs of a colour and an object name, occur in no
  picture at all.
"""

from __future__ import annotations

from sensorium.sources.random_scene import COLORS, SceneOptions
from sensorium.sources.scene import FURNITURE, STUFF, TABLETOP
from sensorium.sources.textures import PATTERNS

THINGS = (*FURNITURE, *TABLETOP)
NAMES = (*STUFF, *THINGS)
HELD_OUT_NAMES = ("bowl", "bottle", "plate")
MASK_NAMES = tuple(name for name in THINGS if name not in HELD_OUT_NAMES)
"""Names of things with masks in training."""

_ONE_IN = 5


def combination(color: str, name: str) -> str:
    """Return the class name of things of one colour, e.g. "red mug"."""
    return f"{color} {name}"


def held_out_combinations() -> tuple[str, ...]:
    """Return the pairs of colour and name that training never shows: one in five of all.

    They lie on diagonals of the table of colours and names, so that every colour and every name
    occurs in training with most of its partners.
    """
    return tuple(
        combination(color, name)
        for i, color in enumerate(COLORS)
        for j, name in enumerate(THINGS)
        if (i + 2 * j) % _ONE_IN == 0
    )


def training_combinations() -> tuple[str, ...]:
    """Return the pairs of colour and name that have masks in training."""
    held_out = frozenset(held_out_combinations())
    pairs = (combination(color, name) for name in MASK_NAMES for color in COLORS)
    return tuple(pair for pair in pairs if pair not in held_out)


def training_materials() -> tuple[str, ...]:
    """Return the pairs of material and name that have masks in training."""
    return tuple(f"{material} {name}" for name in MASK_NAMES for material in PATTERNS)


def training_names() -> tuple[str, ...]:
    """Return every class name that the head was trained to tell from the others."""
    return (*STUFF, *MASK_NAMES, *training_combinations(), *training_materials())


def view_scenes() -> SceneOptions:
    """Return the scenes of pictures with masks: no held-out name, no held-out combination."""
    objects = tuple(name for name in TABLETOP if name not in HELD_OUT_NAMES)
    return SceneOptions(objects=14, categories=objects, excluded=held_out_combinations())


def photo_scenes() -> SceneOptions:
    """Return the scenes of photos with captions: every name, no held-out combination."""
    return SceneOptions(excluded=held_out_combinations())
