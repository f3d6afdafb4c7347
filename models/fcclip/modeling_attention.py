"""Multi-head attention with the packed parameter names of the published checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PackedAttention(nn.Module):
    """Scaled dot-product attention; query, key and value projections share one packed weight.

    Args:
        dim: Width of queries, keys, values and output.
        heads: Number of heads; must divide ``dim``.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        allowed: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Attend from each query to the keys.

        Args:
            query: (B, Q, dim).
            key: (B, N, dim).
            value: (B, N, dim).
            allowed: Optional bool (B, Q, N); False blocks a key for a query, the same in all heads.
            causal: A query sees only keys up to its own index.

        Returns:
            (B, Q, dim).
        """
        weights = self.in_proj_weight.chunk(3)
        biases = self.in_proj_bias.chunk(3)
        q, k, v = (
            functional.linear(x, w, b).view(*x.shape[:2], self.heads, -1).transpose(1, 2)
            for x, w, b in zip((query, key, value), weights, biases, strict=True)
        )
        mask = None if allowed is None else allowed[:, None]
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        output: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return output
