"""LeRobot's stock processor steps, read from policy_preprocessor.json and its counterpart.

Four steps are stock: ``rename_observations_processor``, ``to_batch_processor``,
``device_processor`` and ``normalizer_processor`` before the network (``unnormalizer_processor`` and
``device_processor`` after it). Any other step is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from sensorium.models.policy.errors import CheckpointError, ObservationError, UnsupportedError
from sensorium.models.policy.features import ACTION, Feature, read_features
from sensorium.models.policy.fields import Fields, read_json_object
from sensorium.models.policy.normalization import (
    AffineMap,
    NormalizationMode,
    affine_map,
    read_normalization_modes,
)
from sensorium.models.policy.tensors import read_tensors

__all__ = ["Postprocessor", "Preprocessor", "read_postprocessor", "read_preprocessor"]

PREPROCESSOR_FILE = "policy_preprocessor.json"
POSTPROCESSOR_FILE = "policy_postprocessor.json"

_RENAME = "rename_observations_processor"
_TO_BATCH = "to_batch_processor"
_DEVICE = "device_processor"
_NORMALIZER = "normalizer_processor"
_UNNORMALIZER = "unnormalizer_processor"

_PREPROCESSOR_STEPS = (_RENAME, _TO_BATCH, _DEVICE, _NORMALIZER)
_POSTPROCESSOR_STEPS = (_UNNORMALIZER, _DEVICE)


@dataclass(frozen=True)
class Preprocessor:
    """The steps before the network.

    Attributes:
        renames: Given feature name -> name in config.json.
        maps: Normalisation by feature name; features that stay as they are have none.
        device: Where the network runs. The device named in the file is the training machine's
            and is not used.
    """

    renames: Mapping[str, str]
    maps: Mapping[str, AffineMap]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def rename(self, observation: Mapping[str, object]) -> dict[str, object]:
        """The observation under the names of config.json; other entries keep their names.

        Raises:
            ObservationError: Two entries would get the same name.
        """
        renamed: dict[str, object] = {}
        for name, value in observation.items():
            new_name = self.renames.get(name, name)
            if new_name in renamed:
                raise ObservationError(
                    f"Observation entry '{name}' and another one both become '{new_name}' by the "
                    f"checkpoint's rename_map. Give only one of them."
                )
            renamed[new_name] = value
        return renamed

    def __call__(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Adds the batch axis, moves to the device and normalises.

        Args:
            features: (*feature shape) float32 by name, physical units.

        Returns:
            (1, *feature shape) float32 by name, normalised units.
        """
        batch = {}
        for name, value in features.items():
            batched = value.unsqueeze(0).to(self.device)
            batch[name] = self.maps[name].normalize(batched) if name in self.maps else batched
        return batch


@dataclass(frozen=True)
class Postprocessor:
    """The steps after the network.

    Attributes:
        action_map: Normalisation of the action, or None where it stays as it is.
    """

    action_map: AffineMap | None

    def __call__(self, action: Tensor) -> Tensor:
        """Normalised (..., A) to physical units, on the CPU."""
        if self.action_map is not None:
            action = self.action_map.unnormalize(action)
        return action.cpu()


def read_preprocessor(
    directory: Path, features: Mapping[str, Feature], device: torch.device
) -> Preprocessor:
    """Reads policy_preprocessor.json and the statistics it names.

    Args:
        directory: The checkpoint directory.
        features: The inputs the network uses, by name.
        device: Where the network runs.

    Returns:
        The steps before the network.

    Raises:
        UnsupportedError: A step, its order or one of its options is not known here.
        CheckpointError: A file or a needed step or statistic is missing or malformed.
    """
    steps = _read_steps(directory, PREPROCESSOR_FILE, _PREPROCESSOR_STEPS)
    names = list(steps)
    for needed in (_TO_BATCH, _NORMALIZER):
        if needed not in steps:
            raise CheckpointError(
                f"{PREPROCESSOR_FILE} has no '{needed}' step (it has: {', '.join(names)}). "
                "Save the policy with LeRobot's make_pre_post_processors."
            )
    renames: dict[str, str] = {}
    if _RENAME in steps:
        if names.index(_RENAME) > names.index(_NORMALIZER):
            raise UnsupportedError(
                f"{PREPROCESSOR_FILE}: '{_RENAME}' after '{_NORMALIZER}' is not supported. "
                "Put it first, as LeRobot does."
            )
        rename_map = steps[_RENAME].nested("config").nested("rename_map")
        renames = {name: rename_map.text(name) for name in rename_map}
    maps = _read_maps(directory, steps[_NORMALIZER], features)
    return Preprocessor(renames, {name: m.to(device) for name, m in maps.items()}, device)


def read_postprocessor(directory: Path, action: Feature, device: torch.device) -> Postprocessor:
    """Reads policy_postprocessor.json and the statistics it names.

    Args:
        directory: The checkpoint directory.
        action: The action feature.
        device: Where the network runs.

    Returns:
        The steps after the network.

    Raises:
        UnsupportedError: A step or one of its options is not known here.
        CheckpointError: A file or a needed step or statistic is missing or malformed.
    """
    steps = _read_steps(directory, POSTPROCESSOR_FILE, _POSTPROCESSOR_STEPS)
    if _UNNORMALIZER not in steps:
        raise CheckpointError(
            f"{POSTPROCESSOR_FILE} has no '{_UNNORMALIZER}' step, so actions would not be in "
            "physical units. Save the policy with LeRobot's make_pre_post_processors."
        )
    action_map = _read_maps(directory, steps[_UNNORMALIZER], {ACTION: action}).get(ACTION)
    return Postprocessor(None if action_map is None else action_map.to(device))


def _read_steps(directory: Path, file_name: str, stock: tuple[str, ...]) -> dict[str, Fields]:
    steps: dict[str, Fields] = {}
    for step in read_json_object(directory / file_name).nested_list("steps"):
        name = step.text("registry_name", default=step.text("class", default="(without a name)"))
        if name not in stock:
            raise UnsupportedError(
                f"{step.where}: processor step '{name}' is not supported; supported here: "
                f"{', '.join(stock)}. Remove it from the file only if the policy was trained "
                "without it."
            )
        if name in steps:
            raise UnsupportedError(f"{step.where}: a second '{name}' step is not supported.")
        steps[name] = step
    if _DEVICE in steps:
        config = steps[_DEVICE].nested("config")
        if config.values.get("float_dtype") not in (None, "float32"):
            raise UnsupportedError(
                f"{config.where}: float_dtype '{config.values['float_dtype']}' is not supported; "
                "policies run in float32. Set it to null."
            )
    return steps


def _read_maps(
    directory: Path, step: Fields, features: Mapping[str, Feature]
) -> dict[str, AffineMap]:
    config = step.nested("config")
    eps = config.number("eps", default=1e-8)
    modes = read_normalization_modes(config.nested("norm_map"))
    described = read_features(config.nested("features"))
    selected = config.values.get("normalize_observation_keys")
    if selected is not None and not isinstance(selected, list):
        config.refuse("normalize_observation_keys", selected, "must be a list of names or null")
    state_file = step.values.get("state_file")
    statistics: dict[str, Tensor] = {}
    source = f"{step.where} (no state_file)"
    if state_file is not None:
        source = step.text("state_file")
        statistics = read_tensors(directory, source)
    maps: dict[str, AffineMap] = {}
    for name, feature in features.items():
        mode = modes.get(feature.type, NormalizationMode.IDENTITY)
        if mode is NormalizationMode.IDENTITY:
            continue
        if selected is not None and name not in selected and name != ACTION:
            continue
        if name not in described:
            raise CheckpointError(
                f"{config.where}: feature '{name}' of config.json is not described, so it would "
                f"miss its {mode.value} normalisation. Save the processors again with LeRobot."
            )
        if described[name] != feature:
            raise CheckpointError(
                f"{config.where}: feature '{name}' is {described[name].type.value} of shape "
                f"{described[name].shape}, but config.json says {feature.type.value} of shape "
                f"{feature.shape}. Both files must come from the same training run."
            )
        feature_map = affine_map(feature, mode, statistics, eps, source)
        if feature_map is not None:
            maps[name] = feature_map
    return maps
