"""Class names to text embeddings, made once per name and kept in memory and on disk."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sensorium.models.fcclip.modeling_clip import CLIP
from sensorium.models.fcclip.tokenizer import Tokenizer

# The prompts of ViLD (Gu et al. 2022) that FC-CLIP uses; four of them have no full stop.
TEMPLATES = (
    "a photo of a {}.",
    "This is a photo of a {}",
    "There is a {} in the scene",
    "There is the {} in the scene",
    "a photo of a {} in the scene",
    "a photo of a small {}.",
    "a photo of a medium {}.",
    "a photo of a large {}.",
    "This is a photo of a small {}.",
    "This is a photo of a medium {}.",
    "This is a photo of a large {}.",
    "There is a small {} in the scene.",
    "There is a medium {} in the scene.",
    "There is a large {} in the scene.",
)
PROMPTS_PER_BATCH = 128


class NameEncoder:
    """Embeds names with CLIP's text tower through all prompt templates.

    Args:
        clip: The model; only its text tower is used.
        tokenizer: Tokenizer for the rows of its token table.
        cache_dir: Directory of the disk cache; None keeps embeddings in memory only. Files are
            grouped by a digest of the text weights, so other weights never see them.
    """

    def __init__(self, clip: CLIP, tokenizer: Tokenizer, cache_dir: Path | None = None) -> None:
        self._clip = clip
        self._tokenizer = tokenizer
        self._cache_dir = cache_dir
        self._memory: dict[str, Tensor] = {}
        self._digest: str | None = None

    def forget(self) -> None:
        """Drop what was made with earlier weights; call after loading weights."""
        self._memory = {}
        self._digest = None

    def __call__(self, names: Sequence[str]) -> Tensor:
        """Embed names; only those not embedded before cost time.

        Args:
            names: Plain names, each one synonym.

        Returns:
            float32 (len(names), embed_dim) on the model's device, rows of length one.
        """
        known = self._memory
        wanted = [name for name in dict.fromkeys(names) if name not in known]
        if self._cache_dir is not None and wanted:
            for name in wanted:
                stored = self._read(name)
                if stored is not None:
                    known[name] = stored
            wanted = [name for name in wanted if name not in known]
        if wanted:
            made = self._embed(wanted).cpu()
            for name, row in zip(wanted, made, strict=True):
                known[name] = row
                if self._cache_dir is not None:
                    self._write(name, row)
        return torch.stack([known[name] for name in names]).to(self._clip.logit_scale.device)

    def once(self, texts: Sequence[str]) -> Tensor:
        """Embed texts as names are embedded, without keeping them.

        Returns:
            float32 (len(texts), embed_dim) on the model's device, rows of length one.
        """
        return self._embed(texts)

    # Not inference mode, whatever the caller is in: training may use what is cached here.
    @torch.inference_mode(False)
    @torch.no_grad()
    def _embed(self, names: Sequence[str]) -> Tensor:
        prompts = [template.format(name) for name in names for template in TEMPLATES]
        features = torch.cat([self._encode(batch) for batch in _batches(prompts)])
        per_prompt = functional.normalize(features, dim=-1).view(len(names), len(TEMPLATES), -1)
        return functional.normalize(per_prompt.mean(1), dim=-1)

    def _encode(self, prompts: Sequence[str]) -> Tensor:
        device = self._clip.logit_scale.device
        rows = [self._tokenizer.encode(prompt) for prompt in prompts]
        length = max(map(len, rows))
        tokens = torch.tensor([r + [0] * (length - len(r)) for r in rows], device=device)
        end_index = torch.tensor([len(r) - 1 for r in rows], device=device)
        return self._clip.encode_text(tokens, end_index)

    def _path(self, name: str) -> Path:
        if self._cache_dir is None:
            raise RuntimeError("no cache directory was given to this encoder")
        if self._digest is None:
            self._digest = _text_digest(self._clip)
        return self._cache_dir / self._digest / f"{_hash(name.encode())}.npy"

    def _read(self, name: str) -> Tensor | None:
        try:
            stored = np.load(self._path(name), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            # Missing or damaged: it is made again and written over.
            return None
        if stored.dtype != np.float32 or stored.shape != (self._clip.text_projection.shape[1],):
            return None
        return torch.from_numpy(stored)

    def _write(self, name: str, row: Tensor) -> None:
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed into place, so that another process never reads half a file.
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.save(file, row.numpy(), allow_pickle=False)
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise


def split_synonyms(entry: str) -> tuple[str, ...]:
    """Split a class entry "a,b, c" into its synonyms.

    Raises:
        ValueError: If a synonym is empty.
    """
    synonyms = tuple(entry.replace(", ", ",").split(","))
    if not all(s.strip() for s in synonyms):
        raise ValueError(
            f"class entry {entry!r} holds an empty name; write names separated by single commas"
        )
    return synonyms


def _batches(prompts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(prompts), PROMPTS_PER_BATCH):
        yield prompts[start : start + PROMPTS_PER_BATCH]


def _text_digest(clip: CLIP) -> str:
    def parts() -> Iterable[bytes]:
        yield repr(TEMPLATES).encode()
        for key, value in sorted(clip.state_dict().items()):
            if not key.startswith("visual."):
                yield key.encode()
                yield value.detach().cpu().contiguous().numpy().tobytes()

    return _hash(*parts())


def _hash(*parts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
