"""Writes small ACT checkpoint directories in LeRobot 0.4's layout, from seeds, for the tests.

Keys and shapes are written out here from the published layout, not taken from the network under
test. make_policy_act_lerobot.py loads the same directories with LeRobot itself.
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

STATE = "observation.state"
ENVIRONMENT_STATE = "observation.environment_state"

UNMOVED = -0.75
"""Position of the first joint, which never moved in the data set (zero range, zero deviation)."""

BASE = {
    "type": "act",
    "n_obs_steps": 1,
    "device": "cpu",
    "use_amp": False,
    "use_peft": False,
    "push_to_hub": True,
    "repo_id": None,
    "private": None,
    "tags": None,
    "license": None,
    "pretrained_path": None,
    "chunk_size": 6,
    "n_action_steps": 4,
    "normalization_mapping": {"VISUAL": "MEAN_STD", "STATE": "MEAN_STD", "ACTION": "MEAN_STD"},
    "vision_backbone": "resnet18",
    "pretrained_backbone_weights": None,
    "replace_final_stride_with_dilation": False,
    "pre_norm": False,
    "dim_model": 16,
    "n_heads": 2,
    "dim_feedforward": 24,
    "feedforward_activation": "relu",
    "n_encoder_layers": 1,
    "n_decoder_layers": 1,
    "use_vae": True,
    "latent_dim": 4,
    "n_vae_encoder_layers": 1,
    "temporal_ensemble_coeff": None,
    "dropout": 0.1,
    "kl_weight": 10.0,
    "optimizer_lr": 1e-05,
    "optimizer_weight_decay": 0.0001,
    "optimizer_lr_backbone": 1e-05,
}

_VECTORS = {
    STATE: {"type": "STATE", "shape": [5]},
    ENVIRONMENT_STATE: {"type": "ENV", "shape": [3]},
}

VARIANTS = {
    "ensembled": BASE
    | {
        "input_features": _VECTORS,
        "n_action_steps": 1,
        "temporal_ensemble_coeff": 0.2,
        "normalization_mapping": {"ENV": "MIN_MAX", "STATE": "MEAN_STD", "ACTION": "MIN_MAX"},
    },
    "favouring_new": BASE
    | {"input_features": _VECTORS, "n_action_steps": 1, "temporal_ensemble_coeff": -0.5},
    "pre_norm_gelu": BASE
    | {
        "input_features": _VECTORS,
        "pre_norm": True,
        "feedforward_activation": "gelu",
        "n_encoder_layers": 2,
        "n_decoder_layers": 2,
        "use_vae": False,
        "normalization_mapping": {"ENV": "QUANTILES", "STATE": "QUANTILE10", "ACTION": "QUANTILES"},
    },
    "two_cameras": BASE
    | {
        "input_features": {
            "observation.images.wrist": {"type": "VISUAL", "shape": [3, 61, 75]},
            **_VECTORS,
            "observation.images.front": {"type": "VISUAL", "shape": [3, 48, 96]},
        },
        "n_action_steps": 3,
        "normalization_mapping": {"VISUAL": "MIN_MAX", "STATE": "MIN_MAX", "ACTION": "MEAN_STD"},
    },
}
"""Configurations by name; together they cross the options of ACT that are supported."""


def write_act_checkpoint(directory: Path, configuration: dict, seed: int = 0) -> Path:
    """Writes config.json, the weights, both processor files and their statistics."""
    directory.mkdir(parents=True, exist_ok=True)
    configuration = {"output_features": {"action": {"type": "ACTION", "shape": [4]}}} | (
        configuration
    )
    random = np.random.RandomState(seed)  # its stream is frozen by numpy, so golden values hold
    _write_json(directory / "config.json", configuration)
    save_file(_weights(configuration, random), directory / "model.safetensors")
    statistics = _statistics(configuration, random)
    features = configuration["input_features"] | configuration["output_features"]
    normalizer = {
        "eps": 1e-8,
        "features": features,
        "norm_map": configuration["normalization_mapping"],
    }
    device = {
        "registry_name": "device_processor",
        "config": {"device": "cpu", "float_dtype": None},
    }
    pre_state = "policy_preprocessor_step_3_normalizer_processor.safetensors"
    post_state = "policy_postprocessor_step_0_unnormalizer_processor.safetensors"
    save_file(statistics, directory / pre_state)
    save_file(statistics, directory / post_state)
    _write_json(
        directory / "policy_preprocessor.json",
        {
            "name": "policy_preprocessor",
            "steps": [
                {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
                {"registry_name": "to_batch_processor", "config": {}},
                device,
                {
                    "registry_name": "normalizer_processor",
                    "config": normalizer,
                    "state_file": pre_state,
                },
            ],
        },
    )
    _write_json(
        directory / "policy_postprocessor.json",
        {
            "name": "policy_postprocessor",
            "steps": [
                {
                    "registry_name": "unnormalizer_processor",
                    "config": normalizer | {"features": configuration["output_features"]},
                    "state_file": post_state,
                },
                device,
            ],
        },
    )
    return directory


def observations(configuration: dict, count: int, seed: int = 100) -> list[dict]:
    """Random observations that fit a configuration."""
    random = np.random.RandomState(seed)
    result = []
    for _ in range(count):
        observation: dict = {"task": "put the cube on the tray"}
        for name, feature in configuration["input_features"].items():
            if feature["type"] == "VISUAL":
                channels, height, width = feature["shape"]
                image = random.randint(0, 256, (height, width, channels))
                observation[name] = image.astype(np.uint8)
            else:
                observation[name] = random.uniform(-1, 1, feature["shape"]).astype(np.float32)
            if feature["type"] == "STATE":
                observation[name][0] = UNMOVED
        result.append(observation)
    return result


def edit_json(path: Path, edit) -> None:
    """Applies ``edit`` to the object in a JSON file, in place."""
    value = json.loads(path.read_text())
    edit(value)
    _write_json(path, value)


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2))


def _weights(c: dict, random: np.random.RandomState) -> dict[str, np.ndarray]:
    width, hidden, latent = c["dim_model"], c["dim_feedforward"], c["latent_dim"]
    action = c["output_features"]["action"]["shape"][0]
    vectors = {n: f["shape"][0] for n, f in c["input_features"].items() if f["type"] != "VISUAL"}
    weights: dict[str, np.ndarray] = {}

    def uniform(key, *shape):
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 4
        bound = np.sqrt(3.0 / fan_in)
        weights[f"model.{key}"] = random.uniform(-bound, bound, shape).astype(np.float32)

    def linear(key, n_out, n_in, *kernel):
        uniform(f"{key}.weight", n_out, n_in, *kernel)
        uniform(f"{key}.bias", n_out)

    def norm(key):
        weights[f"model.{key}.weight"] = random.uniform(0.5, 1.5, width).astype(np.float32)
        uniform(f"{key}.bias", width)

    def attention(key):
        uniform(f"{key}.in_proj_weight", 3 * width, width)
        uniform(f"{key}.in_proj_bias", 3 * width)
        linear(f"{key}.out_proj", width, width)

    def layer(key, norms, *attentions):
        for name in attentions:
            attention(f"{key}.{name}")
        linear(f"{key}.linear1", hidden, width)
        linear(f"{key}.linear2", width, hidden)
        for i in range(1, norms + 1):
            norm(f"{key}.norm{i}")

    def encoder(key, layers):
        for i in range(layers):
            layer(f"{key}.layers.{i}", 2, "self_attn")
        if c["pre_norm"]:
            norm(f"{key}.norm")

    if c["use_vae"]:
        encoder("vae_encoder", c["n_vae_encoder_layers"])
        uniform("vae_encoder_cls_embed.weight", 1, width)
        linear("vae_encoder_action_input_proj", width, action)
        linear("vae_encoder_latent_output_proj", 2 * latent, width)
        tokens = 1 + c["chunk_size"]
        if STATE in vectors:
            linear("vae_encoder_robot_state_input_proj", width, vectors[STATE])
            tokens += 1
        uniform("vae_encoder_pos_enc", 1, tokens, width)
    if any(f["type"] == "VISUAL" for f in c["input_features"].values()):
        _backbone(uniform, weights, random)
        linear("encoder_img_feat_input_proj", width, 512, 1, 1)
    encoder("encoder", c["n_encoder_layers"])
    for i in range(c["n_decoder_layers"]):
        layer(f"decoder.layers.{i}", 3, "self_attn", "multihead_attn")
    norm("decoder.norm")
    if STATE in vectors:
        linear("encoder_robot_state_input_proj", width, vectors[STATE])
    if ENVIRONMENT_STATE in vectors:
        linear("encoder_env_state_input_proj", width, vectors[ENVIRONMENT_STATE])
    linear("encoder_latent_input_proj", width, latent)
    uniform("encoder_1d_feature_pos_embed.weight", 1 + len(vectors), width)
    uniform("decoder_pos_embed.weight", c["chunk_size"], width)
    linear("action_head", action, width)
    return weights


def _backbone(uniform, weights: dict, random: np.random.RandomState) -> None:
    def convolution(key, norm_key, n_out, n_in, size):
        uniform(f"backbone.{key}.weight", n_out, n_in, size, size)
        for name, low, high in (
            ("weight", 0.5, 1.0),
            ("bias", -0.2, 0.2),
            ("running_mean", -0.2, 0.2),
            ("running_var", 0.8, 1.5),
        ):
            value = random.uniform(low, high, n_out).astype(np.float32)
            weights[f"model.backbone.{norm_key}.{name}"] = value

    convolution("conv1", "bn1", 64, 3, 7)
    channels = 64
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            key = f"layer{stage}.{block}"
            convolution(f"{key}.conv1", f"{key}.bn1", width, channels, 3)
            convolution(f"{key}.conv2", f"{key}.bn2", width, width, 3)
            if width != channels:
                convolution(f"{key}.downsample.0", f"{key}.downsample.1", width, channels, 1)
            channels = width


def _statistics(c: dict, random: np.random.RandomState) -> dict[str, np.ndarray]:
    statistics = {}
    for name, feature in (c["input_features"] | c["output_features"]).items():
        shape = (3, 1, 1) if feature["type"] == "VISUAL" else feature["shape"]
        low = random.uniform(-1.0, -0.5, shape)
        high = random.uniform(0.5, 1.0, shape)
        values = {
            "mean": (low + high) / 2,
            "std": (high - low) / 3,
            "min": low,
            "max": high,
            "q01": low * 0.95,
            "q99": high * 0.95,
            "q10": low * 0.6,
            "q90": high * 0.6,
        }
        if feature["type"] == "STATE":
            for statistic, value in values.items():
                value[0] = 0.0 if statistic == "std" else UNMOVED
        for statistic, value in values.items():
            statistics[f"{name}.{statistic}"] = value.astype(np.float32)
    return statistics
