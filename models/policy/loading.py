"""The one way in: a checkpoint directory to a policy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from sensorium.models.policy.act.configuration import read_act_configuration
from sensorium.models.policy.act.modeling import ActNetwork
from sensorium.models.policy.errors import CheckpointFileMissingError, UnsupportedError
from sensorium.models.policy.fields import Fields, read_json_object
from sensorium.models.policy.geo.configuration import read_geo_configuration
from sensorium.models.policy.geo.modeling import GeoNetwork
from sensorium.models.policy.geo.processor import InstructionEncoder
from sensorium.models.policy.geo.words import WordTable
from sensorium.models.policy.interface import Policy
from sensorium.models.policy.native import NativePolicy
from sensorium.models.policy.processor import read_postprocessor, read_preprocessor
from sensorium.models.policy.tensors import fill_strictly, read_tensors

__all__ = ["load_policy"]

CONFIGURATION_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def load_policy(directory: str | Path, *, device: str = "cpu") -> Policy:
    """Loads a policy from a directory in LeRobot's layout.

    The directory holds config.json, model.safetensors, policy_preprocessor.json,
    policy_postprocessor.json and the statistics files that the last two name (LeRobot 0.4 and
    later; what LeRobot's training writes as ``checkpoints/<step>/pretrained_model``). Nothing is
    downloaded and no pickle is read.

    Args:
        directory: The checkpoint directory.
        device: Where the network runs, a torch device. The device named inside the files is that
            of the training machine and is not used.

    Returns:
        The policy, after reset.

    Raises:
        CheckpointFileMissingError: The directory or one of its files is missing.
        UnsupportedError: The policy's type, a processor step or an option is not built here; the
            text names it.
        CheckpointError: A file is damaged, a pickle, or contradicts another.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise CheckpointFileMissingError(
            f"Policy directory '{directory}' does not exist. Give the path of a LeRobot "
            "'pretrained_model' directory; nothing is downloaded by name."
        )
    if not (directory / CONFIGURATION_FILE).exists() and (directory / "pretrained_model").is_dir():
        raise CheckpointFileMissingError(
            f"'{directory}' has no {CONFIGURATION_FILE}, but '{directory / 'pretrained_model'}' "
            "looks like the checkpoint. Give that path."
        )
    fields = read_json_object(directory / CONFIGURATION_FILE)
    policy_type = fields.text("type")
    loader = _LOADERS.get(policy_type)
    if loader is None:
        raise UnsupportedError(
            f"{directory / CONFIGURATION_FILE}: policy type '{policy_type}' does not run here; "
            f"types that do: {', '.join(sorted(_LOADERS))}."
        )
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise UnsupportedError(
            f"device '{device}' was asked for, but torch finds no CUDA device; use device 'cpu'."
        )
    return loader(directory, fields, torch.device(device))


def _load_act(directory: Path, fields: Fields, device: torch.device) -> Policy:
    configuration = read_act_configuration(fields)
    preprocessor = read_preprocessor(directory, configuration.features, device)
    postprocessor = read_postprocessor(directory, configuration.action, device)
    network = ActNetwork(configuration)
    published_keys = nn.ModuleDict({"model": network})
    fill_strictly(
        published_keys, read_tensors(directory, WEIGHTS_FILE), str(directory / WEIGHTS_FILE)
    )
    return NativePolicy(
        network,
        features=configuration.features,
        action=configuration.action,
        preprocessor=preprocessor,
        postprocessor=postprocessor,
        schedule=configuration.schedule,
    )


def _load_geo(directory: Path, fields: Fields, device: torch.device) -> Policy:
    configuration = read_geo_configuration(fields)
    network = GeoNetwork(configuration)
    fill_strictly(network, read_tensors(directory, WEIGHTS_FILE), str(directory / WEIGHTS_FILE))
    return NativePolicy(
        network,
        features=configuration.features,
        action=configuration.action,
        preprocessor=read_preprocessor(directory, configuration.features, device),
        postprocessor=read_postprocessor(directory, configuration.action, device),
        schedule=configuration.schedule,
        encode_task=InstructionEncoder(configuration, WordTable()),
    )


_LOADERS: dict[str, Callable[[Path, Fields, torch.device], Policy]] = {
    "act": _load_act,
    "geo": _load_geo,
}
