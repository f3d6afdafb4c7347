"""The class list a model answers with: names, synonyms, things and their text embeddings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.models.fcclip.coco_names import SEEN_SYNONYMS
from sensorium.models.fcclip.text_embedding import split_synonyms


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """An immutable class list; a result keeps the one it was made with.

    Attributes:
        names: K class entries as given, synonyms separated by commas.
        things: Indices of countable classes; all others are stuff.
        embedding: float32 (S, D), one row of length one per synonym, class by class.
        class_of_row: int64 (S,) class index of each row.
        seen: bool (K,) whether a synonym of the class is a name that the head was trained on.
        version: Counts the vocabularies a model was given, from 1.
    """

    names: tuple[str, ...]
    things: frozenset[int]
    embedding: Tensor
    class_of_row: Tensor
    seen: Tensor
    version: int

    def __len__(self) -> int:
        return len(self.names)

    def label(self, category_id: int) -> str:
        """Return the first synonym of a class."""
        return split_synonyms(self.names[category_id])[0]


def make_vocabulary(
    names: Sequence[str],
    things: Collection[str] | Collection[int] | None,
    encode: Callable[[Sequence[str]], Tensor],
    version: int,
    training_names: Collection[str] | None = None,
) -> Vocabulary:
    """Encode a class list.

    Args:
        names: Class entries, each one name or several synonyms separated by commas.
        things: Entries of ``names`` or indices into it that are countable things; None for all.
        encode: Maps plain names to unit rows (N, D).
        version: Version number of the new vocabulary.
        training_names: Names that count as seen; None for those of COCO.

    Raises:
        TypeError: If ``names`` or ``things`` is one string, or ``things`` holds truth values.
        ValueError: If the list or a name is empty, or a thing is not in the list.
    """
    if isinstance(names, str):
        raise TypeError(f"names is the string {names!r}; pass a list of class entries")
    if not names:
        raise ValueError("the class list is empty; give at least one name")
    synonyms = [split_synonyms(entry) for entry in names]
    thing_ids = _thing_ids(names, things)
    known = SEEN_SYNONYMS if training_names is None else frozenset(training_names)
    embedding = encode([s for group in synonyms for s in group])
    class_of_row = [i for i, group in enumerate(synonyms) for _ in group]
    return Vocabulary(
        names=tuple(names),
        things=thing_ids,
        embedding=embedding,
        class_of_row=torch.tensor(class_of_row, device=embedding.device),
        seen=torch.tensor(
            [not known.isdisjoint(group) for group in synonyms], device=embedding.device
        ),
        version=version,
    )


def _thing_ids(
    names: Sequence[str], things: Collection[str] | Collection[int] | None
) -> frozenset[int]:
    if things is None:
        return frozenset(range(len(names)))
    if isinstance(things, str):
        raise TypeError(f"things is the string {things!r}; pass a list of entries or indices")
    ids = set()
    for thing in things:
        if isinstance(thing, bool):
            raise TypeError("things holds truth values; pass the entries or their indices")
        if isinstance(thing, str):
            matches = [i for i, name in enumerate(names) if name == thing]
        else:
            matches = [int(thing)] if 0 <= thing < len(names) else []
        if not matches:
            raise ValueError(
                f"thing {thing!r} is not in the class list of {len(names)} entries; write it as in "
                "the list or give its index"
            )
        ids.update(matches)
    return frozenset(ids)
