"""Text embeddings: cut token sequences, cached per name in memory and on disk."""

import numpy as np
import pytest
import torch
from fcclip_cases import seeded_state, small_model, split_state
from fcclip_plain import encode_names

from sensorium.models.fcclip import FCCLIP, FCCLIPConfig

CONFIG = FCCLIPConfig.reference_small()


@pytest.fixture
def count_prompts(monkeypatch):
    """How many prompts went through the text tower, and the longest sequence."""
    from sensorium.models.fcclip.modeling_clip import CLIP

    counted = {"prompts": 0, "length": 0}
    original = CLIP.encode_text

    def encode_text(self, tokens, end_index):
        counted["prompts"] += len(tokens)
        counted["length"] = max(counted["length"], tokens.shape[1])
        return original(self, tokens, end_index)

    monkeypatch.setattr(CLIP, "encode_text", encode_text)
    return counted


def new_model(seed=11, cache_dir=None):
    model = FCCLIP(CONFIG, text_cache_dir=cache_dir)
    model.load_published(*split_state(seeded_state(CONFIG, seed)))
    return model


def test_cut_sequences_give_the_embedding_of_full_ones(count_prompts):
    names = ["mug", "a very long name of some quite special tool in the workshop", "x"]
    rows = new_model().embed_names(names)
    assert count_prompts["length"] < 40
    with torch.no_grad():
        expected = encode_names(seeded_state(CONFIG, 11), CONFIG, names)
    torch.testing.assert_close(rows, expected, rtol=1e-5, atol=1e-5)


def test_rows_have_length_one_and_do_not_depend_on_their_neighbours():
    model = new_model()
    rows = model.embed_names(["mug", "red mug", "table"])
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(3))
    alone = new_model().embed_names(["table"])
    torch.testing.assert_close(rows[2:], alone, rtol=1e-5, atol=1e-6)


def test_only_new_names_are_encoded(count_prompts):
    model = new_model()
    names = [f"object {i}" for i in range(20)]
    model.set_vocabulary(names)
    assert count_prompts["prompts"] == 20 * 14
    model.set_vocabulary([*names[:7], "something new", *names[8:]])
    assert count_prompts["prompts"] == 21 * 14
    model.set_vocabulary(names[::-1])
    model.set_vocabulary(["object 3,object 4", "object 3"])
    assert count_prompts["prompts"] == 21 * 14


def test_a_second_run_reads_the_embeddings_from_disk(tmp_path, count_prompts):
    first = new_model(cache_dir=tmp_path).embed_names(["mug", "robot arm"])
    made = count_prompts["prompts"]
    second = new_model(cache_dir=tmp_path).embed_names(["robot arm", "mug"])
    assert count_prompts["prompts"] == made
    assert torch.equal(first.flip(0), second)


def test_other_weights_never_see_the_stored_embeddings(tmp_path, count_prompts):
    first = new_model(11, tmp_path).embed_names(["mug"])
    second = new_model(12, tmp_path).embed_names(["mug"])
    assert count_prompts["prompts"] == 2 * 14
    assert (first - second).abs().max() > 0.01


@pytest.mark.parametrize("damage", [b"", b"not an array", None])
def test_a_damaged_file_is_made_again(tmp_path, damage):
    first = new_model(cache_dir=tmp_path).embed_names(["mug"])
    (path,) = tmp_path.glob("*/*.npy")
    if damage is None:
        np.save(path, np.zeros(3, np.float32))
    else:
        path.write_bytes(damage)
    assert torch.equal(new_model(cache_dir=tmp_path).embed_names(["mug"]), first)
    assert np.array_equal(np.load(path), first[0].numpy())
    assert not list(tmp_path.glob("*/*.part"))


def test_loading_weights_drops_embeddings_and_vocabulary():
    model = new_model()
    model.set_vocabulary(["mug"])
    before = model.embed_names(["mug"])
    model.load_published(*split_state(seeded_state(CONFIG, 12)))
    with pytest.raises(RuntimeError, match="call set_vocabulary"):
        _ = model.vocabulary
    assert (model.embed_names(["mug"]) - before).abs().max() > 0.01


def test_a_text_can_be_compared_with_what_clip_sees_in_each_mask():
    model = small_model()
    result = model.predict(np.zeros((40, 40, 3), np.uint8))
    similarity = result.query_embedding @ model.embed_names(["the red mug"]).T
    assert similarity.shape == (model.config.queries, 1)
    assert similarity.abs().max() <= 1 + 1e-5
