"""Reading safetensors files and filling a network with them, strictly."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sensorium.models.policy.errors import CheckpointError, CheckpointFileMissingError

__all__ = ["fill_strictly", "read_tensors"]

_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_PICKLE_STARTS = (b"\x80", b"PK\x03\x04")
_SHOWN = 6


def read_tensors(directory: Path, name: str) -> dict[str, Tensor]:
    """Reads one safetensors file of a checkpoint directory.

    Args:
        directory: The checkpoint directory.
        name: File name inside it. A path that leaves the directory is refused.

    Returns:
        Tensors on the CPU by name; floating ones as float32.

    Raises:
        CheckpointFileMissingError: There is no such file.
        CheckpointError: The file is a pickle, truncated, no safetensors file, lies outside the
            directory, or holds a value that is not finite.
    """
    if Path(name).name != name or Path(name).suffix != ".safetensors":
        raise CheckpointError(
            f"'{name}' is not a plain '*.safetensors' file name. Tensors are read only from "
            f"safetensors files that lie in {directory}; convert other formats with LeRobot."
        )
    path = directory / name
    if not path.is_file():
        raise CheckpointFileMissingError(_missing(directory, name))
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(_PICKLE_STARTS):
        raise CheckpointError(
            f"{path} is a pickle, which can run code when it is read, and is refused. Load it "
            "where you trust it and save it with safetensors.torch.save_file."
        )
    try:
        tensors = load_file(path, device="cpu")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a complete safetensors file ({error}). Copy it again "
            "(a Git LFS pointer must be replaced by the file it points to)."
        ) from error
    for key, tensor in tensors.items():
        if tensor.is_floating_point():
            if not torch.isfinite(tensor).all():
                raise CheckpointError(
                    f"{path}: tensor '{key}' holds values that are not finite. "
                    "The training diverged or the file is damaged; use another checkpoint."
                )
            tensors[key] = tensor.float()
    return tensors


def fill_strictly(network: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Copies tensors into a network; every key and every shape must match.

    Args:
        network: The network, on the CPU.
        tensors: Tensors by the network's state-dict keys.
        source: What error texts call the tensors' origin.

    Raises:
        CheckpointError: Keys are missing or left over, or a shape differs.
    """
    expected = network.state_dict()
    missing = sorted(expected.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - expected.keys())
    misshapen = [
        f"{key} (file {tuple(tensors[key].shape)}, configuration {tuple(expected[key].shape)})"
        for key in sorted(expected.keys() & tensors.keys())
        if tensors[key].shape != expected[key].shape
    ]
    problems = [
        f"{len(keys)} {what}: {', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''}"
        for what, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", misshapen),
        )
        if keys
    ]
    if problems:
        raise CheckpointError(
            f"{source} does not fit its configuration: {'; '.join(problems)}. "
            "config.json and the weights must come from the same training run."
        )
    network.load_state_dict(tensors, strict=True)


def _missing(directory: Path, name: str) -> str:
    pickles = sorted(p.name for p in directory.iterdir() if p.suffix in _PICKLE_SUFFIXES)
    if pickles:
        return (
            f"'{name}' is missing from {directory}; the pickle files there ({', '.join(pickles)}) "
            "can run code when they are read and are refused. Save the policy as safetensors."
        )
    return f"'{name}' is missing from {directory}. Copy the whole checkpoint directory."
