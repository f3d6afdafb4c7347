"""A trained signal network as data: ``<name>.json`` describes it, ``<name>.safetensors`` holds it.

The JSON names a registered architecture with its typed configuration and everything a stream needs
to be fed rightly: channels in order with units and normalisation, rate, window, hop, mode, classes.
Nothing in it is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from sensorium.models.signals import WEIGHTS, build_network

FORMAT = "sensorium.signal_model/1"
MODES = ("exact_window", "stream")
SCORES = ("softmax", "sigmoid", "none")

_NAME = re.compile(r"^[a-z][a-z0-9_]*$")


class SignalModelError(ValueError):
    """A model file that is missing, damaged or contradictory; the text names file and field."""


@dataclass(frozen=True)
class Channel:
    """One input of the network: (value - mean) / scale is what it sees.

    Attributes:
        name: as the input names it, e.g. "angular_velocity.x".
        unit: SI unit, e.g. "rad/s"; "" when the recording does not say.
        mean: subtracted, in ``unit``.
        scale: divided by, in ``unit``.
    """

    name: str
    unit: str = ""
    mean: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class SignalModel:
    """What a model file says.

    Attributes:
        name: letters, digits and underscores; also the output topic.
        architecture: registered in ``sensorium.models.signals``.
        configuration: of the architecture, JSON values.
        channels: what the network reads, in order.
        rate_hz: sampling rate it was trained at [Hz].
        window: samples of one window.
        hop: samples between estimates.
        mode: "exact_window" or "stream", as it was trained (see ``sensorium.streaming.convert``).
        class_names: one per output.
        scores: what turns outputs into scores: "softmax", "sigmoid" or "none".
        measured: numbers measured on held-out data, for people.
        notes: origin, licence and limits, for people.

    Raises:
        SignalModelError: a field is out of range.
    """

    name: str
    architecture: str
    configuration: Mapping[str, Any]
    channels: tuple[Channel, ...]
    rate_hz: float
    window: int
    hop: int
    mode: str
    class_names: tuple[str, ...]
    scores: str = "softmax"
    measured: Mapping[str, Any] = field(default_factory=dict)
    notes: str = ""

    def __post_init__(self) -> None:
        names = [channel.name for channel in self.channels]
        problems = {
            "name must be lower-case letters, digits and underscores": not _NAME.match(self.name),
            "rate_hz must be positive": not 0 < self.rate_hz < math.inf,
            "window and hop must be positive, hop at most window": not 0 < self.hop <= self.window,
            f"mode must be one of {', '.join(MODES)}": self.mode not in MODES,
            f"scores must be one of {', '.join(SCORES)}": self.scores not in SCORES,
            "class_names must not be empty": not self.class_names,
            "channels must not be empty or named twice": not names or len(set(names)) < len(names),
            "scales must be positive and means finite": not all(
                0 < c.scale < math.inf and math.isfinite(c.mean) for c in self.channels
            ),
        }
        wrong = [text for text, is_wrong in problems.items() if is_wrong]
        if wrong:
            raise SignalModelError(f"signal model '{self.name}': {'; '.join(wrong)}")


def save_signal_model(folder: Path, model: SignalModel, network: nn.Module) -> Path:
    """Writes ``<name>.json`` and ``<name>.safetensors``; returns the path of the JSON."""
    tensors = {key: value.detach().contiguous() for key, value in network.state_dict().items()}
    weights = save(tensors)
    (folder / f"{model.name}.safetensors").write_bytes(weights)
    content = {"format": FORMAT, **asdict(model)}
    content["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    path = folder / f"{model.name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def load_signal_model(name_or_path: str | Path) -> tuple[SignalModel, nn.Module]:
    """Reads a model file.

    Args:
        name_or_path: a shipped model by name ("activity"), or the path of a JSON file; the weights
            lie beside it.

    Returns:
        The description and the network in eval mode, float32 on CPU.

    Raises:
        SignalModelError: there is none, it is damaged, or weights and description do not fit.
    """
    path = _find(name_or_path)
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SignalModelError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise SignalModelError(f"{path} is no signal model: its 'format' must be '{FORMAT}'")
    digest = content.pop("weights_sha256", "")
    model = _model(path, content)
    try:
        network = build_network(model.architecture, model.configuration)
        network.load_state_dict(load(_weights(path, digest)))
    except (ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise SignalModelError(f"{path}: {error}") from error
    network.eval().requires_grad_(False)
    _check_shape(path, model, network)
    return model, network


def _find(name_or_path: str | Path) -> Path:
    text = str(name_or_path)
    if _NAME.match(text):
        path = WEIGHTS / f"{text}.json"
        if path.is_file():
            return path
        shipped = ", ".join(sorted(p.stem for p in WEIGHTS.glob("*.json")))
        raise SignalModelError(
            f"no signal model '{text}' is shipped; shipped: {shipped}; or give the path of a .json"
        )
    path = Path(text).expanduser()
    if not path.is_file():
        raise SignalModelError(f"there is no signal model file {path}")
    return path


def _model(path: Path, content: dict[str, Any]) -> SignalModel:
    known = {member.name for member in fields(SignalModel)}
    unknown = sorted(set(content) - known)
    if unknown:
        raise SignalModelError(f"{path}: unknown fields {unknown}; known: {sorted(known)}")
    try:
        values = dict(content)
        values["channels"] = tuple(Channel(**entry) for entry in content["channels"])
        values["class_names"] = tuple(content["class_names"])
        return SignalModel(**values)
    except SignalModelError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise SignalModelError(f"{path}: a field is missing or of a wrong type: {error}") from error


def _weights(path: Path, digest: str) -> bytes:
    weights = path.with_suffix(".safetensors")
    try:
        data = weights.read_bytes()
    except OSError as error:
        raise SignalModelError(f"{weights} cannot be read: {error.strerror}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise SignalModelError(
            f"{weights} has SHA-256 {found}, {path.name} expects {digest or 'none'}: the two do "
            "not belong together; copy both again"
        )
    return data


def _check_shape(path: Path, model: SignalModel, network: nn.Module) -> None:
    example = torch.zeros(1, len(model.channels), model.window)
    try:
        with torch.no_grad():
            shape = tuple(network(example).shape)
    except RuntimeError as error:
        raise SignalModelError(
            f"{path}: the network does not take {len(model.channels)} channels x {model.window} "
            f"samples: {error}"
        ) from error
    if shape != (1, len(model.class_names)):
        raise SignalModelError(
            f"{path}: the network gives {shape} for one window, but there are "
            f"{len(model.class_names)} class_names"
        )
