"""Checkpoint directories: what is written is read again, in half precision too."""

import dataclasses

import numpy as np
import pytest
import torch
from fcclip_cases import picture, seeded_state, small_model
from safetensors.torch import load_file, save_file

from sensorium.models.fcclip import FCCLIP, FCCLIPConfig, load_checkpoint, save_checkpoint

CONFIG = dataclasses.replace(
    FCCLIPConfig.reference_small(), trunk_widths=(32, 64, 128, 256), short_edge_px=64
)


@pytest.fixture
def model():
    model = FCCLIP(CONFIG)
    model.load_state_dict(seeded_state(CONFIG, 11))
    return model


def test_a_written_model_is_read_with_its_configuration(model, tmp_path):
    save_checkpoint(model, tmp_path / "new" / "folder")
    read = load_checkpoint(tmp_path / "new" / "folder")
    assert read.config == CONFIG
    for key, value in model.state_dict().items():
        assert torch.equal(read.state_dict()[key], value), key
    names = ["mug", "floor"]
    model.set_vocabulary(names)
    read.set_vocabulary(names)
    image = picture(48, 64, 1)
    np.testing.assert_allclose(
        read.predict(image).mask_cls, model.predict(image).mask_cls, atol=1e-5
    )


def test_half_precision_is_read_as_single(model, tmp_path):
    save_checkpoint(model, tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({k: v.half() for k, v in load_file(path).items()}, path)
    read = load_checkpoint(tmp_path)
    for key, value in model.state_dict().items():
        assert read.state_dict()[key].dtype == torch.float32
        assert torch.equal(read.state_dict()[key], value.half().float()), key


def test_the_size_of_pictures_can_be_replaced(model, tmp_path):
    save_checkpoint(model, tmp_path)
    assert load_checkpoint(tmp_path, short_edge_px=32).config.short_edge_px == 32


def test_weights_of_another_configuration_are_refused(model, tmp_path):
    save_checkpoint(model, tmp_path)
    other = tmp_path / "other"
    save_checkpoint(small_model(), other)
    (tmp_path / "config.json").write_bytes((other / "config.json").read_bytes())
    with pytest.raises(ValueError, match=r"does not fit .*config\.json.*size mismatch"):
        load_checkpoint(tmp_path)
