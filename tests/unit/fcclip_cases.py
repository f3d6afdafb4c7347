"""Seeded small FC-CLIP models and pictures for the tests, and the plain forward to compare with."""

import functools
import sys
import zlib
from pathlib import Path

import numpy as np
import torch

from sensorium.models.fcclip import FCCLIP, FCCLIPConfig

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

CLIP_PREFIX = "backbone.clip_model."
THINGS = ["mug,cups", "robot arm", "dog, puppy"]
STUFF = ["floor,ground", "blue wall"]


def seeded_state(config, seed):
    """Random weights that keep activations at a sensible scale and logits away from zero."""
    with torch.device("meta"):
        expected = FCCLIP(config).state_dict()
    state = {}
    for key, value in expected.items():
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {key}".encode()))
        x = torch.randn(value.shape, generator=generator)
        if key.endswith("logit_scale"):
            x = torch.full(value.shape, 3.0)
        elif key.endswith("gamma"):
            x = 0.3 + 0.05 * x
        elif key.endswith("sampling_offsets.bias"):
            x = 3.0 * x
        elif "query_feat" in key or "query_embed" in key:
            x = 2.0 * x
        elif "embedding" in key or "level_embed" in key:
            x = 0.2 * x
        elif value.ndim <= 1:
            x = 1 + 0.1 * x if key.endswith("weight") else 0.1 * x
        else:
            x = x / np.sqrt(np.prod(value.shape[1:]))
        state[key] = x
    return state


def split_state(state):
    """The two published files: CLIP without its prefix, and the head."""
    clip = {k[len(CLIP_PREFIX) :]: v for k, v in state.items() if k.startswith(CLIP_PREFIX)}
    return clip, {k: v for k, v in state.items() if not k.startswith(CLIP_PREFIX)}


@functools.cache
def small_model(seed=11, **changes):
    """A loaded model with the vocabulary THINGS + STUFF; shared, so leave its weights alone."""
    config = FCCLIPConfig.from_dict(FCCLIPConfig.reference_small().to_dict() | changes)
    model = FCCLIP(config)
    model.load_published(*split_state(seeded_state(config, seed)))
    model.set_vocabulary(THINGS + STUFF, things=THINGS)
    return model


def picture(height, width, seed):
    """Smooth random colours with a few rectangles, uint8 RGB."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / random.uniform(5, 40) + y / random.uniform(5, 40)) for _ in range(3)]
    image = np.stack(waves, -1) * 100 + 128
    for _ in range(6):
        top, left = random.integers(0, height - 4), random.integers(0, width - 4)
        image[top : top + height // 3, left : left + width // 4] = random.integers(0, 256, 3)
    return image.clip(0, 255).astype(np.uint8)
