"""Transformer parts shared by the image encoder, the aggregator and the camera head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.models.omnivggt.rope import RotaryTable, rotate


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
        hidden = functional.gelu(self.fc1(x.to(self.fc1.weight.dtype)))
        result: Tensor = self.fc2(hidden)
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

    def heads(
        self, x: Tensor, rope: RotaryTable | None, views_together: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of groups of consecutive views.

        Args:
            x: Normalised tokens (groups * views_together, P, dim).
            rope: Rotation table of the P tokens of one view, or None for none.
            views_together: Views that attend to one another.

        Returns:
            Three contiguous tensors (groups, heads, views_together * P, head_dim) in the dtype of
            the weights. Attention on a CPU is a quarter slower on strided ones.
        """
        dtype = self.qkv.weight.dtype
        qkv: Tensor = self.qkv(x.to(dtype))
        shape = (-1, views_together, x.shape[1], 3, self.num_heads, self.head_dim)
        q, k, v = qkv.view(shape).permute(3, 0, 4, 1, 2, 5).unbind(0)
        if isinstance(self.q_norm, nn.LayerNorm) and isinstance(self.k_norm, nn.LayerNorm):
            # In mixed precision the norms keep float32 weights; they run in that precision.
            q = self.q_norm(q.to(self.q_norm.weight.dtype))
            k = self.k_norm(k.to(self.k_norm.weight.dtype))
        if rope is not None:
            q, k = rotate(q, rope), rotate(k, rope)
        q, k, v = (part.to(dtype).contiguous().flatten(2, 3) for part in (q, k, v))
        return q, k, v

    def merge(self, attended: Tensor, views_together: int) -> Tensor:
        """Projects attended heads, shaped as ``heads`` gives them, to (N, P, dim)."""
        tokens = torch.unflatten(attended, 2, (views_together, -1)).permute(0, 2, 3, 1, 4)
        result: Tensor = self.proj(tokens.flatten(3).flatten(0, 1))
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
        """Attends within a view, or across groups of consecutive views.

        Args:
            x: Tokens (N, P, dim).
            rope: Rotation table of the P tokens of one view, or None for none.
            views_together: Rows of N that attend to one another; 1 attends within each row.

        Returns:
            (N, P, dim) in the dtype of ``x``.
        """
        if x.device.type == "cpu" and not torch.is_grad_enabled():
            # What does not mix views is done for one view at a time, so that it stays in the
            # cache and no view's hidden layer exists beside another's.
            groups = [self._view_by_view(group, rope) for group in torch.split(x, views_together)]
            return _joined(groups, dim=0)
        q, k, v = self.attn.heads(self.norm1(x), rope, views_together)
        attended = functional.scaled_dot_product_attention(q, k, v)
        return self._finish(x, self.attn.merge(attended, views_together))

    def _view_by_view(self, views: Tensor, rope: RotaryTable | None) -> Tensor:
        parts = torch.split(views, 1)
        heads = [self.attn.heads(self.norm1(part), rope, 1) for part in parts]
        q, k, v = (_joined(list(same), dim=2) for same in zip(*heads, strict=True))
        together = functional.scaled_dot_product_attention(q, k, v)
        attended = torch.split(together, views.shape[1], dim=2)
        finished = [
            self._finish(part, self.attn.merge(own, 1))
            for part, own in zip(parts, attended, strict=True)
        ]
        return _joined(finished, dim=0)

    def _finish(self, x: Tensor, attention: Tensor) -> Tensor:
        x = self.ls1.add_to(x, attention)
        return self.ls2.add_to(x, self.mlp(self.norm2(x)))


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=dim)
