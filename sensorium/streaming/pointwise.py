"""Functions of the channels at one position, on tensors (..., channels)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from sensorium.streaming.operators import Pointwise

_Unary = Callable[[Tensor, tuple[float, ...]], Tensor]

UNARY: dict[str, _Unary] = {
    "relu": lambda x, n: F.relu(x),
    "relu6": lambda x, n: F.relu6(x),
    "leaky_relu": lambda x, n: F.leaky_relu(x, n[0]),
    "elu": lambda x, n: F.elu(x, n[0]),
    "selu": lambda x, n: F.selu(x),
    "gelu": lambda x, n: F.gelu(x),
    "gelu_tanh": lambda x, n: F.gelu(x, approximate="tanh"),
    "silu": lambda x, n: F.silu(x),
    "mish": lambda x, n: F.mish(x),
    "sigmoid": lambda x, n: torch.sigmoid(x),
    "tanh": lambda x, n: torch.tanh(x),
    "clamp": lambda x, n: torch.clamp(x, n[0], n[1]),
    "hardswish": lambda x, n: F.hardswish(x),
    "hardsigmoid": lambda x, n: F.hardsigmoid(x),
    "softplus": lambda x, n: F.softplus(x),
    "abs": lambda x, n: torch.abs(x),
    "neg": lambda x, n: torch.neg(x),
    "sqrt": lambda x, n: torch.sqrt(x),
    "softmax": lambda x, n: torch.softmax(x, -1),
    "log_softmax": lambda x, n: torch.log_softmax(x, -1),
    "channels": lambda x, n: x[..., int(n[0]) : int(n[1])],
    "add_number": lambda x, n: x + n[0],
    "mul_number": lambda x, n: x * n[0],
    "div_number": lambda x, n: x / n[0],
    "number_sub": lambda x, n: n[0] - x,
}
"""Kinds of one input whose ``numbers`` are their settings."""

BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
}

CHANNEL_CONSTANT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add_channels": torch.add,
    "mul_channels": torch.mul,
}


def apply_pointwise(op: Pointwise, xs: Sequence[Tensor]) -> Tensor:  # noqa: PLR0911
    """Applies ``op`` to tensors (..., channels); several inputs share all leading axes.

    Raises:
        KeyError: the kind is unknown.
    """
    x = xs[0]
    if op.kind in UNARY:
        return UNARY[op.kind](x, op.numbers)
    if op.kind in BINARY:
        return BINARY[op.kind](x, xs[1])
    if op.kind in CHANNEL_CONSTANT:
        return CHANNEL_CONSTANT[op.kind](x, op.tensors[0])
    if op.kind == "cat":
        return torch.cat(list(xs), dim=-1)
    if op.kind == "affine":
        return x * op.tensors[0] + op.tensors[1]
    if op.kind == "prelu":
        return torch.where(x >= 0, x, x * op.tensors[0])
    if op.kind == "layer_norm":
        weight, bias = (op.tensors[0], op.tensors[1]) if op.tensors else (None, None)
        return F.layer_norm(x, (x.shape[-1],), weight, bias, op.numbers[0])
    raise KeyError(op.kind)
