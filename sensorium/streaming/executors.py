"""Chooses between reuse and recomputation by measuring both: never slower than recomputation."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sensorium.streaming.lookahead import find_split
from sensorium.streaming.plan import Plan, make_plan
from sensorium.streaming.program import build_program
from sensorium.streaming.rings import Rings
from sensorium.streaming.stream import Executor, Stepper
from sensorium.streaming.torch_executor import StatelessExecutor, TorchExecutor
from sensorium.streaming.trace import TracedNetwork

_WARM_UP = 3
_ROUNDS = 12


class ModuleExecutor(StatelessExecutor):
    """Recomputes the whole window with the original module."""

    name = "torch (whole window)"

    def __init__(self, module: nn.Module, rings: Rings, channels: int, window: int) -> None:
        self.module, self.rings = module, rings
        self.channels, self.window = channels, window

    @torch.no_grad()
    def run(self) -> Tensor:
        """The module on the newest window, (1, batch, ...)."""
        rows = self.rings.view(0, 0, self.window)
        signal = rows.view(self.window, self.rings.batch, self.channels).permute(1, 2, 0)
        result: Tensor = self.module(signal.contiguous())
        return result.unsqueeze(0)


@dataclass(frozen=True)
class Choice:
    """The faster of two steppers and why."""

    stepper: Stepper
    recomputes: bool
    decision: str
    step_ms: float | None
    recompute_ms: float | None


def onnxruntime_available() -> bool:
    """Whether the fast CPU path can be used."""
    return all(importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime"))


def choose_stepper(
    module: nn.Module,
    network: TracedNetwork,
    plan: Plan,
    like: Tensor,
    *,
    executor: str,
    recompute: str,
) -> Choice:
    """Builds reuse and recomputation, measures both and keeps the faster.

    Args:
        module: the original network.
        network: its trace.
        plan: the hop with reuse.
        like: dtype and device.
        executor: "torch" or "onnxruntime".
        recompute: "auto" measures; "never" and "always" build only one.
    """
    if recompute == "never":
        reuse = _stepper(module, network, plan, like, executor)
        return Choice(reuse, False, "reuse, as asked (not measured)", None, None)
    bare = make_plan(plan.nodes, network.embeddings, plan.timeline, mode=plan.mode, reuse=False)
    whole = _stepper(module, network, bare, like, executor, whole=True)
    if recompute == "always":
        return Choice(whole, True, "recomputes, as asked (not measured)", None, None)
    reuse = _stepper(module, network, plan, like, executor)
    step_ms, recompute_ms = _race(reuse, whole)
    if step_ms <= recompute_ms:
        text = f"reuse: {step_ms:.3f} ms per hop against {recompute_ms:.3f} ms of recomputation"
        return Choice(reuse, False, text, step_ms, recompute_ms)
    text = (
        f"recomputes every window: {recompute_ms:.3f} ms per hop against {step_ms:.3f} ms with "
        "reuse (the hop is too large or the network too small to gain)"
    )
    return Choice(whole, True, text, step_ms, recompute_ms)


def _stepper(
    module: nn.Module,
    network: TracedNetwork,
    plan: Plan,
    like: Tensor,
    executor: str,
    *,
    whole: bool = False,
) -> Stepper:
    if executor == "onnxruntime":
        return _onnx_stepper(network, plan, like)
    rings = Rings(plan, network.batch, like)
    built: Executor
    if whole and plan.mode == "exact_window":
        built = ModuleExecutor(module, rings, network.channels, network.window)
    else:
        built = TorchExecutor(build_program(plan, like, network.batch), rings, network.head)
    return Stepper(plan, rings, built)


def _onnx_stepper(network: TracedNetwork, plan: Plan, like: Tensor) -> Stepper:
    from sensorium.streaming.onnx_executor import OnnxExecutor

    split = find_split(plan, network)
    rings = Rings(plan, network.batch, like, 1 if split is None else split.depth)
    asked = plan if split is None else replace(plan, embeddings=[split.fresh_read()])
    try:
        program = build_program(asked, like, network.batch)
        return Stepper(plan, rings, OnnxExecutor(program, rings, network, split))
    except NotImplementedError:
        program = build_program(plan, like, network.batch)
        return Stepper(plan, rings, OnnxExecutor(program, rings, network))


def _race(a: Stepper, b: Stepper) -> tuple[float, float]:
    """Milliseconds per hop of each, measured in turns: lower quartiles, since others also run."""
    times: tuple[list[float], list[float]] = ([], [])
    for round_number in range(_WARM_UP + _ROUNDS):
        for stepper, spent in zip((a, b), times, strict=True):
            start = time.perf_counter()
            stepper.executor.run()
            if stepper.rings.memory[0].is_cuda:
                torch.cuda.synchronize()
            elapsed = time.perf_counter() - start
            stepper.rings.advance()
            if round_number >= _WARM_UP:
                spent.append(1e3 * elapsed)
    return sorted(times[0])[_ROUNDS // 4], sorted(times[1])[_ROUNDS // 4]
