"""``convert``: from a windowed module to a stream, checked."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sensorium.streaming.errors import NotStreamableError
from sensorium.streaming.executors import choose_stepper, onnxruntime_available
from sensorium.streaming.geometry import clean_intervals, positions_per_hop, timeline
from sensorium.streaming.hop_pooling import pool_by_hop
from sensorium.streaming.operators import INDEX_ONLY
from sensorium.streaming.plan import make_plan
from sensorium.streaming.report import StreamReport, head_macs, layer_costs
from sensorium.streaming.selfcheck import check_parity
from sensorium.streaming.stream import SignalStream
from sensorium.streaming.trace import TracedNetwork, trace_network

MOST_TOUCHED = 0.95
"""From this share of padded embedding positions on, "exact_window" is refused."""

Mode = Literal["exact_window", "stream"]
Recompute = Literal["auto", "never", "always"]
ExecutorName = Literal["auto", "torch", "onnxruntime"]


def convert(
    module: nn.Module,
    *,
    window: int,
    hop: int,
    channels: int,
    mode: Mode = "exact_window",
    batch: int = 1,
    executor: ExecutorName = "auto",
    recompute: Recompute = "auto",
) -> SignalStream:
    """Converts a windowed network into a stream that never computes the overlap twice.

    Args:
        module: eval-mode network (batch, channels, window) -> one tensor (batch, ...).
        window: samples of one window.
        hop: samples between windows, a multiple of the network's total stride.
        channels: channels of the signal.
        mode: "exact_window" equals ``module`` on every window, its zero padding included.
            "stream" lets the receptive field run on into the past instead of padding
            (StreamiNNC's signal padding, arXiv 2408.03223): it equals one pass of the
            convolutional part over the whole signal, and differs from the window network unless
            that was trained so (``SignalPadded``).
        batch: independent streams.
        executor: "onnxruntime" (float32 on CPU), "torch", or "auto": onnxruntime where it applies.
        recompute: "auto" measures a hop with reuse and one by recomputing the window, and keeps
            the faster (``report.decision`` tells); "never" and "always" skip the measurement.

    Returns:
        The stream, self-checked and reset.

    Raises:
        NotStreamableError: a layer, the hop or the window does not allow exact streaming, or the
            self-check found a difference. The text names the layer, the numbers and a remedy.
        ValueError: an argument is none of the above.
    """
    if mode not in ("exact_window", "stream"):
        raise ValueError(f"mode is {mode!r}, expected 'exact_window' or 'stream'")
    if recompute not in ("auto", "never", "always"):
        raise ValueError(f"recompute is {recompute!r}, expected 'auto', 'never' or 'always'")
    chosen = _choose_executor(module, executor)
    request = _Request(window, hop, channels, mode, batch, chosen, recompute)
    network, stream = _build(module, request)
    same = dataclasses.replace(request, recompute="always" if stream.report.recomputes else "never")
    parity = check_parity(module, network, stream, lambda m: _build(m, same), _like(module))
    stream.report = dataclasses.replace(stream.report, parity=parity)
    return stream


@dataclass(frozen=True)
class _Request:
    window: int
    hop: int
    channels: int
    mode: Mode
    batch: int
    executor: str
    recompute: Recompute


def _like(module: nn.Module) -> Tensor:
    held = [*module.parameters(), *module.buffers()]
    parameter = next((tensor for tensor in held if tensor.is_floating_point()), None)
    if parameter is None:
        return torch.zeros(0)
    return torch.zeros(0, dtype=parameter.dtype, device=parameter.device)


def _choose_executor(module: nn.Module, wanted: str) -> str:
    like = _like(module)
    fits = like.dtype == torch.float32 and like.device.type == "cpu"
    if wanted == "torch":
        return "torch"
    if wanted == "onnxruntime":
        if not fits:
            raise ValueError(
                f"executor 'onnxruntime' runs float32 on CPU, the network is {like.dtype} on "
                f"{like.device}; use executor='torch'"
            )
        if not onnxruntime_available():
            raise ValueError(
                "executor 'onnxruntime' needs the packages onnx and onnxruntime; install them or "
                "use executor='torch'"
            )
        return "onnxruntime"
    if wanted != "auto":
        raise ValueError(f"executor is {wanted!r}, expected 'auto', 'torch' or 'onnxruntime'")
    return "onnxruntime" if fits and onnxruntime_available() else "torch"


def _build(module: nn.Module, request: _Request) -> tuple[TracedNetwork, SignalStream]:
    network = trace_network(
        module, window=request.window, channels=request.channels, batch=request.batch
    )
    times = timeline(
        network.trunk,
        network.embeddings,
        request.window,
        request.hop,
        padded=request.mode == "exact_window",
    )
    pooled = pool_by_hop(network, times)
    intervals = clean_intervals(pooled.trunk)
    touched = _touched(network, intervals)
    if request.mode == "exact_window" and touched >= MOST_TOUCHED:
        raise NotStreamableError(
            network.trunk[network.embeddings[0]].layer,
            f"{100 * touched:.0f} % of the embedding meets padding (receptive field "
            f"{times.receptive_field} samples, window {request.window}), nothing could be reused",
            "use a longer window, mode='stream' (signal padding), or a network with less padding",
        )
    like = _like(module)
    plan = make_plan(pooled.trunk, pooled.embeddings, times, mode=request.mode)
    choice = choose_stepper(
        module, pooled, plan, like, executor=request.executor, recompute=request.recompute
    )
    with torch.no_grad():
        example = torch.zeros(request.batch, request.channels, request.window).to(like)
        output_shape = tuple(module(example).shape)
    used = choice.stepper.plan
    costs = layer_costs(used, intervals)
    head = head_macs(network)
    full = sum(cost.macs_per_window for cost in costs)
    new = sum(
        positions_per_hop(node, request.hop) * node.macs_per_position
        for node in network.trunk
        if not isinstance(node.op, INDEX_ONLY)
    )
    report = StreamReport(
        mode=request.mode,
        executor=choice.stepper.executor.name,
        recomputes=choice.recomputes,
        decision=choice.decision,
        layers=costs,
        head_layers=tuple(network.head_layers),
        head_macs=head,
        macs_per_window=full + head,
        macs_per_hop=used.macs_per_hop + head,
        macs_floor=new + head,
        reused_share=max(0.0, 1 - used.macs_per_hop / full) if full else 0.0,
        receptive_field=times.receptive_field,
        touched_by_padding=touched,
        delay=times.delay,
        lookahead=times.lookahead,
        state_bytes=choice.stepper.rings.state_bytes,
        output_shape=output_shape,
        step_ms=choice.step_ms,
        recompute_ms=choice.recompute_ms,
        parity=None,
    )
    return network, SignalStream(pooled, choice.stepper, like, report)


def _touched(network: TracedNetwork, intervals: list[tuple[int, int]]) -> float:
    total = sum(network.trunk[i].length for i in network.embeddings)
    clean = sum(intervals[i][1] - intervals[i][0] for i in network.embeddings)
    return 1 - clean / total
