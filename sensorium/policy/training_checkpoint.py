"""Writes a trained policy `geo` in LeRobot's checkpoint layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from sensorium.models.policy.geo.configuration import GEOMETRY_GLOBAL
from sensorium.models.policy.geo.words import WordTable
from sensorium.policy.dataset import TrainingSet
from sensorium.policy.dataset_features import GEOMETRY, IMAGE, STATE
from sensorium.policy.dataset_pooled_tokens import PooledSet
from sensorium.policy.pooled_tokens_record import RECORD_KEY

if TYPE_CHECKING:
    from sensorium.policy.training import TrainingConfiguration

__all__ = ["MOTION_UNIT_M", "geo_configuration_fields", "write_checkpoint"]

MOTION_UNIT_M = 0.05
"""What normalised motion 1 stands for; the normalised gripper is -1 (closed) or 1 (open)."""

_NORMALIZATION = {
    "VISUAL": "IDENTITY", "STATE": "IDENTITY", "ENV": "IDENTITY", "ACTION": "MEAN_STD",
}  # fmt: skip
_PRE_STATE = "policy_preprocessor_step_3_normalizer_processor.safetensors"
_POST_STATE = "policy_postprocessor_step_0_unnormalizer_processor.safetensors"


def geo_configuration_fields(
    configuration: TrainingConfiguration, data: TrainingSet, pooled: PooledSet | None = None
) -> dict[str, Any]:
    """The config.json of a training on a set, with its pooled tokens for ``geometry: pooled``."""
    height_px, width_px = data.image_size
    count = data.rows * data.columns
    inputs: dict[str, Any] = {
        IMAGE: {"type": "VISUAL", "shape": [3, height_px, width_px]},
        STATE: {"type": "STATE", "shape": [data.arrays[STATE].shape[1]]},
    }
    if configuration.geometry in ("tokens", "point_cloud"):
        inputs[f"{GEOMETRY}.points"] = {"type": "ENV", "shape": [count, 3]}
        inputs[f"{GEOMETRY}.valid"] = {"type": "ENV", "shape": [count]}
    if configuration.geometry == "tokens":
        channels = data.arrays[f"{GEOMETRY}.features"].shape[2]
        inputs[f"{GEOMETRY}.features"] = {"type": "ENV", "shape": [count, channels]}
    normalization = dict(_NORMALIZATION)
    record: dict[str, Any] = {}
    if pooled is not None:
        inputs[GEOMETRY_GLOBAL] = {"type": "ENV", "shape": [pooled.record.channels]}
        # Tokens share a large part; what differs from frame to frame is small beside it.
        normalization["ENV"] = "MEAN_STD"
        record = {RECORD_KEY: asdict(pooled.record)}
    return {
        "type": "geo",
        "n_obs_steps": 1,
        "input_features": inputs,
        "output_features": {"action": {"type": "ACTION", "shape": [4]}},
        "normalization_mapping": normalization,
        "chunk_size": configuration.chunk_size,
        "n_action_steps": configuration.n_action_steps,
        "temporal_ensemble_coeff": None,
        "geometry": configuration.geometry,
        "token_rows": data.rows,
        "token_columns": data.columns,
        "picture_stride": configuration.picture_stride,
        "channels": configuration.channels,
        "heads": configuration.heads,
        "hidden": configuration.hidden,
        "injector_widths": list(configuration.injector_widths),
        "cloud_points": configuration.cloud_points,
        "points_center_m": [0.5, 0.0, 0.1],
        "word_table_sha256": WordTable().sha256,
        **record,
    }


def write_checkpoint(
    directory: Path,
    fields: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    configuration: TrainingConfiguration,
    step: int,
    pooled: PooledSet | None = None,
) -> None:
    """Writes config.json, weights, both processors and train_config.json.

    Args:
        directory: Where to.
        fields: The config.json.
        weights: State dict of the network.
        configuration: Of the training, for train_config.json.
        step: How many steps were trained.
        pooled: Its statistics belong to the checkpoint.
    """
    statistics = {
        "action.mean": torch.tensor((0.0, 0.0, 0.0, 0.5)),
        "action.std": torch.tensor((MOTION_UNIT_M, MOTION_UNIT_M, MOTION_UNIT_M, 0.5)),
    }
    if pooled is not None:
        statistics[f"{GEOMETRY_GLOBAL}.mean"] = pooled.mean
        statistics[f"{GEOMETRY_GLOBAL}.std"] = pooled.std
    _write_json(directory / "config.json", fields)
    save_file({k: v.contiguous() for k, v in weights.items()}, directory / "model.safetensors")
    device = {
        "registry_name": "device_processor",
        "config": {"device": "cpu", "float_dtype": None},
    }
    common = {"eps": 1e-8, "norm_map": fields["normalization_mapping"]}
    features = {**fields["input_features"], **fields["output_features"]}
    before = [
        {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
        {"registry_name": "to_batch_processor", "config": {}},
        device,
        {
            "registry_name": "normalizer_processor",
            "config": common | {"features": features},
            "state_file": _PRE_STATE,
        },
    ]
    after = [
        {
            "registry_name": "unnormalizer_processor",
            "config": common | {"features": fields["output_features"]},
            "state_file": _POST_STATE,
        },
        device,
    ]
    for name, steps, state in (
        ("policy_preprocessor", before, _PRE_STATE),
        ("policy_postprocessor", after, _POST_STATE),
    ):
        _write_json(directory / f"{name}.json", {"name": name, "steps": steps})
        save_file(statistics, directory / state)
    _write_json(directory / "train_config.json", asdict(configuration) | {"trained_steps": step})


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
