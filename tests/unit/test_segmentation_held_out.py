"""What the training of fcclip-small must never see."""

from pathlib import Path

import numpy as np
import pytest

from sensorium.segmentation.rendered_names import (
    HELD_OUT_NAMES,
    MASK_NAMES,
    THINGS,
    held_out_combinations,
    photo_scenes,
    training_combinations,
    training_names,
    view_scenes,
)
from sensorium.sources.random_scene import COLORS, random_scene

TRAINING = Path(__file__).parents[2] / "training" / "segmentation"


@pytest.fixture
def captions(monkeypatch):
    monkeypatch.syspath_prepend(str(TRAINING))
    return pytest.importorskip("captions")


def test_a_fifth_of_the_combinations_and_three_names_are_held_out():
    held_out = held_out_combinations()
    assert 5 * len(held_out) >= len(COLORS) * len(THINGS)
    assert len(HELD_OUT_NAMES) == 3
    for word in (*COLORS, *THINGS):
        left_out = sum(word in pair.split() for pair in held_out)
        assert 0 < left_out <= 4, word
    assert not set(held_out) & set(training_combinations())
    assert len(training_combinations()) + sum(
        pair.split()[1] in MASK_NAMES for pair in held_out
    ) == len(COLORS) * len(MASK_NAMES)


def test_nothing_held_out_counts_as_seen():
    seen = set(training_names())
    assert not seen & set(held_out_combinations())
    assert not any(name in words.split() for words in seen for name in HELD_OUT_NAMES)


@pytest.mark.parametrize("seed", range(20))
def test_training_scenes_hold_nothing_that_is_held_out(seed):
    held_out = set(held_out_combinations())
    for options in (view_scenes(), photo_scenes()):
        for thing in random_scene(seed, options).objects:
            assert f"{thing.color} {thing.category}" not in held_out
            if options == view_scenes():
                assert thing.category not in HELD_OUT_NAMES


def test_captions_never_name_a_held_out_combination(captions):
    random = np.random.default_rng(0)
    held_out = [tuple(pair.split()) for pair in held_out_combinations()]
    for attributes, _ in captions.GRANULARITIES:
        for phrase in captions.other_phrases(attributes, 300, random):
            words = phrase.split()
            assert not any(color in words and name in words for color, name in held_out)


def test_a_phrase_with_a_size_gets_no_second_one(captions):
    facts = {"size": "small", "color": "red", "material": "striped", "category": "mug"}
    phrase = captions.description(facts, ("category", "size", "color"))
    assert phrase == "small red mug"
    random = np.random.default_rng(0)
    for _ in range(50):
        text = captions.caption(phrase, random)
        assert phrase in text
        assert not any(size in text.replace(phrase, "").split() for size in ("medium", "large"))


def test_the_token_table_spells_every_class_name_in_whole_words(captions):
    from sensorium.models.fcclip.tokenizer import Tokenizer

    kept = captions.kept_tokens()
    whole, cut = Tokenizer(), Tokenizer(kept)
    for name in training_names():
        assert len(cut.encode(name)) == len(whole.encode(name)), name
    assert len(kept) < 700
    assert len(cut.encode("zebra crossing")) > len(whole.encode("zebra crossing"))
