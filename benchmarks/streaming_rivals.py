"""Other streaming libraries on the benchmark's network, where they are installed."""

from __future__ import annotations

import copy
import importlib.util
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

Call = Callable[[], object]


def rivals(
    module: nn.Module, hop: int, channels: int, window: int
) -> tuple[dict[str, Call], dict[str, str]]:
    """Calls that take one hop each, and why others are missing.

    Args:
        module: ``Sequential(trunk, Flatten, Linear, ...)``.
        hop: samples per call.
        channels: of the signal.
        window: samples.
    """
    calls: dict[str, Call] = {}
    missing: dict[str, str] = {}
    for name, package, make in (
        ("tract", "tract", _tract),
        ("continual-inference", "continual", _continual),
    ):
        if importlib.util.find_spec(package) is None:
            missing[name] = "not installed"
            continue
        try:
            calls[name] = make(module, hop, channels, window)
        except Exception as error:  # what a rival cannot do is a result
            missing[name] = f"{type(error).__name__}: {str(error)[:200]}"
    return calls, missing


def _head(module: nn.Module, positions: int, width: int) -> Callable[[torch.Tensor], object]:
    ring = torch.zeros(1, width, positions)
    head = module[1:]  # type: ignore[index]

    def call(new: torch.Tensor) -> object:
        nonlocal ring
        ring = torch.cat([ring[..., new.shape[-1] :], new], dim=2)
        with torch.no_grad():
            return head(ring)

    return call


def _tract(module: nn.Module, hop: int, channels: int, window: int) -> Call:
    """Tract's pulsed trunk, then a torch ring and head."""
    import tract

    trunk = module[0]  # type: ignore[index]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "trunk.onnx"
        example = (torch.zeros(1, channels, window),)
        axes = {"x": {2: "S"}, "y": {2: "T"}}
        torch.onnx.export(
            trunk, example, str(path), dynamo=False, input_names=["x"], output_names=["y"],
            dynamic_axes=axes,
        )  # fmt: skip
        model = tract.onnx().load(str(path))
        model.set_input_fact(0, f"1,{channels},S,f32")
        model.set_output_fact(0, None)
        typed = model.into_model()
    typed.transform(json.dumps({"name": "pulse", "symbol": "S", "pulse": str(hop)}))
    state = typed.into_runnable().spawn_state()
    chunk = np.random.default_rng(0).standard_normal((1, channels, hop), dtype=np.float32)
    with torch.no_grad():
        width, positions = trunk(torch.zeros(example[0].shape)).shape[1:]
    head = _head(module, positions, width)

    def call() -> object:
        return head(torch.from_numpy(state.run([chunk])[0].to_numpy()))

    call()
    return call


def _continual(module: nn.Module, hop: int, channels: int, window: int) -> Call:
    """The trunk converted by continual-inference, then a torch ring and head."""
    import continual

    trunk = copy.deepcopy(module[0])  # type: ignore[index]  # continual() changes its argument
    converted = continual.continual(trunk).eval()
    with torch.no_grad():
        width, positions = trunk(torch.zeros(1, channels, window)).shape[1:]
        converted.forward_steps(torch.randn(1, channels, window))
    head = _head(module, positions, width)
    chunk = torch.randn(1, channels, hop)

    def call() -> object:
        with torch.no_grad():
            return head(converted.forward_steps(chunk))

    call()
    return call
