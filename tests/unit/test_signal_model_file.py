"""Model files are data: what is damaged, contradictory or unknown is refused by name."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from sensorium.models.signals import WEIGHTS, build_network
from sensorium.streaming.model_file import (
    Channel,
    SignalModel,
    SignalModelError,
    load_signal_model,
    save_signal_model,
)

CONFIGURATION = {
    "channels": 2, "window": 16, "classes": 3, "widths": [4], "kernels": [3], "pools": [2],
    "padding": "causal", "head": "mean",
}  # fmt: skip


def model(**changes):
    return SignalModel(
        **{
            "name": "small", "architecture": "convolutional_classifier",
            "configuration": CONFIGURATION,
            "channels": (Channel("a", "N", 1.0, 2.0), Channel("b")), "rate_hz": 50.0,
            "window": 16, "hop": 4, "mode": "stream", "class_names": ("x", "y", "z"), **changes,
        }
    )  # fmt: skip


@pytest.fixture
def path(tmp_path):
    torch.manual_seed(0)
    return save_signal_model(
        tmp_path, model(), build_network("convolutional_classifier", CONFIGURATION).eval()
    )


def change(path, **changes):
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def test_what_was_saved_is_loaded(path):
    loaded, network = load_signal_model(path)
    assert (
        loaded == model(configuration=loaded.configuration, measured=loaded.measured)
        and dict(loaded.configuration) == CONFIGURATION
    )
    assert not network.training
    stored = load_file(path.with_suffix(".safetensors"))
    for name, tensor in network.state_dict().items():
        assert torch.equal(stored[name], tensor)


@pytest.mark.parametrize("name", sorted(p.stem for p in WEIGHTS.glob("*.json")))
def test_shipped_models_load_and_say_how_good_they_are(name):
    loaded, _ = load_signal_model(name)
    assert loaded.name == name
    assert loaded.measured
    assert loaded.notes
    assert all(channel.scale > 0 for channel in loaded.channels)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"format": "other"}, "'format' must be"),
        ({"architecture": "os.system"}, "architecture 'os.system' is unknown"),
        ({"configuration": {**CONFIGURATION, "extra": 1}}, "unknown \\['extra'\\]"),
        ({"configuration": {**CONFIGURATION, "kernels": [4]}}, "must be odd"),
        ({"configuration": {**CONFIGURATION, "widths": [5]}}, "size mismatch"),
        ({"class_names": ["x"]}, "class_names"),
        ({"channels": [{"name": "a"}]}, "1 channels"),
        ({"channels": [{"name": "a"}, {"name": "a"}]}, "named twice"),
        ({"channels": [{"name": "a", "scale": 0.0}, {"name": "b"}]}, "scales must be positive"),
        ({"rate_hz": 0.0}, "rate_hz must be positive"),
        ({"hop": 17}, "hop at most window"),
        ({"mode": "approximate"}, "mode must be one of"),
        ({"surprise": 1}, "unknown fields \\['surprise'\\]"),
        ({"window": None}, "missing"),
        ({"weights_sha256": "0" * 64}, "do not belong together"),
    ],
)
def test_a_contradictory_file_is_refused_by_name(path, changes, text):
    change(path, **changes)
    with pytest.raises(SignalModelError, match=text) as refusal:
        load_signal_model(path)
    assert "small" in str(refusal.value)


def test_damaged_weights_are_refused(path):
    weights = path.with_suffix(".safetensors")
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(SignalModelError, match="SHA-256"):
        load_signal_model(path)
    weights.unlink()
    with pytest.raises(SignalModelError, match="cannot be read"):
        load_signal_model(path)


def test_a_missing_file_and_an_unknown_name_are_refused(tmp_path):
    with pytest.raises(SignalModelError, match="shipped: activity, contact, heartbeat"):
        load_signal_model("nothing")
    with pytest.raises(SignalModelError, match="there is no signal model file"):
        load_signal_model(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(SignalModelError, match="cannot be read as JSON"):
        load_signal_model(tmp_path / "bad.json")
