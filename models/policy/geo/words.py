"""The word table: instructions to directions of words, without a language model at run time."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

__all__ = ["TABLE_DIRECTORY", "WordTable"]

TABLE_DIRECTORY = Path(__file__).parent / "word_table"

_WORD = re.compile(r"[a-z]+")


class WordTable:
    """Directions of common English words, distilled from MiniLM's sentence embeddings.

    Source: Wang et al. 2020 (MiniLM), Reimers and Gurevych 2019 (sentence embeddings); made by
    training/policy/distill_word_table.py.

    Args:
        directory: holds words.txt and vectors.safetensors.

    Attributes:
        size: Values per word.
        sha256: SHA-256 of the vectors file in lower-case hex; a policy belongs to one table.
    """

    def __init__(self, directory: Path = TABLE_DIRECTORY) -> None:
        path = directory / "vectors.safetensors"
        words = (directory / "words.txt").read_text(encoding="utf-8").split()
        vectors = load_file(path)["vectors"].float()
        if len(words) != len(vectors):
            raise ValueError(
                f"{directory}: {len(words)} words but {len(vectors)} vectors; both files must "
                "come from one run of training/policy/distill_word_table.py"
            )
        self._vectors = functional.normalize(vectors, dim=1)
        self._index = {word: i for i, word in enumerate(words)}
        self.size = int(vectors.shape[1])
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()

    def split(self, text: str) -> tuple[list[str], list[str]]:
        """The words of a text that the table knows, in order, and those it does not."""
        words = _WORD.findall(text.lower())
        known = [word for word in words if word in self._index]
        return known, [word for word in words if word not in self._index]

    def encode(self, text: str, length: int) -> tuple[Tensor, Tensor]:
        """Directions of the known words of a text; unknown words are left out.

        Args:
            text: The instruction.
            length: Rows of the result; further words are left out.

        Returns:
            (length, size) float32 unit rows, zero beyond the words, and (length,) float32 mask.
        """
        known = self.split(text)[0][:length]
        vectors = torch.zeros(length, self.size)
        mask = torch.zeros(length)
        if known:
            vectors[: len(known)] = self._vectors[[self._index[word] for word in known]]
            mask[: len(known)] = 1.0
        return vectors, mask
