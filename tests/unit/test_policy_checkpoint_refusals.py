"""What is wrong with a checkpoint directory is refused with its name and a remedy."""

import json
import pickle

import pytest
import torch
from policy_checkpoint import VARIANTS, edit_json, write_act_checkpoint
from safetensors.torch import load_file, save_file

from sensorium.models.policy import (
    CheckpointError,
    CheckpointFileMissingError,
    UnsupportedError,
    load_policy,
)

PRE, POST = "policy_preprocessor.json", "policy_postprocessor.json"
PRE_STATE = "policy_preprocessor_step_3_normalizer_processor.safetensors"
POST_STATE = "policy_postprocessor_step_0_unnormalizer_processor.safetensors"
ALL_FILES = ["config.json", "model.safetensors", PRE, PRE_STATE, POST, POST_STATE]


@pytest.fixture
def checkpoint(tmp_path):
    return write_act_checkpoint(tmp_path / "checkpoint", VARIANTS["ensembled"])


def edited_configuration(checkpoint, **changes):
    edit_json(checkpoint / "config.json", lambda c: c.update(changes))
    return checkpoint


def test_an_absent_directory_is_refused(tmp_path):
    with pytest.raises(CheckpointFileMissingError, match=r"nowhere.*does not exist"):
        load_policy(tmp_path / "nowhere")


def test_the_parent_of_a_checkpoint_is_refused_with_the_right_path(tmp_path):
    write_act_checkpoint(tmp_path / "pretrained_model", VARIANTS["ensembled"])
    with pytest.raises(CheckpointFileMissingError, match="pretrained_model"):
        load_policy(tmp_path)


@pytest.mark.parametrize("name", ALL_FILES)
def test_each_missing_file_is_named(checkpoint, name):
    (checkpoint / name).unlink()
    with pytest.raises(CheckpointFileMissingError, match=f"'{name}' is missing"):
        load_policy(checkpoint)


@pytest.mark.parametrize("name", ALL_FILES)
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.95])
def test_each_truncated_file_is_named(checkpoint, name, kept):
    path = checkpoint / name
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        load_policy(checkpoint)


@pytest.mark.parametrize("write", [torch.save, lambda v, p: p.write_bytes(pickle.dumps(v))])
def test_a_pickle_under_the_weights_name_is_refused_without_reading_it(checkpoint, write):
    path = checkpoint / "model.safetensors"
    write({"model.action_head.bias": torch.zeros(4)}, path)
    with pytest.raises(CheckpointError, match=r"pickle.*run code"):
        load_policy(checkpoint)


def test_a_directory_with_only_a_pickle_names_the_pickle(checkpoint):
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
        load_policy(checkpoint)


@pytest.mark.parametrize("name", ["stats.pkl", "../outside.safetensors", "/etc/x.safetensors"])
def test_statistics_outside_the_directory_or_in_another_format_are_refused(checkpoint, name):
    edit_json(checkpoint / PRE, lambda p: p["steps"][3].update(state_file=name))
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        load_policy(checkpoint)


@pytest.mark.parametrize("policy_type", ["smolvla", "pi05", "diffusion", "Act"])
def test_an_unknown_policy_type_is_refused_by_name(checkpoint, policy_type):
    with pytest.raises(UnsupportedError, match=f"'{policy_type}'.*act"):
        load_policy(edited_configuration(checkpoint, type=policy_type))


@pytest.mark.parametrize("file", [PRE, POST])
@pytest.mark.parametrize("key", ["registry_name", "class"])
def test_an_unknown_processor_step_is_refused_by_name(checkpoint, file, key):
    step = {key: "tokenizer_processor", "config": {}}
    edit_json(checkpoint / file, lambda p: p["steps"].insert(1, step))
    with pytest.raises(UnsupportedError, match=f"{file}.*'tokenizer_processor'"):
        load_policy(checkpoint)


@pytest.mark.parametrize("index", [1, 3])
def test_a_preprocessor_without_a_needed_step_is_refused(checkpoint, index):
    steps = json.loads((checkpoint / PRE).read_text())["steps"]
    edit_json(checkpoint / PRE, lambda p: p["steps"].pop(index))
    with pytest.raises(CheckpointError, match=f"no '{steps[index]['registry_name']}'"):
        load_policy(checkpoint)


def test_a_postprocessor_without_unnormalization_is_refused(checkpoint):
    edit_json(checkpoint / POST, lambda p: p["steps"].pop(0))
    with pytest.raises(CheckpointError, match="physical units"):
        load_policy(checkpoint)


def test_renaming_after_normalizing_is_refused(checkpoint):
    edit_json(checkpoint / PRE, lambda p: p["steps"].append(p["steps"].pop(0)))
    with pytest.raises(UnsupportedError, match="'rename_observations_processor' after"):
        load_policy(checkpoint)


def test_a_step_given_twice_is_refused(checkpoint):
    edit_json(checkpoint / PRE, lambda p: p["steps"].append(p["steps"][3]))
    with pytest.raises(UnsupportedError, match="second 'normalizer_processor'"):
        load_policy(checkpoint)


def test_half_precision_processing_is_refused(checkpoint):
    edit_json(checkpoint / PRE, lambda p: p["steps"][2]["config"].update(float_dtype="float16"))
    with pytest.raises(UnsupportedError, match="float16"):
        load_policy(checkpoint)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"vision_backbone": "resnet50"}, "resnet50"),
        ({"n_obs_steps": 2}, "n_obs_steps"),
        ({"replace_final_stride_with_dilation": True}, "replace_final_stride_with_dilation"),
        ({"use_peft": True}, "use_peft"),
        ({"feedforward_activation": "glu"}, "glu"),
    ],
)
def test_an_unsupported_option_is_refused_by_name(checkpoint, changes, text):
    with pytest.raises(UnsupportedError, match=text):
        load_policy(edited_configuration(checkpoint, **changes))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"chunk_size": 0}, "chunk_size.*0.*at least 1"),
        ({"chunk_size": "ten"}, "chunk_size.*'ten'"),
        ({"chunk_size": True}, "chunk_size"),
        ({"n_heads": 3}, "multiple of n_heads"),
        ({"n_action_steps": 7}, "n_action_steps 7 exceeds chunk_size 6"),
        ({"n_action_steps": 2}, "temporal_ensemble_coeff needs n_action_steps 1"),
        ({"temporal_ensemble_coeff": "high"}, "temporal_ensemble_coeff.*finite number"),
        ({"use_vae": "maybe"}, "use_vae.*true or false"),
        ({"input_features": {}}, "must hold an image"),
        ({"input_features": []}, "input_features.*object"),
        ({"output_features": {}}, "'action' of type ACTION"),
        ({"type": None}, "'type' is missing"),
        (
            {"input_features": {"observation.state": {"type": "STATE", "shape": [0]}}},
            "positive integers",
        ),
        (
            {"input_features": {"observation.sound": {"type": "AUDIO", "shape": [9]}}},
            "AUDIO.*unknown",
        ),
        (
            {
                "input_features": {
                    "observation.images.depth": {"type": "VISUAL", "shape": [1, 9, 9]}
                }
            },
            r"images\.d.*\(1, 9, 9\)",
        ),
    ],
)
def test_a_malformed_configuration_is_refused_by_field(checkpoint, changes, text):
    with pytest.raises(CheckpointError, match=text):
        load_policy(edited_configuration(checkpoint, **changes))


def test_a_number_that_is_not_finite_is_refused(checkpoint):
    path = checkpoint / "config.json"
    path.write_text(path.read_text().replace("0.2", "NaN"))
    with pytest.raises(CheckpointError, match="NaN"):
        load_policy(checkpoint)


def edited_tensors(path, edit):
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda t: t.pop("model.vae_encoder_cls_embed.weight"), "1 missing.*vae_encoder_cls_embed"),
        (lambda t: t.update({"model.extra": torch.zeros(1)}), r"1 unexpected: model\.extra"),
        (lambda t: t.update({"action_head.bias": torch.zeros(4)}), "1 unexpected: action_head"),
        (
            lambda t: t.update({"model.action_head.bias": torch.zeros(5)}),
            r"of another shape: model\.action_head\.bias \(file \(5,\), configuration \(4,\)\)",
        ),
        (
            lambda t: t["model.action_head.bias"].fill_(float("nan")),
            "'model.action_head.bias'.*not",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_key(checkpoint, edit, text):
    edited_tensors(checkpoint / "model.safetensors", edit)
    with pytest.raises(CheckpointError, match=text):
        load_policy(checkpoint)


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda t: t.pop("observation.state.std"), r"'observation\.state\.std'.*MEAN_STD"),
        (
            lambda t: t.update({"observation.state.std": torch.ones(6)}),
            r"'observation\.state\.std' has shape \(6,\).*\(5,\)",
        ),
        (lambda t: t["observation.state.mean"].fill_(float("inf")), "not finite"),
    ],
)
def test_statistics_that_do_not_fit_are_refused_by_key(checkpoint, edit, text):
    edited_tensors(checkpoint / PRE_STATE, edit)
    with pytest.raises(CheckpointError, match=text):
        load_policy(checkpoint)


def test_a_normalizer_without_statistics_is_refused(checkpoint):
    edit_json(checkpoint / PRE, lambda p: p["steps"][3].pop("state_file"))
    with pytest.raises(CheckpointError, match="no state_file"):
        load_policy(checkpoint)


def test_processors_of_another_policy_are_refused(checkpoint):
    features = {"observation.state": {"type": "STATE", "shape": [9]}}
    edit_json(checkpoint / PRE, lambda p: p["steps"][3]["config"]["features"].update(features))
    with pytest.raises(CheckpointError, match=r"\(9,\).*\(5,\)"):
        load_policy(checkpoint)


def test_a_feature_that_would_miss_its_normalization_is_refused(checkpoint):
    edit_json(checkpoint / PRE, lambda p: p["steps"][3]["config"]["features"].clear())
    with pytest.raises(CheckpointError, match=r"observation\.state.*miss"):
        load_policy(checkpoint)


def test_an_unknown_normalization_mode_is_refused(checkpoint):
    edit_json(
        checkpoint / PRE, lambda p: p["steps"][3]["config"]["norm_map"].update(STATE="WHITEN")
    )
    with pytest.raises(UnsupportedError, match="WHITEN"):
        load_policy(checkpoint)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_refused_by_name(checkpoint):
    with pytest.raises(UnsupportedError, match=r"'cuda:0'.*no CUDA device"):
        load_policy(checkpoint, device="cuda:0")
