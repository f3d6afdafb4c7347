"""From torch functions and tensor methods to trunk operators, like layers.py for modules."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812

from sensorium.streaming.layers import (
    Result,
    gelu_kind,
    glu,
    layer_norm,
    linear,
    one,
    prelu,
    softmax,
    softplus,
    upsample,
)
from sensorium.streaming.trunk import (
    Site,
    TrunkValue,
    channel_range,
    concatenate,
    convolution,
    pad,
    padding_fill,
    pointwise,
    pool,
    running_norm,
)


@dataclass(frozen=True)
class Call:
    """The arguments of a traced call: trunk values, and plain Python or tensors elsewhere."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def take(self, names: str, **defaults: Any) -> list[Any]:  # noqa: ANN401
        """Values of the named parameters in order, as the function's signature binds them."""
        values = []
        for index, name in enumerate(names.split()):
            if index < len(self.args):
                values.append(self.args[index])
            else:
                values.append(self.kwargs.get(name, defaults.get(name)))
        return values


def _conv1d(site: Site, call: Call) -> Result:
    x, weight, bias, stride, padding, dilation, groups = call.take(
        "input weight bias stride padding dilation groups",
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
    )
    span = (weight.shape[2] - 1) * one(dilation)
    if padding == "same":
        pads = (span // 2, span - span // 2)
    else:
        pads = (0, 0) if padding == "valid" else (one(padding), one(padding))
    return convolution(
        site,
        x,
        weight,
        bias,
        stride=one(stride),
        pads=pads,
        fill=0.0,
        dilation=one(dilation),
        groups=groups,
    )


def _max_pool1d(site: Site, call: Call) -> Result:
    x, kernel, stride, padding, dilation, ceil_mode, indices = call.take(
        "input kernel_size stride padding dilation ceil_mode return_indices", padding=0, dilation=1
    )
    if indices:
        site.refuse("returns indices of the window", "drop return_indices=True")
    return pool(
        site,
        x,
        "max",
        kernel=one(kernel),
        stride=one(stride) if stride else None,
        padding=one(padding),
        dilation=one(dilation),
        ceil_mode=bool(ceil_mode),
    )


def _avg_pool1d(site: Site, call: Call) -> Result:
    x, kernel, stride, padding, ceil_mode, include = call.take(
        "input kernel_size stride padding ceil_mode count_include_pad",
        padding=0,
        count_include_pad=True,
    )
    return pool(
        site,
        x,
        "avg",
        kernel=one(kernel),
        stride=one(stride) if stride else None,
        padding=one(padding),
        ceil_mode=bool(ceil_mode),
        count_include_pad=bool(include),
    )


def _pad(site: Site, call: Call) -> Result:
    x, amounts, mode, value = call.take("input pad mode value", mode="constant")
    fill = padding_fill(site, mode)
    if len(amounts) != 2 or x.layout != "BCT":
        site.refuse(f"pads {tuple(amounts)}, more than the time axis", "pad time only")
    return pad(site, x, amounts[0], amounts[1], float(value or 0.0) if fill == 0.0 else fill)


def _batch_norm(site: Site, call: Call) -> Result:
    x, mean, var, weight, bias, training, _, eps = call.take(
        "input running_mean running_var weight bias training momentum eps", eps=1e-5
    )
    if training:
        site.refuse("uses batch statistics (training=True)", "call module.eval()")
    return running_norm(site, x, mean=mean, var=var, weight=weight, bias=bias, eps=eps)


def _interpolate(site: Site, call: Call) -> Result:
    x, size, factor, mode = call.take("input size scale_factor mode", mode="nearest")
    return upsample(site, x, size, factor, mode)


def _dropout(site: Site, call: Call) -> Result:
    x, _, training = call.take("input p training", training=True)
    if training:
        site.refuse("drops values at random (training=True)", "pass training=self.training")
    return x  # type: ignore[no-any-return]


def _layer_norm(site: Site, call: Call) -> Result:
    x, shape, weight, bias, eps = call.take("input normalized_shape weight bias eps", eps=1e-5)
    return layer_norm(site, x, shape, weight, bias, eps)


def _cat(site: Site, call: Call) -> Result:
    values, dim = call.take("tensors dim", dim=0)
    if not all(isinstance(value, TrunkValue) for value in values):
        return None
    if dim % 3 != (1 if values[0].layout == "BCT" else 2):
        site.refuse(f"concatenates along axis {dim}, not channels", "concatenate channels")
    return concatenate(site, values)


def _chunk(site: Site, call: Call) -> Result:
    x, count, dim = call.take("input chunks dim", dim=0)
    total = site.node(x).channels
    size = -(-total // count)
    return _pieces(site, x, [min(size, total - at) for at in range(0, total, size)], dim)


def _split(site: Site, call: Call) -> Result:
    x, sizes, dim = call.take("tensor split_size_or_sections dim", dim=0)
    total = site.node(x).channels
    if isinstance(sizes, int):
        sizes = [min(sizes, total - at) for at in range(0, total, sizes)]
    return _pieces(site, x, sizes, dim)


def _pieces(site: Site, x: TrunkValue, sizes: Sequence[int], dim: int) -> Result:
    if dim % 3 != (1 if x.layout == "BCT" else 2):
        site.refuse(f"splits along axis {dim}, not channels", "split channels")
    bounds = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    return tuple(channel_range(site, x, a, b) for a, b in itertools.pairwise(bounds))


def _transpose(site: Site, call: Call) -> Result:
    x, a, b = call.take("input dim0 dim1")
    if {a % 3, b % 3} != {1, 2}:
        site.refuse(f"exchanges axes {a} and {b}", "leave the batch axis in place")
    return TrunkValue(x.node, "BTC" if x.layout == "BCT" else "BCT")


def _permute(site: Site, call: Call) -> Result:
    axes = call.args[1] if isinstance(call.args[1], (tuple, list)) else call.args[1:]
    x: TrunkValue = call.args[0]
    if tuple(axis % 3 for axis in axes) == (0, 1, 2):
        return x
    return _transpose(site, Call((x, axes[1] % 3, axes[2] % 3 if axes[0] % 3 == 0 else 0), {}))


def _softmax(kind: str) -> Callable[[Site, Call], Result]:
    def translate(site: Site, call: Call) -> Result:
        x, dim = call.take("input dim")
        return softmax(site, x, dim, kind)

    return translate


def _unary(kind: str) -> Callable[[Site, Call], Result]:
    return lambda site, call: pointwise(site, call.args[0], kind)


def _setting(kind: str, names: str, **defaults: Any) -> Callable[[Site, Call], Result]:  # noqa: ANN401
    def translate(site: Site, call: Call) -> Result:
        x, *numbers = call.take("input " + names, **defaults)
        low_high = (-float("inf"), float("inf"))
        filled = [low_high[i] if n is None else n for i, n in enumerate(numbers)]
        return pointwise(site, x, kind, *filled)

    return translate


_CLAMP = _setting("clamp", "min max")
FUNCTIONS: dict[Any, Callable[[Site, Call], Result]] = {
    F.conv1d: _conv1d,
    F.max_pool1d: _max_pool1d,
    torch.max_pool1d: _max_pool1d,
    F.avg_pool1d: _avg_pool1d,
    F.pad: _pad,
    F.batch_norm: _batch_norm,
    F.interpolate: _interpolate,
    F.dropout: _dropout,
    F.layer_norm: _layer_norm,
    F.linear: lambda s, c: linear(s, *c.take("input weight bias")),
    F.softmax: _softmax("softmax"),
    F.log_softmax: _softmax("log_softmax"),
    torch.softmax: _softmax("softmax"),
    torch.log_softmax: _softmax("log_softmax"),
    F.glu: lambda s, c: glu(s, *c.take("input dim", dim=-1)),
    F.prelu: lambda s, c: prelu(s, *c.take("input weight")),
    torch.cat: _cat,
    torch.concat: _cat,
    torch.chunk: _chunk,
    torch.split: _split,
    torch.transpose: _transpose,
    torch.swapaxes: _transpose,
    torch.permute: _permute,
    torch.clamp: _CLAMP,
    torch.abs: _unary("abs"),
    torch.neg: _unary("neg"),
    torch.sqrt: _unary("sqrt"),
    operator.neg: _unary("neg"),
    torch.sigmoid: _unary("sigmoid"),
    F.sigmoid: _unary("sigmoid"),
    torch.tanh: _unary("tanh"),
    F.tanh: _unary("tanh"),
    torch.relu: _unary("relu"),
    F.relu: _unary("relu"),
    F.relu6: _unary("relu6"),
    F.leaky_relu: _setting("leaky_relu", "negative_slope", negative_slope=0.01),
    F.elu: _setting("elu", "alpha", alpha=1.0),
    F.selu: _unary("selu"),
    F.gelu: lambda s, c: pointwise(
        s, c.args[0], gelu_kind(c.take("input approximate", approximate="none")[1])
    ),
    F.silu: _unary("silu"),
    F.mish: _unary("mish"),
    F.hardswish: _unary("hardswish"),
    F.hardsigmoid: _unary("hardsigmoid"),
    F.hardtanh: _setting("clamp", "min_val max_val", min_val=-1.0, max_val=1.0),
    F.softplus: lambda s, c: softplus(s, *c.take("input beta threshold", beta=1.0, threshold=20.0)),
}
METHODS: dict[str, Callable[[Site, Call], Result]] = {
    "relu": _unary("relu"),
    "relu_": _unary("relu"),
    "sigmoid": _unary("sigmoid"),
    "tanh": _unary("tanh"),
    "abs": _unary("abs"),
    "neg": _unary("neg"),
    "sqrt": _unary("sqrt"),
    "clamp": _CLAMP,
    "softmax": FUNCTIONS[torch.softmax],
    "log_softmax": FUNCTIONS[torch.log_softmax],
    "chunk": _chunk,
    "split": _split,
    "transpose": _transpose,
    "swapaxes": _transpose,
    "permute": _permute,
    "contiguous": lambda s, c: c.args[0],
    "clone": lambda s, c: c.args[0],
    "detach": lambda s, c: c.args[0],
}
