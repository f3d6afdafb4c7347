"""Transformer parts shared by the image encoder, the aggregator and the camera head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.models.omnivggt.rope import RotaryTable, rotate

# On a CPU the hidden layer of the MLP is made for this many tokens at a time, so that it stays in
# the cache between the two matrix products and never exists for all views at once. Every token is
# independent of the others, so the numbers are the same.
_MLP_TOKENS_PER_CHUNK_CPU = 1024


class LayerScale(nn.Module):
    """Per-channel factor on a residual branch (Touvron et al. 2021, CaiT)."""

    def __init__(self, dim: int, init_value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), float(init_value)))

    def add_to(self, residual: Tensor, branch: Tensor) -> Tensor:
        """Returns ``residual + gamma * branch`` in one pass, in the residual's dtype."""
        return torch.addcmul(residual, branch.to(residual.dtype), self.gamma)


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, dim: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim if out is None else out)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., dim) to (..., out); the result has the dtype of the weights."""
        x = x.to(self.fc1.weight.dtype)
        if x.device.type != "cpu" or torch.is_grad_enabled():
            return self._rows(x)
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) <= _MLP_TOKENS_PER_CHUNK_CPU:
            return self._rows(x)
        out = rows.new_empty(len(rows), self.fc2.out_features)
        for start in range(0, len(rows), _MLP_TOKENS_PER_CHUNK_CPU):
            chunk = slice(start, start + _MLP_TOKENS_PER_CHUNK_CPU)
            out[chunk] = self._rows(rows[chunk])
        return out.view(*x.shape[:-1], -1)

    def _rows(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return result


class Attention(nn.Module):
    """Multi-head self attention, with optional query/key LayerNorm and rotary position embedding.

    Args:
        dim: Channels of a token.
        num_heads: Heads; each has ``dim / num_heads`` channels.
        qk_norm: Normalise queries and keys over the channels of a head (eps 1e-5).
    """

    def __init__(self, dim: int, num_heads: int, *, qk_norm: bool = False) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm = nn.LayerNorm(self.head_dim, eps=1e-5) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(self.head_dim, eps=1e-5) if qk_norm else nn.Identity()
        self.proj = nn.Linear(dim, dim)

    def forward(
        self, x: Tensor, rope: RotaryTable | None = None, *, views_together: int = 1
    ) -> Tensor:
        """Attends within a view, or across groups of consecutive views.

        Args:
            x: Tokens (N, P, dim).
            rope: Rotation table of the P tokens of one view, or None for none.
            views_together: Rows of N that attend to one another; 1 attends within each row.

        Returns:
            (N, P, dim) in the dtype of the weights.
        """
        count, tokens, dim = x.shape
        dtype = self.qkv.weight.dtype
        qkv = self.qkv(x.to(dtype)).view(count, tokens, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.unbind(2)
        if not isinstance(self.q_norm, nn.Identity):
            # In mixed precision the norms keep float32 weights; they run in that precision.
            q = self.q_norm(q.to(self.q_norm.weight.dtype))
            k = self.k_norm(k.to(self.k_norm.weight.dtype))
        if rope is not None:
            q, k = rotate(q, rope), rotate(k, rope)
        group = (count // views_together, views_together * tokens, self.num_heads, self.head_dim)
        attended = functional.scaled_dot_product_attention(
            q.to(dtype).reshape(group).transpose(1, 2),
            k.to(dtype).reshape(group).transpose(1, 2),
            v.reshape(group).transpose(1, 2),
        )
        result: Tensor = self.proj(attended.transpose(1, 2).reshape(count, tokens, dim))
        return result


class Block(nn.Module):
    """Pre-norm transformer block: ``x + ls1(attn(norm1 x))``, then ``x + ls2(mlp(norm2 x))``."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float,
        *,
        init_values: float,
        norm_eps: float,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = Attention(dim, num_heads, qk_norm=qk_norm)
        self.ls1 = LayerScale(dim, init_values)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.ls2 = LayerScale(dim, init_values)

    def forward(
        self, x: Tensor, rope: RotaryTable | None = None, *, views_together: int = 1
    ) -> Tensor:
        """Maps tokens (N, P, dim) to the same shape; see ``Attention.forward``."""
        x = self.ls1.add_to(x, self.attn(self.norm1(x), rope, views_together=views_together))
        return self.ls2.add_to(x, self.mlp(self.norm2(x)))
