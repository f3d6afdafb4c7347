"""FC-CLIP configurations."""

import json

import pytest

from sensorium.models.fcclip import FCCLIPConfig


@pytest.mark.parametrize(
    "config", [FCCLIPConfig(), FCCLIPConfig.reference_small(), FCCLIPConfig(kept_tokens=(1, 2))]
)
def test_a_configuration_survives_json(config):
    assert FCCLIPConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match=r"unknown FC-CLIP settings \['width'\]"):
        FCCLIPConfig.from_dict({"width": 3})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trunk_depths": (1, 2, 3)}, "four numbers each"),
        ({"hidden_dim": 96, "attention_heads": 5}, "multiple of attention_heads 5"),
        ({"hidden_dim": 48}, "multiple of 32"),
        ({"text_width": 100}, "multiple of text_heads 12"),
        ({"size_divisor": 16}, "size_divisor 16 must be a multiple of 32"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        FCCLIPConfig(**changes)


def test_the_small_reference_takes_its_own_input_size_and_threshold():
    small = FCCLIPConfig.reference_small()
    assert (small.short_edge_px, small.overlap_threshold, small.queries) == (96, 0.1, 20)
