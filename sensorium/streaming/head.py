"""What may follow once a value depends on the whole window: recomputed on the ring each hop."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

POINTWISE_MODULES: tuple[type[nn.Module], ...] = (
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.AlphaDropout, nn.ReLU, nn.ReLU6, nn.LeakyReLU,
    nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardswish,
    nn.Hardsigmoid, nn.Softplus, nn.PReLU,
)  # fmt: skip
MODULES: tuple[type[nn.Module], ...] = (
    *POINTWISE_MODULES, nn.Flatten, nn.Unflatten, nn.Linear, nn.BatchNorm1d, nn.LayerNorm,
    nn.Softmax, nn.LogSoftmax, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d, nn.LSTM, nn.GRU, nn.RNN,
)  # fmt: skip
FUNCTIONS: frozenset[Any] = frozenset({
    operator.add, operator.iadd, operator.sub, operator.mul, operator.truediv, operator.neg,
    operator.getitem, operator.pow, torch.add, torch.sub, torch.mul, torch.div, torch.cat,
    torch.concat, torch.stack, torch.flatten, torch.squeeze, torch.unsqueeze, torch.transpose,
    torch.permute, torch.reshape, torch.mean, torch.sum, torch.amax, torch.amin, torch.max,
    torch.min, torch.std, torch.var, torch.logsumexp, torch.sqrt, torch.abs, torch.clamp,
    torch.relu, torch.sigmoid, torch.tanh, torch.softmax, torch.log_softmax, F.relu, F.relu6,
    F.leaky_relu, F.elu, F.selu, F.gelu, F.silu, F.mish, F.sigmoid, F.tanh, F.hardswish,
    F.hardsigmoid, F.hardtanh, F.softplus, F.softmax, F.log_softmax, F.linear, F.layer_norm,
    F.batch_norm, F.dropout, F.adaptive_avg_pool1d, F.adaptive_max_pool1d,
    torch.adaptive_avg_pool1d,
})  # fmt: skip
METHODS: frozenset[str] = frozenset({
    "add", "sub", "mul", "div", "pow", "flatten", "view", "reshape", "squeeze", "unsqueeze",
    "transpose", "permute", "contiguous", "mean", "sum", "amax", "amin", "max", "min", "std",
    "var", "logsumexp", "sqrt", "abs", "clamp", "relu", "sigmoid", "tanh", "softmax",
    "log_softmax", "expand", "expand_as", "clone", "detach",
})  # fmt: skip
SOFTMAXES: frozenset[Any] = frozenset(
    {F.softmax, F.log_softmax, torch.softmax, torch.log_softmax, "softmax", "log_softmax"}
)


def allowed(target: Any) -> bool:  # noqa: ANN401
    """Whether a module, function or method name may stand in the head."""
    if target is getattr:
        return True  # max(dim=-1).values; what else a tensor offers is computed as forward() does
    if isinstance(target, nn.Module):
        return isinstance(target, MODULES)
    return target in METHODS if isinstance(target, str) else target in FUNCTIONS
