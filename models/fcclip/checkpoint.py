"""Checkpoint directories of our own layout: config.json and model.safetensors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sensorium.models.fcclip.configuration import FCCLIPConfig
from sensorium.models.fcclip.modeling import FCCLIP

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"


def save_checkpoint(model: FCCLIP, directory: Path) -> None:
    """Write the configuration and the weights of a model; the directory is made where absent."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / CONFIG_NAME).write_text(json.dumps(model.config.to_dict(), indent=2) + "\n")
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, directory / WEIGHTS_NAME)


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
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (directory / name).is_file():
            raise FileNotFoundError(
                f"{directory / name} does not exist; a checkpoint directory holds {CONFIG_NAME} "
                f"and {WEIGHTS_NAME}"
            )
    config_path, weights_path = directory / CONFIG_NAME, directory / WEIGHTS_NAME
    try:
        config = FCCLIPConfig.from_dict(json.loads(config_path.read_text(encoding="utf-8")))
        if short_edge_px is not None:
            config = replace(config, short_edge_px=short_edge_px)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{config_path} is no configuration of FC-CLIP: {error}") from error
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
