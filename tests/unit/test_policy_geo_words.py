"""The word table: unseen words lie near the known ones that mean the same."""

import pytest
import torch
from geo_policies import fields

from sensorium.models.policy import CheckpointError, ObservationError
from sensorium.models.policy.fields import Fields
from sensorium.models.policy.geo.configuration import read_geo_configuration
from sensorium.models.policy.geo.processor import WORD_MASK, WORDS, InstructionEncoder
from sensorium.models.policy.geo.words import WordTable


@pytest.fixture(scope="module")
def table():
    return WordTable()


def cosine(table, first, second):
    return float(table.encode(first, 1)[0][0] @ table.encode(second, 1)[0][0])


@pytest.mark.parametrize(
    ("word", "same", "other"),
    [
        ("raise", "lift", "touch"), ("elevate", "lift", "tap"), ("tap", "touch", "lift"),
        ("grab", "grasp", "tap"), ("box", "cube", "tray"), ("crimson", "red", "green"),
        ("transfer", "move", "touch"),
    ],
)  # fmt: skip
def test_a_word_lies_nearer_to_its_synonym(table, word, same, other):
    assert cosine(table, word, same) > cosine(table, word, other) + 0.1


def test_words_it_does_not_know_are_left_out_and_said(table):
    assert table.split("Pick up the qwrtzl cube!") == (["pick", "up", "the", "cube"], ["qwrtzl"])
    with_unknown = table.encode("pick up the qwrtzl cube", 8)
    without = table.encode("pick up the cube", 8)
    assert all(torch.equal(a, b) for a, b in zip(with_unknown, without, strict=True))


def test_directions_have_length_one_and_nothing_follows_the_last_word(table):
    vectors, mask = table.encode("touch the cube", 5)
    torch.testing.assert_close(vectors.norm(dim=1), torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0]))
    assert mask.tolist() == [1, 1, 1, 0, 0]


def encoder(table, **changes):
    return InstructionEncoder(read_geo_configuration(Fields(fields(**changes), "a test")), table)


def test_an_instruction_becomes_the_entries_of_the_batch(table):
    made = encoder(table)("pick up the red cube")
    assert made[WORDS].shape == (16, 64)
    assert made[WORD_MASK].sum() == 5


def test_an_instruction_is_needed(table):
    with pytest.raises(ObservationError, match="needs an instruction"):
        encoder(table)(None)


def test_an_instruction_of_unknown_words_is_refused_with_the_words(table):
    with pytest.raises(ObservationError, match="qwrtzl"):
        encoder(table)("qwrtzl zzzqq")


def test_a_policy_trained_with_another_table_is_refused(table):
    with pytest.raises(CheckpointError, match="word table"):
        encoder(table, word_table_sha256="0" * 64)


def test_the_shipped_table_is_small_and_carries_its_licence():
    from sensorium.models.policy.geo.words import TABLE_DIRECTORY

    assert sum(path.stat().st_size for path in TABLE_DIRECTORY.iterdir()) < 1_200_000
    assert "Apache-2.0" in (TABLE_DIRECTORY / "README.md").read_text()
