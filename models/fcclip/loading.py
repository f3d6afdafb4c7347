"""Published weights: OpenCLIP as the base, the FC-CLIP checkpoint on top."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

CLIP_PREFIX = "backbone.clip_model."
CRITERION_PREFIX = "criterion."
StateSource = Mapping[str, Any] | str | Path


def published_state(
    expected: Mapping[str, Tensor], clip_state: StateSource, head_state: StateSource
) -> dict[str, Tensor]:
    """Combine both sources into one complete state dict.

    Args:
        expected: State dict of the model, for keys and shapes.
        clip_state: OpenCLIP weights, keys with or without ``backbone.clip_model.``; a mapping of
            arrays or tensors, or the path of a .safetensors, .pth, .pt or .bin file.
        head_state: FC-CLIP checkpoint in the same forms. It must hold every ``sem_seg_head.*`` key
            and ``void_embedding.weight`` and no unknown one of these; what it holds of
            ``backbone.clip_model.*`` replaces the OpenCLIP value; ``criterion.*`` (loss weights) is
            taken when present and not needed.

    Returns:
        float32 tensors for every expected key.

    Raises:
        ValueError: If keys are missing or unknown in the head, missing in both for the CLIP part,
            or a shape differs.
    """
    clip = {_clip_key(key): value for key, value in read_state(clip_state).items()}
    head = read_state(head_state)
    head_keys = {k for k in expected if not k.startswith((CLIP_PREFIX, CRITERION_PREFIX))}
    unknown = {k for k in head if not k.startswith((CLIP_PREFIX, CRITERION_PREFIX))} - head_keys
    state: dict[str, Tensor] = {}
    problems = [f"unknown key {key!r} in the checkpoint" for key in sorted(unknown)]
    for key, model_value in expected.items():
        # Detectron2 checkpoints without the text tower and without loss weights are in circulation.
        optional = model_value if key.startswith(CRITERION_PREFIX) else None
        value = head.get(key, clip.get(key) if key.startswith(CLIP_PREFIX) else optional)
        if value is None:
            problems.append(f"missing key {key!r}")
        elif value.shape != model_value.shape:
            problems.append(f"{key!r} is {tuple(value.shape)}, not {tuple(model_value.shape)}")
        else:
            state[key] = value.float()
    if problems:
        raise ValueError(
            f"the weights do not fit the configuration: {'; '.join(problems[:5])} "
            f"({len(problems)} problems in all); check FCCLIPConfig and both files"
        )
    return state


def read_state(source: StateSource) -> dict[str, Tensor]:
    """Read tensors by key from a mapping or a file, without unpickling objects.

    Raises:
        ValueError: If the file type is not known or the file holds more than plain tensors.
    """
    state = _read_file(Path(source)) if isinstance(source, str | Path) else source
    for wrapper in ("model", "state_dict"):
        if isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    return {
        key: torch.as_tensor(value)
        for key, value in state.items()
        if isinstance(value, Tensor) or hasattr(value, "__array__")
    }


def _clip_key(key: str) -> str:
    return key if key.startswith(CLIP_PREFIX) else CLIP_PREFIX + key


def _read_file(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if path.suffix in {".pth", ".pt", ".bin"}:
        try:
            loaded: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except UnpicklingError as error:
            raise ValueError(
                f"{path} holds more than tensors and is not opened: a pickle can run any code; "
                "convert it to .safetensors where you trust it"
            ) from error
        return loaded
    raise ValueError(f"{path} is of no known type; give a .safetensors, .pth, .pt or .bin file")
