"""Element-wise arithmetic and indexing of trunk values: ``x + y``, ``x * 0.5``, ``x[..., :-2]``."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from sensorium.streaming.operators import Pointwise
from sensorium.streaming.trunk import Site, TrunkValue, channel_range, combine, crop, pointwise

KINDS: dict[Any, str] = {
    operator.add: "add",
    operator.iadd: "add",
    torch.add: "add",
    "add": "add",
    "add_": "add",
    operator.sub: "sub",
    operator.isub: "sub",
    torch.sub: "sub",
    "sub": "sub",
    operator.mul: "mul",
    operator.imul: "mul",
    torch.mul: "mul",
    "mul": "mul",
    "mul_": "mul",
    operator.truediv: "div",
    operator.itruediv: "div",
    torch.div: "div",
    "div": "div",
    torch.maximum: "maximum",
    torch.minimum: "minimum",
}


def binary(site: Site, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
    """``args[0] kind args[1]``, at least one a trunk value; None when it is not local in time."""
    if any(kwargs.values()):
        site.refuse(f"has settings {kwargs}", "write the scaling as a separate multiplication")
    a, b = args
    if isinstance(a, TrunkValue) and isinstance(b, TrunkValue):
        lengths = site.node(a).length, site.node(b).length
        if lengths[0] != lengths[1] and 1 in lengths:
            return None
        return combine(site, kind, a, b)
    if isinstance(a, TrunkValue):
        return _with_constant(site, kind, a, b, reverse=False)
    return _with_constant(site, kind, b, a, reverse=True)


def _with_constant(site: Site, kind: str, x: TrunkValue, constant: Any, *, reverse: bool) -> Any:  # noqa: ANN401
    if kind not in ("add", "sub", "mul", "div"):
        site.refuse(f"takes the {kind} with a constant", "use clamp")
    if isinstance(constant, Tensor) and constant.numel() == 1:
        constant = constant.item()
    if isinstance(constant, Tensor):
        return _with_channels(site, kind, x, constant, reverse=reverse)
    value = float(constant)
    if reverse and kind == "div":
        site.refuse("divides by the signal", "multiply by a constant")
    if reverse and kind == "sub":
        return pointwise(site, x, "number_sub", value)
    if kind == "sub":
        return pointwise(site, x, "add_number", -value)
    return pointwise(site, x, f"{kind}_number", value)


def _with_channels(site: Site, kind: str, x: TrunkValue, constant: Tensor, *, reverse: bool) -> Any:  # noqa: ANN401
    shape = (1,) * (3 - constant.dim()) + tuple(constant.shape)
    channel_axis, time_axis = (1, 2) if x.layout == "BCT" else (2, 1)
    if len(shape) != 3 or shape[0] != 1:
        site.refuse(f"combines with a constant of shape {tuple(constant.shape)}", "use (C, 1)")
    if shape[time_axis] != 1:
        return None
    values = constant.detach().reshape(-1).expand(site.node(x).channels).contiguous()
    if kind in ("sub", "div"):
        if reverse:
            site.refuse(f"is a constant {kind} signal", "write it as signal times constant")
        values, kind = (-values, "add") if kind == "sub" else (1.0 / values, "mul")
    if shape[channel_axis] not in (1, site.node(x).channels):
        site.refuse(f"broadcasts {shape} over channels", "use (C, 1)")
    return site.emit(Pointwise(f"{kind}_channels", tensors=(values,)), [x])


def _keys(key: Any) -> list[Any]:  # noqa: ANN401
    keys = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in [k for k in keys if not isinstance(k, Tensor)]:
        at = keys.index(Ellipsis)
        keys[at : at + 1] = [slice(None)] * (4 - len(keys))
    return keys + [slice(None)] * (3 - len(keys))


def one_position(site: Site, x: TrunkValue, key: Any) -> TrunkValue | None:  # noqa: ANN401
    """The single position of ``x[:, :, 3]`` or ``x[:, -1]`` as a crop, else None."""
    keys = _keys(key)
    time_axis = 2 if x.layout == "BCT" else 1
    whole = [k for axis, k in enumerate(keys) if axis != time_axis]
    position = keys[time_axis] if len(keys) == 3 else None
    if not isinstance(position, int) or any(k != slice(None) for k in whole):
        return None
    position %= site.node(x).length
    return crop(site, x, position, position + 1, 1)


def index(site: Site, x: TrunkValue, key: Any) -> Any:  # noqa: ANN401
    """``x[key]``: channel ranges and time crops; None when it is not local in time."""
    keys = _keys(key)
    if len(keys) != 3 or not all(isinstance(k, slice) for k in keys):
        return None
    if keys[0] != slice(None):
        site.refuse("indexes the batch axis", "leave the batch axis whole")
    channel_key, time_key = (keys[1], keys[2]) if x.layout == "BCT" else (keys[2], keys[1])
    node = site.node(x)
    start, stop, step = channel_key.indices(node.channels)
    if step != 1:
        site.refuse(f"takes every {step}th channel", "reorder channels in a layer")
    out = x if (start, stop) == (0, node.channels) else channel_range(site, x, start, stop)
    start, stop, step = time_key.indices(node.length)
    if step < 1:
        site.refuse("reverses time", "keep the order of time")
    if (start, stop, step) == (0, node.length, 1):
        return out
    return crop(site, out, start, stop, step)
