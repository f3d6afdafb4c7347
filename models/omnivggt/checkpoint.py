"""Reading OmniVGGT weights from safetensors files; a file that is not right is refused first."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from sensorium.models.omnivggt.configuration import OmniVGGTConfig
from sensorium.models.omnivggt.modeling import OmniVGGT

_FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")
_MAX_HEADER_BYTES = 100_000_000


class WeightsError(ValueError):
    """A weights file or a list of them that must not be used; the text gives reason and remedy."""


def safetensors_header(path: Path) -> dict[str, Any]:
    """Header of a safetensors file, after checking that all of the file is there.

    Args:
        path: The file.

    Returns:
        {tensor name: {"dtype", "shape", "data_offsets"}}, and "__metadata__" where the file has it.

    Raises:
        WeightsError: It is missing, a pickle, a Git LFS pointer, truncated, or something else.
    """
    if not path.is_file():
        raise WeightsError(
            f"{path} does not exist; nothing is downloaded: fetch the file by hand and give its "
            "path"
        )
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if start[:1] == b"\x80" or start[:4] == b"PK\x03\x04":
            raise WeightsError(
                f"{path} is a pickle (PyTorch .pt/.pth/.bin), which can run code when it is read, "
                "and is refused; convert it where you trust it with safetensors.torch.save_file"
            )
        if start == b"version ":
            raise WeightsError(
                f"{path} is a Git LFS pointer, not the weights; run 'git lfs pull' where it came "
                "from"
            )
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= _MAX_HEADER_BYTES:
            raise WeightsError(f"{path} is no safetensors file: its header length is {length}")
        text = file.read(length)
    if len(text) < length:
        raise WeightsError(
            f"{path} is truncated inside its header ({size} bytes); copy or download it again"
        )
    try:
        header = json.loads(text)
        end = max((v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise WeightsError(f"{path} is no safetensors file: its header is unreadable") from error
    if size != 8 + length + end:
        verdict = "truncated" if size < 8 + length + end else "too long"
        raise WeightsError(
            f"{path} is {verdict}: {size} bytes of {8 + length + end}; copy or download it again"
        )
    result: dict[str, Any] = header
    return result


def check_checkpoint(path: Path, configuration: Mapping[str, Any] | None) -> OmniVGGTConfig:
    """Refuses a file that is not whole or not an OmniVGGT of this configuration.

    Only the header is read.

    Args:
        path: Safetensors file.
        configuration: Keyword arguments of ``OmniVGGTConfig``; None: the published model.

    Returns:
        The configuration.

    Raises:
        WeightsError: The text gives the reason and the remedy.
    """
    header = safetensors_header(path)
    try:
        config = OmniVGGTConfig(**(configuration or {}))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its configuration is refused: {error}") from error
    with torch.device("meta"):
        expected = {key: list(value.shape) for key, value in OmniVGGT(config).state_dict().items()}
    found = {key: value["shape"] for key, value in header.items() if key != "__metadata__"}
    missing = sorted(expected.keys() - found.keys())
    unknown = sorted(found.keys() - expected.keys())
    if missing or unknown:
        hint = ""
        if any(key.startswith("track_head.") for key in unknown):
            hint = " It looks like a VGGT checkpoint, which has a track head and no adapters."
        raise WeightsError(
            f"{path} is of another architecture: {len(missing)} tensors are missing "
            f"({', '.join(missing[:3])}) and {len(unknown)} unknown ({', '.join(unknown[:3])}) for "
            f"OmniVGGT.{hint} Give OmniVGGT.safetensors, or the configuration it was made with"
        )
    for key, shape in expected.items():
        if found[key] != shape:
            raise WeightsError(
                f"{path} is of another size: {key} is {found[key]}, the configuration asks for "
                f"{shape}; give the configuration it was made with"
            )
        if header[key].get("dtype") not in _FLOAT_DTYPES:
            raise WeightsError(
                f"{path}: {key} is of dtype {header[key].get('dtype')}; floating point is needed "
                f"({', '.join(_FLOAT_DTYPES)})"
            )
    return config


def load_checkpoint(path: Path, configuration: Mapping[str, Any] | None) -> OmniVGGT:
    """Builds the model that a file holds; see ``check_checkpoint`` for arguments and errors.

    Returns:
        The model in eval mode, float32, without gradients. A float32 file is mapped into memory,
        so it is not held twice.
    """
    config = check_checkpoint(path, configuration)
    with torch.device("meta"):
        model = OmniVGGT(config)
    state = {key: value.float() for key, value in load_file(path).items()}
    model.load_state_dict(state, strict=True, assign=True)
    model.requires_grad_(requires_grad=False)
    return model.eval()


def embedded_configuration(file: Path) -> Mapping[str, Any] | None:
    """The configuration in a safetensors file's metadata (key "configuration", JSON), or None.

    Raises:
        WeightsError: The file is refused, or the metadata is not a JSON object.
    """
    text = safetensors_header(file).get("__metadata__", {}).get("configuration")
    if text is None:
        return None
    try:
        configuration = json.loads(text)
    except ValueError as error:
        raise WeightsError(
            f"{file}: its metadata 'configuration' is no JSON ({error}); save the weights again"
        ) from error
    if not isinstance(configuration, dict):
        raise WeightsError(f"{file}: its metadata 'configuration' must be a JSON object")
    return configuration
