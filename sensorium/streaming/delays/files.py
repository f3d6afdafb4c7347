"""Delay networks on disk: ``name.safetensors`` for tensors, ``name.json`` for everything else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sensorium.streaming.delays.network import DelayLayer, DelayNetwork

FORMAT = "sensorium-delay-network"
VERSION = 1
_MAX_STORED_DELAY = 255
_LAYER_KEYS = {"max_delay_steps", "tau_steps", "threshold", "reset", "decay_input"}
_NETWORK_KEYS = {
    "format", "version", "time_step_ns", "input_binning", "readout", "labels", "layers",
}  # fmt: skip


def save_delay_network(network: DelayNetwork, path: Path) -> None:
    """Writes ``path`` with suffixes .safetensors and .json.

    Delays are stored as uint8, weights, scale and bias as float32; a threshold of infinity (neurons
    that only integrate) as null.

    Raises:
        ValueError: a delay exceeds 255 steps.
    """
    tensors: dict[str, Tensor] = {}
    layers: list[dict[str, Any]] = []
    for number, layer in enumerate(network.layers):
        if layer.max_delay_steps > _MAX_STORED_DELAY:
            raise ValueError(
                f"save_delay_network: layer {number} has delays up to {layer.max_delay_steps} "
                f"steps, the file holds at most {_MAX_STORED_DELAY}; use a coarser time step"
            )
        tensors[f"{number}.weight"] = layer.weight.float().contiguous()
        tensors[f"{number}.delay_steps"] = layer.delay_steps.to(torch.uint8).contiguous()
        tensors[f"{number}.scale"] = layer.scale.float().contiguous()
        tensors[f"{number}.bias"] = layer.bias.float().contiguous()
        finite = layer.threshold != float("inf")
        layers.append(
            {
                "max_delay_steps": layer.max_delay_steps,
                "tau_steps": layer.tau_steps,
                "threshold": layer.threshold if finite else None,
                "reset": layer.reset,
                "decay_input": layer.decay_input,
            }
        )
    document = {
        "format": FORMAT,
        "version": VERSION,
        "time_step_ns": network.time_step_ns,
        "input_binning": network.input_binning,
        "readout": network.readout,
        "labels": list(network.labels),
        "layers": layers,
    }
    save_file(tensors, path.with_suffix(".safetensors"))
    text = json.dumps(document, indent=2) + "\n"
    path.with_suffix(".json").write_text(text, encoding="utf-8")


def load_delay_network(path: Path) -> DelayNetwork:
    """Reads what ``save_delay_network`` wrote.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: the files are not a delay network of this version, or do not fit together.
    """
    document = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    name = path.with_suffix(".json").name
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"{name}: not a {FORMAT} file")
    if document.get("version") != VERSION:
        raise ValueError(
            f"{name}: version {document.get('version')}, this software reads version {VERSION}"
        )
    _check_keys(name, document, _NETWORK_KEYS)
    tensors = load_file(path.with_suffix(".safetensors"))
    layers = tuple(
        _layer(f"{name}, layer {number}", number, held, tensors)
        for number, held in enumerate(document["layers"])
    )
    if len(tensors) != 4 * len(layers):
        raise ValueError(
            f"{name}: {len(layers)} layers but {len(tensors)} tensors, expected 4 each"
        )
    return DelayNetwork(
        layers,
        document["time_step_ns"],
        document["input_binning"],
        document["readout"],
        tuple(document["labels"]),
    )


def _layer(
    where: str, number: int, held: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> DelayLayer:
    _check_keys(where, held, _LAYER_KEYS)
    parts: dict[str, Tensor] = {}
    for name, dtype in (
        ("weight", torch.float32),
        ("delay_steps", torch.uint8),
        ("scale", torch.float32),
        ("bias", torch.float32),
    ):
        tensor = tensors.get(f"{number}.{name}")
        if tensor is None or tensor.dtype != dtype:
            found = "missing" if tensor is None else str(tensor.dtype)
            raise ValueError(f"{where}: tensor {number}.{name} is {found}, expected {dtype}")
        parts[name] = tensor
    threshold = float("inf") if held["threshold"] is None else float(held["threshold"])
    return DelayLayer(
        **parts,
        max_delay_steps=int(held["max_delay_steps"]),
        tau_steps=float(held["tau_steps"]),
        threshold=threshold,
        reset=held["reset"],
        decay_input=bool(held["decay_input"]),
    )


def _check_keys(where: str, held: Mapping[str, Any], expected: set[str]) -> None:
    if set(held) != expected:
        missing, unknown = sorted(expected - set(held)), sorted(set(held) - expected)
        raise ValueError(f"{where}: missing {missing}, unknown {unknown}")
