"""Checkpoint directories of our own layout: config.json and model.safetensors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sensorium.models.fcclip.configuration import FCCLIPConfig
from sensorium.models.fcclip.modeling import FCCLIP

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
FCCLIP_SMALL = Path(__file__).parent / "weights" / "fcclip_small"
"""Directory of the shipped checkpoint ``fcclip-small``."""


def save_checkpoint(model: FCCLIP, directory: Path, dtype: torch.dtype | None = None) -> None:
    """Write the configuration and the weights of a model; the directory is made where absent.

    Args:
        model: What is written.
        directory: Where.
        dtype: Type of the stored values; None for that of the model.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / CONFIG_NAME).write_text(json.dumps(model.config.to_dict()) + "\n")
    state = {key: value.to(dtype).contiguous() for key, value in model.state_dict().items()}
    save_file(state, directory / WEIGHTS_NAME)


def read_configuration(directory: Path) -> FCCLIPConfig:
    """Read the configuration of a checkpoint directory.

    Raises:
        FileNotFoundError: It is absent.
        ValueError: It is damaged.
    """
    path = directory / CONFIG_NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; a checkpoint directory holds {CONFIG_NAME} and {WEIGHTS_NAME}"
        )
    try:
        return FCCLIPConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no configuration of FC-CLIP: {error}") from error


def tensor_shapes(config: FCCLIPConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a model by key, without making the tensors."""
    with torch.device("meta"):
        model = FCCLIP(config)
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def load_checkpoint(
    directory: Path, *, text_cache_dir: Path | None = None, short_edge_px: int | None = None
) -> FCCLIP:
    """Make a model from a checkpoint directory.

    Args:
        directory: Holds ``config.json`` (the fields of FCCLIPConfig) and ``model.safetensors`` (all
            keys of the model; float16 and bfloat16 values become float32).
        text_cache_dir: See ``FCCLIP``.
        short_edge_px: Replaces the one of the configuration.

    Raises:
        FileNotFoundError: A file is absent.
        ValueError: A file is damaged, or the weights do not fit the configuration.
    """
    config_path, weights_path = directory / CONFIG_NAME, directory / WEIGHTS_NAME
    config = read_configuration(directory)
    if short_edge_px is not None:
        config = replace(config, short_edge_px=short_edge_px)
    if not weights_path.is_file():
        raise FileNotFoundError(
            f"{weights_path} does not exist; a checkpoint directory holds {CONFIG_NAME} and "
            f"{WEIGHTS_NAME}"
        )
    try:
        state = load_file(weights_path)
    except SafetensorError as error:
        raise ValueError(
            f"{weights_path} is truncated or no safetensors file ({error}); copy it again"
        ) from error
    model = FCCLIP(config, text_cache_dir=text_cache_dir)
    try:
        model.load_state_dict({key: value.float() for key, value in state.items()})
    except RuntimeError as error:
        first = " ".join(str(error).split())[:400]
        raise ValueError(f"{weights_path} does not fit {config_path}: {first}") from error
    model.forget_text()
    return model
