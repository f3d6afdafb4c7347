"""Weights that a user names: both published files, damaged ones, and the cache of embeddings."""

import os
from pathlib import Path

import pytest
import torch
from fcclip_cases import seeded_state, split_state
from safetensors.torch import save_file

from sensorium.models.fcclip import FCCLIPConfig
from sensorium.segmentation import weights
from sensorium.segmentation.weights import (
    WeightsConfiguration,
    WeightsRefused,
    load_weights,
    usable_text_cache,
)

CONFIG = FCCLIPConfig.reference_small()


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Both published files, at the small size, which takes the place of the published one."""
    monkeypatch.setattr(weights, "FCCLIPConfig", FCCLIPConfig.reference_small)
    clip, head = split_state(seeded_state(CONFIG, 11))
    paths = tmp_path / "open_clip_model.safetensors", tmp_path / "fcclip_cocopan.pth"
    save_file(clip, paths[0])
    torch.save({"model": head, "iteration": 1}, paths[1])
    return WeightsConfiguration(clip=str(paths[0]), head=str(paths[1]))


def test_published_files_load_together(files, tmp_path):
    model = load_weights(files, tmp_path)
    for key, value in seeded_state(CONFIG, 11).items():
        assert torch.equal(model.state_dict()[key], value), key
    assert model.config == CONFIG


def test_pictures_can_be_made_smaller(files):
    assert load_weights(files, None, 48).config.short_edge_px == 48


def test_a_head_with_missing_keys_is_refused_with_the_key(files):
    state = torch.load(files.head, weights_only=True)["model"]
    del state["void_embedding.weight"]
    torch.save({"model": state}, files.head)
    with pytest.raises(WeightsRefused, match=r"fcclip_cocopan\.pth.*void_embedding\.weight"):
        load_weights(files, None)


@pytest.mark.parametrize("name", ["clip", "head"])
def test_a_truncated_file_is_refused(files, name):
    path = Path(getattr(files, name))
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(WeightsRefused, match="truncated or damaged"):
        load_weights(files, None)


def test_a_pickle_with_objects_is_refused(files):
    torch.save({"model": {"x": object()}}, files.head)
    with pytest.raises(WeightsRefused, match="a pickle can run any code"):
        load_weights(files, None)


def test_a_file_of_another_type_is_refused(files, tmp_path):
    other = tmp_path / "weights.npz"
    other.write_bytes(b"")
    with pytest.raises(WeightsRefused, match=r"give a \.safetensors"):
        load_weights(WeightsConfiguration(clip=str(other), head=files.head), None)


def test_all_three_at_once_are_refused(files, tmp_path):
    given = WeightsConfiguration(files.clip, files.head, str(tmp_path))
    with pytest.raises(WeightsRefused, match=r"or 'weights\.directory' alone"):
        load_weights(given, None)


def test_embeddings_go_to_the_user_s_cache_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    usual = tmp_path / "sensorium" / "text_embeddings"
    assert usable_text_cache("") == (usual, "")
    assert usual.is_dir()
    assert usable_text_cache(str(tmp_path / "a" / "b")) == (tmp_path / "a" / "b", "")


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    directory, problem = usable_text_cache(str(file / "below"))
    assert directory is None
    assert "in memory only" in problem
    assert "set 'text_cache'" in problem
