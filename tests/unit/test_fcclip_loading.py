"""Loading published weights: base and overlay, strictness, file types."""

import pytest
import torch
from fcclip_cases import CLIP_PREFIX, seeded_state, split_state
from safetensors.torch import save_file

from sensorium.models.fcclip import FCCLIP, FCCLIPConfig

CONFIG = FCCLIPConfig.reference_small()
TEXT_KEYS = ("ln_final", "token_embedding", "transformer.resblocks")


@pytest.fixture(scope="module")
def states():
    return split_state(seeded_state(CONFIG, 11))


@pytest.fixture
def model():
    return FCCLIP(CONFIG)


def assert_loaded(model, clip, head):
    state = model.state_dict()
    assert all(torch.equal(state[CLIP_PREFIX + key], value) for key, value in clip.items())
    assert all(torch.equal(state[key], value) for key, value in head.items())


def test_keys_load_with_and_without_the_clip_prefix(model, states):
    clip, head = states
    model.load_published(clip, head)
    assert_loaded(model, clip, head)
    other = FCCLIP(CONFIG)
    other.load_published({CLIP_PREFIX + key: value for key, value in clip.items()}, head)
    assert_loaded(other, clip, head)


def test_numpy_arrays_and_half_precision_load_as_float32(model, states):
    clip, head = states
    model.load_published(
        {key: value.numpy() for key, value in clip.items()},
        {key: value.half() for key, value in head.items()},
    )
    assert all(value.dtype == torch.float32 for value in model.state_dict().values())
    assert_loaded(model, clip, {key: value.half().float() for key, value in head.items()})


def test_clip_values_of_the_checkpoint_replace_the_base(model, states):
    clip, head = states
    key = "visual.trunk.stem.0.bias"
    overlay = {CLIP_PREFIX + key: clip[key] + 1}
    model.load_published(clip, {"model": head | overlay, "iteration": 12})
    assert torch.equal(model.state_dict()[CLIP_PREFIX + key], clip[key] + 1)


def test_a_checkpoint_without_text_tower_takes_it_from_the_base(model, states):
    clip, head = states
    overlay = {CLIP_PREFIX + k: v for k, v in clip.items() if not k.startswith(TEXT_KEYS)}
    model.load_published(clip, head | overlay)
    assert_loaded(model, clip, head)


def test_loss_weights_are_optional_and_extra_clip_keys_are_ignored(model, states):
    clip, head = states
    without = {key: value for key, value in head.items() if not key.startswith("criterion.")}
    model.load_published(clip | {"logit_bias": torch.zeros(())}, without)
    assert_loaded(model, clip, without)


def drop(state, key):
    return {k: v for k, v in state.items() if k != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, h: (c, drop(h, "void_embedding.weight")), "missing key 'void_embedding.weight'"),
        (
            lambda c, h: (c, drop(h, "sem_seg_head.predictor.query_feat.weight")),
            "missing key 'sem_seg_head.predictor.query_feat.weight'",
        ),
        (
            lambda c, h: (c, h | {"sem_seg_head.predictor.extra": torch.zeros(1)}),
            "unknown key 'sem_seg_head.predictor.extra'",
        ),
        (lambda c, h: (drop(c, "ln_final.bias"), h), "missing key 'backbone.clip_model.ln_final"),
        (
            lambda c, h: (c, h | {"void_embedding.weight": torch.zeros(1, 63)}),
            r"'void_embedding.weight' is \(1, 63\), not \(1, 64\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(model, states, change, message):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        model.load_published(*change(*states))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_safetensors_and_plain_pth_files_load(model, states, tmp_path):
    clip, head = states
    save_file(clip, tmp_path / "clip.safetensors")
    torch.save({"model": head}, tmp_path / "head.pth")
    model.load_published(tmp_path / "clip.safetensors", str(tmp_path / "head.pth"))
    assert_loaded(model, clip, head)


class Code:
    def __reduce__(self):
        return (print, ("this must not run",))


def test_a_pth_file_with_code_in_it_is_not_opened(model, states, tmp_path, capsys):
    torch.save({"model": states[1], "extra": Code()}, tmp_path / "head.pth")
    with pytest.raises(ValueError, match=r"convert it to \.safetensors"):
        model.load_published(states[0], tmp_path / "head.pth")
    assert "must not run" not in capsys.readouterr().out


def test_other_file_types_are_refused(model, states, tmp_path):
    with pytest.raises(ValueError, match="is of no known type"):
        model.load_published(states[0], tmp_path / "head.pkl")
