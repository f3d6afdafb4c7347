"""Two-dimensional rotary position embedding with tables kept per grid."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor


class RotaryTable(NamedTuple):
    """Rotation of every token of one view.

    Attributes:
        cos: (P, head_dim).
        sin: (P, head_dim), with the sign of the rotation in it: negative for the first half of
            each axis' channels, whose partner is subtracted.
    """

    cos: Tensor
    sin: Tensor


@functools.lru_cache(maxsize=16)
def rotary_table(
    grid: tuple[int, int],
    special_tokens: int,
    *,
    head_dim: int,
    base: float,
    device: torch.device,
    dtype: torch.dtype,
) -> RotaryTable:
    """Rotation table of one view: special tokens first, then the patches row by row.

    Half of a head's channels turn with the row, half with the column. Patch (row, column) counts
    from 1; special tokens stand at (0, 0) and are not turned. There is no view index: which view
    a token belongs to is not encoded (OmniVGGT as published; RoPE: Su et al. 2021).

    Args:
        grid: (rows, columns) of patches.
        special_tokens: Tokens before the patches.
        head_dim: Channels of an attention head, a multiple of 4.
        base: Frequency base.
        device: Where the table lies.
        dtype: Its floating dtype. Angles are computed in float32, as the published code does.

    Returns:
        The table, kept for the next call with the same arguments (at most 16 tables).
    """
    with torch.inference_mode(False), torch.no_grad():
        rows, columns = grid
        axis_dim = head_dim // 2
        row = torch.arange(1, rows + 1).repeat_interleave(columns)
        column = torch.arange(1, columns + 1).repeat(rows)
        position = torch.stack([row, column], dim=1)
        position = torch.cat([torch.zeros(special_tokens, 2, dtype=torch.int64), position])
        frequency = 1.0 / (base ** (torch.arange(0, axis_dim, 2).float() / axis_dim))
        angle = (position[..., None].float() * frequency).to(dtype)  # (P, axis, axis_dim / 2)
        cos = torch.cat([angle.cos(), angle.cos()], dim=-1).flatten(1)
        sin = torch.cat([-angle.sin(), angle.sin()], dim=-1).flatten(1)
        return RotaryTable(cos.to(device), sin.to(device))


def rotate(x: Tensor, table: RotaryTable) -> Tensor:
    """Turns queries or keys by their tokens' positions.

    Args:
        x: (..., P, head_dim).
        table: Table of the P tokens.

    Returns:
        Same shape; in each axis' half of the channels, channel k is paired with k + head_dim/4.
    """
    partner = torch.unflatten(x, -1, (2, 2, -1)).flip(-2).flatten(-3)
    return torch.addcmul(partner * table.sin, x, table.cos)
