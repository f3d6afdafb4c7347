"""From torch layers and functions to trunk operators.

``MODULES`` and ``FUNCTIONS`` map a layer type or a function to a translator
``(site, call) -> TrunkValue | tuple | None``; None means "not local in time", so that the call
belongs to the head. Anything in neither table and not in head.py is refused.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from sensorium.streaming.operators import Pointwise
from sensorium.streaming.trunk import (
    Site,
    TrunkValue,
    channel_range,
    combine,
    concatenate,
    convolution,
    pad,
    padding_fill,
    pointwise,
    pool,
    repeat,
    running_norm,
)

Result = TrunkValue | tuple[TrunkValue, ...] | None


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


def one(value: Any) -> int:  # noqa: ANN401
    """The integer in ``5`` or ``(5,)``."""
    return int(value[0] if isinstance(value, (tuple, list)) else value)


# --- modules ------------------------------------------------------------------------------------


def _conv_module(site: Site, m: nn.Conv1d, x: TrunkValue) -> TrunkValue:
    left, right = m._reversed_padding_repeated_twice[:2]
    return convolution(
        site,
        x,
        m.weight,
        m.bias,
        stride=m.stride[0],
        pads=(int(left), int(right)),
        fill=padding_fill(site, m.padding_mode) if left or right else 0.0,
        dilation=m.dilation[0],
        groups=m.groups,
    )


def _max_pool_module(site: Site, m: nn.MaxPool1d, x: TrunkValue) -> TrunkValue:
    return pool(
        site,
        x,
        "max",
        kernel=one(m.kernel_size),
        stride=one(m.stride),
        padding=one(m.padding),
        dilation=one(m.dilation),
        ceil_mode=m.ceil_mode,
    )


def _avg_pool_module(site: Site, m: nn.AvgPool1d, x: TrunkValue) -> TrunkValue:
    return pool(
        site,
        x,
        "avg",
        kernel=one(m.kernel_size),
        stride=one(m.stride),
        padding=one(m.padding),
        ceil_mode=m.ceil_mode,
        count_include_pad=m.count_include_pad,
    )


def _norm_module(site: Site, m: nn.BatchNorm1d | nn.InstanceNorm1d, x: TrunkValue) -> TrunkValue:
    return running_norm(
        site,
        x,
        mean=m.running_mean,
        var=m.running_var,
        weight=m.weight,
        bias=m.bias,
        eps=m.eps,
    )


def layer_norm(
    site: Site,
    x: TrunkValue,
    shape: Sequence[int],
    weight: Any,
    bias: Any,
    eps: float,  # noqa: ANN401
) -> TrunkValue:
    """LayerNorm over the channels of a (batch, time, channels) tensor; over time it is refused."""
    if x.layout != "BTC" or len(shape) != 1:
        site.refuse(
            f"normalises over {tuple(shape)}, which includes the {site.node(x).length} positions "
            "of the window",
            "normalise over channels only (transpose to (batch, time, channels) first)",
        )
    tensors: tuple[Tensor, ...] = ()
    if weight is not None:
        shift = torch.zeros_like(weight) if bias is None else bias
        tensors = (weight.detach(), shift.detach())
    return site.emit(Pointwise("layer_norm", (float(eps),), tensors), [x])


def linear(site: Site, x: TrunkValue, weight: Tensor, bias: Tensor | None) -> Result:
    """Linear over channels is a kernel-1 convolution; over time it belongs to the head."""
    if x.layout != "BTC":
        return None
    as_conv = TrunkValue(x.node)
    out = convolution(
        site,
        as_conv,
        weight.unsqueeze(-1),
        bias,
        stride=1,
        pads=(0, 0),
        fill=0.0,
        dilation=1,
        groups=1,
    )
    return TrunkValue(out.node, "BTC")


def softmax(site: Site, x: TrunkValue, dim: int | None, kind: str) -> TrunkValue:
    """Softmax over channels; over time or batch it is refused."""
    axis = {None: 0, -3: 0, -2: 1, -1: 2}.get(dim, dim)
    if axis != (1 if x.layout == "BCT" else 2):
        over = "the batch" if axis == 0 else f"the {site.node(x).length} positions of the window"
        site.refuse(f"is a softmax over {over}", "take it over channels, or pool with mean or max")
    return pointwise(site, x, kind)


def upsample(
    site: Site,
    x: TrunkValue,
    size: Any,
    factor: Any,
    mode: str,  # noqa: ANN401
) -> TrunkValue:
    """Nearest upsampling by a whole factor."""
    length = site.node(x).length
    scale = (
        one(size) / length
        if size is not None
        else float(factor[0] if isinstance(factor, (tuple, list)) else factor)
    )
    if mode != "nearest" or scale != int(scale) or scale < 1:
        site.refuse(
            f"interpolates ({mode}, factor {scale:g}), which looks ahead or moves with the window",
            "use nearest upsampling by a whole factor",
        )
    return repeat(site, x, int(scale))


def _pad_module(site: Site, m: Any, x: TrunkValue) -> TrunkValue:  # noqa: ANN401
    left, right = m.padding
    fill = "edge" if isinstance(m, nn.ReplicationPad1d) else float(getattr(m, "value", 0.0))
    return pad(site, x, left, right, fill)


def glu(site: Site, x: TrunkValue, dim: int) -> TrunkValue:
    """Gated linear unit over channels."""
    if dim % 3 != (1 if x.layout == "BCT" else 2):
        site.refuse(f"gates along axis {dim}, not channels", "use the channel axis")
    half = site.node(x).channels // 2
    gate = pointwise(site, channel_range(site, x, half, 2 * half), "sigmoid")
    return combine(site, "mul", channel_range(site, x, 0, half), gate)


def prelu(site: Site, x: TrunkValue, weight: Tensor) -> TrunkValue:
    """PReLU with one slope or one per channel."""
    if x.layout != "BCT" and weight.numel() > 1:
        site.refuse("applies slopes along time", "transpose to (batch, channels, time)")
    slopes = weight.detach().expand(site.node(x).channels).contiguous()
    return site.emit(Pointwise("prelu", tensors=(slopes,)), [x])


def _act(kind: str, *settings: str) -> Callable[[Site, Any, TrunkValue], TrunkValue]:
    def translate(site: Site, m: Any, x: TrunkValue) -> TrunkValue:  # noqa: ANN401
        return pointwise(site, x, kind, *(float(getattr(m, name)) for name in settings))

    return translate


def _gelu_kind(approximate: str) -> str:
    return "gelu_tanh" if approximate == "tanh" else "gelu"


def _softplus(site: Site, x: TrunkValue, beta: float, threshold: float) -> TrunkValue:
    if beta != 1 or threshold != 20:
        site.refuse(f"has beta {beta}, threshold {threshold}", "use the defaults 1 and 20")
    return pointwise(site, x, "softplus")


MODULES: dict[type, Callable[[Site, Any, TrunkValue], Result]] = {
    nn.Conv1d: _conv_module,
    nn.MaxPool1d: _max_pool_module,
    nn.AvgPool1d: _avg_pool_module,
    nn.BatchNorm1d: _norm_module,
    nn.InstanceNorm1d: _norm_module,
    nn.LayerNorm: lambda s, m, x: layer_norm(s, x, m.normalized_shape, m.weight, m.bias, m.eps),
    nn.Linear: lambda s, m, x: linear(s, x, m.weight, m.bias),
    nn.Softmax: lambda s, m, x: softmax(s, x, m.dim, "softmax"),
    nn.LogSoftmax: lambda s, m, x: softmax(s, x, m.dim, "log_softmax"),
    nn.Upsample: lambda s, m, x: upsample(s, x, m.size, m.scale_factor, m.mode),
    nn.ConstantPad1d: _pad_module,
    nn.ZeroPad1d: _pad_module,
    nn.ReplicationPad1d: _pad_module,
    nn.GLU: lambda s, m, x: glu(s, x, m.dim),
    nn.PReLU: lambda s, m, x: prelu(s, x, m.weight),
    nn.Identity: lambda s, m, x: x,
    nn.Dropout: lambda s, m, x: x,
    nn.Dropout1d: lambda s, m, x: x,
    nn.AlphaDropout: lambda s, m, x: x,
    nn.ReLU: _act("relu"),
    nn.ReLU6: _act("relu6"),
    nn.LeakyReLU: _act("leaky_relu", "negative_slope"),
    nn.ELU: _act("elu", "alpha"),
    nn.SELU: _act("selu"),
    nn.GELU: lambda s, m, x: pointwise(s, x, _gelu_kind(m.approximate)),
    nn.SiLU: _act("silu"),
    nn.Mish: _act("mish"),
    nn.Sigmoid: _act("sigmoid"),
    nn.Tanh: _act("tanh"),
    nn.Hardtanh: _act("clamp", "min_val", "max_val"),
    nn.Hardswish: _act("hardswish"),
    nn.Hardsigmoid: _act("hardsigmoid"),
    nn.Softplus: lambda s, m, x: _softplus(s, x, m.beta, m.threshold),
}

# --- functions and methods ----------------------------------------------------------------------


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
    return tuple(channel_range(site, x, a, b) for a, b in zip(bounds[:-1], bounds[1:], strict=True))


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
    F.softmax: lambda s, c: softmax(s, *c.take("input dim"), "softmax"),
    F.log_softmax: lambda s, c: softmax(s, *c.take("input dim"), "log_softmax"),
    torch.softmax: lambda s, c: softmax(s, *c.take("input dim"), "softmax"),
    torch.log_softmax: lambda s, c: softmax(s, *c.take("input dim"), "log_softmax"),
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
        s, c.args[0], _gelu_kind(c.take("input approximate", approximate="none")[1])
    ),
    F.silu: _unary("silu"),
    F.mish: _unary("mish"),
    F.hardswish: _unary("hardswish"),
    F.hardsigmoid: _unary("hardsigmoid"),
    F.hardtanh: _setting("clamp", "min_val max_val", min_val=-1.0, max_val=1.0),
    F.softplus: lambda s, c: _softplus(
        s, *c.take("input beta threshold", beta=1.0, threshold=20.0)
    ),
}
METHODS: dict[str, Callable[[Site, Call], Result]] = {
    "relu": _unary("relu"),
    "relu_": _unary("relu"),
    "sigmoid": _unary("sigmoid"),
    "tanh": _unary("tanh"),
    "abs": _unary("abs"),
    "neg": _unary("neg"),
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
