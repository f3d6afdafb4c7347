"""The tokenizer against ids worked out from the merge list and against known CLIP ids."""

import gzip

import pytest

from sensorium.models.fcclip.tokenizer import MERGE_FILE, Tokenizer, split_words

START, END = 49406, 49407


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer()


def merge_list():
    lines = gzip.decompress(MERGE_FILE.read_bytes()).decode().split("\n")
    return [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]


def test_known_sentences_have_their_clip_ids(tokenizer):
    assert tokenizer.encode("a photo of a cat") == [START, 320, 1125, 539, 320, 2368, END]
    assert tokenizer.encode("hello world!") == [START, 3306, 1002, 256, END]


def test_the_id_of_a_letter_is_its_place_among_the_printable_bytes(tokenizer):
    # "!" is byte 33, the first printable one; a letter that ends a word comes 256 later.
    assert tokenizer.bpe_ids("!") == [0 + 256]
    assert tokenizer.bpe_ids("a") == [ord("a") - ord("!") + 256]
    assert tokenizer.bpe_ids("\u20ac") != []


def test_the_first_merge_of_the_list_has_the_first_id_after_the_bytes(tokenizer):
    assert merge_list()[0] == ("i", "n")
    # "in" inside a word that nothing else merges with: the z's keep the pair apart.
    symbols = tokenizer.bpe_ids("zqinqz")
    assert 512 in symbols


@pytest.mark.parametrize("word", ["table", "robotics", "zebra", "xylophonist", "conveyor", "qqq"])
def test_a_word_is_merged_in_the_order_of_the_list(tokenizer, word):
    # Worked the other way round: go through the whole list once and apply every merge fully.
    # That gives the same symbols because a merge is listed after the merges that make its parts.
    symbols = [*word[:-1], word[-1] + "</w>"]
    for left, right in merge_list():
        i = 0
        while i < len(symbols) - 1:
            if (symbols[i], symbols[i + 1]) == (left, right):
                symbols[i : i + 2] = [left + right]
            i += 1
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printable]
    made = {left + right: 512 + rank for rank, (left, right) in enumerate(merge_list())}
    expected = [
        made[s]
        if s in made
        else letters.index(s.removesuffix("</w>")) + (256 if s.endswith("</w>") else 0)
        for s in symbols
    ]
    assert tokenizer.bpe_ids(word) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's  the\tdog's 2nd", ["it", "'s", "the", "dog", "'s", "2", "nd"]),
        ("T-shirt, size 42!?", ["t", "-", "shirt", ",", "size", "4", "2", "!?"]),
        ("We'll can't", ["we", "'ll", "can", "'t"]),
        ("don\u2019t \u201csay\u201d", ["don", "'t", '"', "say", '"']),
        ("caf\u00e9 e\u0301t\u00e9", ["caf\u00e9", "\u00e9t\u00e9"]),
        ("salt &amp;amp; pepper", ["salt", "&", "pepper"]),
        ("\ufb01ne \uff21\uff22", ["fine", "ab"]),
        ("bell\x07 x\u00b2", ["bell", "x", "\u00b2"]),
        ("", []),
        ("   ", []),
    ],
)
def test_text_is_cleaned_and_split_into_words(text, words):
    assert split_words(text) == words


def test_case_and_surrounding_space_do_not_matter(tokenizer):
    assert tokenizer.encode("  Robot ARM ") == tokenizer.encode("robot arm")


def test_a_long_text_is_cut_before_the_end_token(tokenizer):
    rows = tokenizer.encode("cat " * 200)
    assert len(rows) == 77
    assert rows[0] == START
    assert rows[-1] == END
    assert set(rows[1:-1]) == {2368}


def test_a_part_of_the_table_spells_other_words_with_smaller_tokens(tokenizer):
    cat, a_photo = tokenizer.bpe_ids("cat")[0], tokenizer.bpe_ids("a photo of a")
    kept = [*range(512), *sorted({cat, *a_photo}), START, END]
    small = Tokenizer(kept_tokens=kept)
    assert [kept[row] for row in small.encode("a photo of a cat")] == tokenizer.encode(
        "a photo of a cat"
    )
    spelled = [kept[row] for row in small.encode("dog")]
    d, o, g_end = (ord("d") - 33, ord("o") - 33, ord("g") - 33 + 256)
    assert spelled == [START, d, o, g_end, END]
    assert max(small.encode("zebra crossing 123 \u6f22")) < len(kept)


def test_a_table_that_cannot_spell_every_text_is_refused():
    with pytest.raises(ValueError, match=r"lacks the BPE ids \[0\] \(1 in all\)"):
        Tokenizer(kept_tokens=[*range(1, 512), START, END])
    with pytest.raises(ValueError, match="start and end tokens must be kept"):
        Tokenizer(kept_tokens=range(512))
