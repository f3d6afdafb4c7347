"""Builds trunk operators from layer settings; every refusal about a single layer is here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, NoReturn

import torch
from torch import Tensor

from sensorium.streaming.errors import NotStreamableError
from sensorium.streaming.operators import (
    Convolution,
    Fill,
    Input,
    Operator,
    Pointwise,
    Pool,
    Repeat,
    Shift,
    Stride,
    Taps,
    TrunkNode,
)

Layout = Literal["BCT", "BTC"]


@dataclass(frozen=True)
class TrunkValue:
    """A time-local tensor: which trunk node it is, and which axis is time."""

    node: int
    layout: Layout = "BCT"


@dataclass
class Trunk:
    """The trunk nodes in topological order; node 0 is the input."""

    nodes: list[TrunkNode] = field(default_factory=list)

    def begin(self, channels: int, window: int) -> TrunkValue:
        """Adds the input node of ``channels`` x ``window`` samples."""
        self.nodes.append(TrunkNode("input", Input(), (), channels, window, Fraction(1)))
        return TrunkValue(0)


@dataclass(frozen=True)
class Site:
    """One layer call under translation: names it in refusals and appends its operators."""

    layer: str
    trunk: Trunk

    def refuse(self, problem: str, remedy: str) -> NoReturn:
        """Raises NotStreamableError for this layer."""
        raise NotStreamableError(self.layer, problem, remedy)

    def node(self, value: TrunkValue) -> TrunkNode:
        """The trunk node behind ``value``."""
        return self.trunk.nodes[value.node]

    def emit(
        self,
        op: Operator,
        inputs: Sequence[TrunkValue],
        *,
        channels: int | None = None,
        length: int | None = None,
        stride: Fraction | None = None,
    ) -> TrunkValue:
        """Appends an operator; what is not given is taken from the first input."""
        first = self.node(inputs[0])
        length = first.length if length is None else length
        if length < 1:
            self.refuse(f"leaves {length} positions of {first.length}", "enlarge the window")
        self.trunk.nodes.append(
            TrunkNode(
                self.layer,
                op,
                tuple(value.node for value in inputs),
                first.channels if channels is None else channels,
                length,
                first.stride if stride is None else stride,
            )
        )
        return TrunkValue(len(self.trunk.nodes) - 1, inputs[0].layout)

    def time_last(self, x: TrunkValue) -> None:
        """Refuses a layer that would slide along the channel axis."""
        if x.layout != "BCT":
            self.refuse(
                "slides along the channels of a (batch, time, channels) tensor",
                "transpose back to (batch, channels, time) before it",
            )

    def windowed(self, op: Convolution | Pool, x: TrunkValue, channels: int) -> TrunkValue:
        """Appends a convolution or a pool with its new length and stride."""
        self.time_last(x)
        taps, source = op.taps, self.node(x)
        padded = source.length + taps.pad_left + taps.pad_right
        length = (padded - taps.span - 1) // taps.stride + 1
        return self.emit(
            op, [x], channels=channels, length=length, stride=source.stride * taps.stride
        )


def padding_fill(site: Site, mode: str) -> Fill:
    """The fill of a padding mode; refuses those that read samples from elsewhere in the window."""
    if mode in ("zeros", "constant"):
        return 0.0
    if mode == "replicate":
        return "edge"
    site.refuse(
        f"padding mode '{mode}' mirrors or wraps samples of the window into its border",
        "use zero, causal or replicate padding and retrain",
    )


def convolution(
    site: Site,
    x: TrunkValue,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: int,
    pads: tuple[int, int],
    fill: Fill,
    dilation: int,
    groups: int,
) -> TrunkValue:
    """Conv1d with weight (out, in / groups, kernel)."""
    if weight.dim() != 3:
        site.refuse(f"has a {weight.dim() - 2}-dimensional kernel", "use Conv1d")
    taps = Taps(weight.shape[2], stride, dilation, pads[0], pads[1], fill)
    held = None if bias is None else bias.detach()
    return site.windowed(Convolution(taps, groups, weight.detach(), held), x, weight.shape[0])


def pool(
    site: Site,
    x: TrunkValue,
    kind: Literal["max", "avg"],
    *,
    kernel: int,
    stride: int | None,
    padding: int,
    dilation: int = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> TrunkValue:
    """MaxPool1d or AvgPool1d."""
    if ceil_mode:
        site.refuse(
            f"ceil_mode=True pools a partial group at the right edge (kernel {kernel})",
            "set ceil_mode=False, or pad explicitly",
        )
    stride = kernel if stride is None else stride
    taps = Taps(kernel, stride, dilation, padding, padding)
    if kind == "avg":
        fixed = divisor if divisor is not None else (kernel if count_include_pad else None)
        return site.windowed(Pool(taps, "avg", fixed), x, site.node(x).channels)
    return site.windowed(Pool(taps, "max"), x, site.node(x).channels)


def affine(site: Site, x: TrunkValue, scale: Tensor, shift: Tensor) -> TrunkValue:
    """Per-channel scale and shift."""
    site.time_last(x)
    return site.emit(Pointwise("affine", tensors=(scale.detach(), shift.detach())), [x])


def running_norm(
    site: Site,
    x: TrunkValue,
    *,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> TrunkValue:
    """BatchNorm or InstanceNorm in eval mode, from running statistics."""
    if mean is None or var is None:
        site.refuse(
            "normalises by statistics of the whole window (no running statistics)",
            "use BatchNorm1d or track_running_stats=True, or LayerNorm over channels, and retrain",
        )
    scale = 1.0 / torch.sqrt(var.detach() + eps)
    if weight is not None:
        scale = scale * weight.detach()
    shift = -mean.detach() * scale
    if bias is not None:
        shift = shift + bias.detach()
    return affine(site, x, scale, shift)


def pointwise(site: Site, x: TrunkValue, kind: str, *numbers: float) -> TrunkValue:
    """A function of one input, such as an activation."""
    return site.emit(Pointwise(kind, tuple(float(n) for n in numbers)), [x])


def channel_range(site: Site, x: TrunkValue, start: int, stop: int) -> TrunkValue:
    """Channels start .. stop-1."""
    return site.emit(Pointwise("channels", (float(start), float(stop))), [x], channels=stop - start)


def combine(site: Site, kind: str, a: TrunkValue, b: TrunkValue) -> TrunkValue:
    """Element-wise function of two trunk values on the same grid of positions."""
    same_grid(site, [a, b])
    channels = max(site.node(a).channels, site.node(b).channels)
    return site.emit(Pointwise(kind), [a, b], channels=channels)


def concatenate(site: Site, values: Sequence[TrunkValue]) -> TrunkValue:
    """Concatenation along channels."""
    same_grid(site, values)
    total = sum(site.node(value).channels for value in values)
    return site.emit(Pointwise("cat"), list(values), channels=total)


def same_grid(site: Site, values: Sequence[TrunkValue]) -> None:
    """Refuses branches whose positions do not line up."""
    nodes = [site.node(value) for value in values]
    if len({value.layout for value in values}) > 1:
        site.refuse("joins (batch, channels, time) with (batch, time, channels)", "transpose one")
    if len({node.stride for node in nodes}) > 1:
        strides = " and ".join(str(node.stride) for node in nodes)
        site.refuse(
            f"joins branches of total stride {strides} samples",
            "give both branches the same total stride",
        )
    if len({node.length for node in nodes}) > 1:
        lengths = " and ".join(str(node.length) for node in nodes)
        site.refuse(f"joins branches of {lengths} positions", "pad or crop them to one length")


def pad(site: Site, x: TrunkValue, left: int, right: int, fill: Fill) -> TrunkValue:
    """Explicit padding (negative amounts crop)."""
    length = site.node(x).length + left + right
    return site.emit(Shift(-left, fill), [x], length=length)


def crop(site: Site, x: TrunkValue, start: int, stop: int, step: int) -> TrunkValue:
    """Positions start, start + step, ... below stop, all counted from the left."""
    out = site.emit(Shift(start), [x], length=max(stop, start) - start)
    if step == 1:
        return out
    source = site.node(out)
    length = -(-source.length // step)
    return site.emit(Stride(step), [out], length=length, stride=source.stride * step)


def repeat(site: Site, x: TrunkValue, factor: int) -> TrunkValue:
    """Nearest-neighbour upsampling by a whole factor."""
    site.time_last(x)
    source = site.node(x)
    return site.emit(
        Repeat(factor), [x], length=source.length * factor, stride=source.stride / factor
    )
