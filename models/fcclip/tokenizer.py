"""CLIP's byte-pair tokenizer: text to rows of the token embedding table.

Source: the byte-pair encoding of CLIP (Radford et al. 2021, section 2.4; merge list in
``vocabulary/``, MIT). Text is cleaned, lower-cased and split into words; the bytes of a word are
mapped to printable characters and merged pair by pair in the order of the merge list.
"""

from __future__ import annotations

import gzip
import html
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

MERGE_FILE = Path(__file__).parent / "vocabulary" / "bpe_simple_vocab_16e6.txt.gz"
MERGE_COUNT = 49152 - 256 - 2
START_TOKEN = "<|startoftext|>"  # noqa: S105
END_TOKEN = "<|endoftext|>"  # noqa: S105
END_OF_WORD = "</w>"
CONTRACTIONS = ("'re", "'ve", "'ll", "'s", "'t", "'m", "'d")
STRAIGHT_QUOTES = str.maketrans(dict.fromkeys("‘’‚‛ʼ", "'") | dict.fromkeys("“”„‟", '"'))  # noqa: RUF001
LATIN_LIGATURES = frozenset("ĲĳŉǱǲǳǄǅǆǇǈǉǊǋǌﬀﬁﬂﬃﬄﬅﬆ")
FULL_WIDTH = range(0xFF01, 0xFFF0)
IDEOGRAPHIC_SPACE = "\u3000"


class Tokenizer:
    """Byte-pair tokenizer with the whole token table or with a part of it.

    Args:
        kept_tokens: BPE ids (0..49407) that own a row of the embedding table, in row order; None
            for all of them. Kept must be the start and end token and all 512 byte tokens, so that
            every text can be spelled.
        context_length: Longest sequence, start and end tokens included.

    Raises:
        ValueError: If a token that is needed to spell every text is not kept.
    """

    def __init__(self, kept_tokens: Sequence[int] | None = None, context_length: int = 77) -> None:
        self.context_length = context_length
        self._ids, self._ranks = _read_merges()
        self._parts = {a + b: (a, b) for a, b in self._ranks}
        ids = range(len(self._ids)) if kept_tokens is None else kept_tokens
        self._row = {bpe_id: row for row, bpe_id in enumerate(ids)}
        needed = [*range(2 * 256), self._ids[START_TOKEN], self._ids[END_TOKEN]]
        missing = [bpe_id for bpe_id in needed if bpe_id not in self._row]
        if missing:
            raise ValueError(
                f"kept_tokens lacks the BPE ids {missing[:5]} ({len(missing)} in all); the 512 "
                "byte tokens and the start and end tokens must be kept"
            )

    def bpe_ids(self, text: str) -> list[int]:
        """Return the BPE ids of a text in the full table, without start and end tokens."""
        return [self._ids[symbol] for word in split_words(text) for symbol in self._merge(word)]

    def encode(self, text: str) -> list[int]:
        """Return the embedding rows of a text, start and end tokens included.

        A text longer than the context is cut so that the end token is the last one.
        """
        symbols = [
            s for word in split_words(text) for m in self._merge(word) for s in self._kept(m)
        ]
        symbols = [START_TOKEN, *symbols[: self.context_length - 2], END_TOKEN]
        return [self._row[self._ids[symbol]] for symbol in symbols]

    def _merge(self, word: str) -> list[str]:
        characters = _byte_characters()
        symbols = [characters[byte] for byte in word.encode("utf-8")]
        symbols[-1] += END_OF_WORD
        while len(symbols) > 1:
            pairs = list(pairwise(symbols))
            best = min(pairs, key=lambda pair: self._ranks.get(pair, MERGE_COUNT))
            if best not in self._ranks:
                break
            merged: list[str] = []
            for symbol in symbols:
                if merged and (merged[-1], symbol) == best:
                    merged[-1] = "".join(best)
                else:
                    merged.append(symbol)
            symbols = merged
        return symbols

    def _kept(self, symbol: str) -> list[str]:
        if self._ids[symbol] in self._row:
            return [symbol]
        left, right = self._parts[symbol]
        return [*self._kept(left), *self._kept(right)]


def split_words(text: str) -> list[str]:
    """Clean a text and split it as CLIP does.

    Words are runs of letters, single numerals, English contractions and runs of other visible
    characters. Cleaning straightens curly quotes, ligatures and full-width forms, composes accents
    (NFC), resolves HTML entities twice and drops control characters. Text that was decoded with the
    wrong character set is not repaired (the original uses the ``ftfy`` package for that).
    """
    text = html.unescape(html.unescape(_straighten(text))).lower()
    words: list[str] = []
    i = 0
    while i < len(text):
        contraction = next((c for c in CONTRACTIONS if text.startswith(c, i)), None)
        kind = _kind(text[i])
        if contraction:
            words.append(contraction)
        elif kind == "number":
            words.append(text[i])
        elif kind == "space":
            i += 1
            continue
        else:
            end = i + 1
            while end < len(text) and _kind(text[end]) == kind:
                end += 1
            words.append(text[i:end])
        i += len(words[-1])
    return words


def _kind(character: str) -> str:
    category = unicodedata.category(character)
    if category.startswith("L"):
        return "letter"
    if category.startswith("N"):
        return "number"
    return "space" if character.isspace() else "other"


def _straighten(text: str) -> str:
    text = "".join(
        unicodedata.normalize("NFKC", c) if c in LATIN_LIGATURES or ord(c) in FULL_WIDTH else c
        for c in text.replace(IDEOGRAPHIC_SPACE, " ")
    )
    text = unicodedata.normalize("NFC", text.translate(STRAIGHT_QUOTES))
    return "".join(c for c in text if c.isspace() or unicodedata.category(c) != "Cc")


@lru_cache(maxsize=1)
def _byte_characters() -> dict[int, str]:
    """Map each byte to a printable character, printable Latin-1 bytes to themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {byte: chr(byte) for byte in printable}
    others = (byte for byte in range(256) if byte not in table)
    return table | {byte: chr(256 + i) for i, byte in enumerate(others)}


@lru_cache(maxsize=1)
def _read_merges() -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    """Return the id of every symbol and the rank of every merge.

    Ids: 256 byte characters, the same at the end of a word, one per merge, start, end.
    """
    lines = gzip.decompress(MERGE_FILE.read_bytes()).decode("utf-8").split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 1 + MERGE_COUNT]]
    characters = list(_byte_characters().values())
    symbols = [
        *characters,
        *(c + END_OF_WORD for c in characters),
        *("".join(pair) for pair in merges),
        START_TOKEN,
        END_TOKEN,
    ]
    ids = {symbol: i for i, symbol in enumerate(symbols)}
    return ids, {(a, b): rank for rank, (a, b) in enumerate(merges)}
