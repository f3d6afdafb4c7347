"""From torch modules to trunk operators.

``MODULES`` maps a layer type to a translator ``(site, module, x) -> TrunkValue | None``; None means
"not local in time", so that the call belongs to the head. What is in no table is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.streaming.operators import Fill, Pointwise
from sensorium.streaming.trunk import (
    Site,
    TrunkValue,
    channel_range,
    combine,
    convolution,
    pad,
    padding_fill,
    pointwise,
    pool,
    repeat,
    running_norm,
)

Scale = float | Sequence[float]
Result = TrunkValue | tuple[TrunkValue, ...] | None
"""What a translator returns; a tuple for layers with several outputs."""


def one(value: Any) -> int:  # noqa: ANN401
    """The integer in ``5`` or ``(5,)``."""
    return int(value[0] if isinstance(value, (tuple, list)) else value)


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
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
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
    size: Scale | None,
    factor: Scale | None,
    mode: str,
) -> TrunkValue:
    """Nearest upsampling by a whole factor."""
    length = site.node(x).length
    if size is not None:
        scale = one(size) / length
    else:
        scale = float(factor[0] if isinstance(factor, (tuple, list)) else factor)  # type: ignore[arg-type]
    if mode != "nearest" or scale != int(scale) or scale < 1:
        site.refuse(
            f"interpolates ({mode}, factor {scale:g}), which looks ahead or moves with the window",
            "use nearest upsampling by a whole factor",
        )
    return repeat(site, x, int(scale))


def _pad_module(site: Site, m: Any, x: TrunkValue) -> TrunkValue:  # noqa: ANN401
    left, right = m.padding
    fill: Fill = float(getattr(m, "value", 0.0))
    if isinstance(m, nn.ReplicationPad1d):
        fill = "edge"
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


def gelu_kind(approximate: str) -> str:
    """The pointwise kind of a GELU variant."""
    return "gelu_tanh" if approximate == "tanh" else "gelu"


def softplus(site: Site, x: TrunkValue, beta: float, threshold: float) -> TrunkValue:
    """Softplus with torch's default settings only."""
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
    nn.GELU: lambda s, m, x: pointwise(s, x, gelu_kind(m.approximate)),
    nn.SiLU: _act("silu"),
    nn.Mish: _act("mish"),
    nn.Sigmoid: _act("sigmoid"),
    nn.Tanh: _act("tanh"),
    nn.Hardtanh: _act("clamp", "min_val", "max_val"),
    nn.Hardswish: _act("hardswish"),
    nn.Hardsigmoid: _act("hardsigmoid"),
    nn.Softplus: lambda s, m, x: softplus(s, x, m.beta, m.threshold),
}
