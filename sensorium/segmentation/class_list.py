"""Class lists as users give them: checked before anything is encoded."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

# Class ids are the upper 16 bits of a signed 32-bit panoptic value.
MOST_CLASSES = 32767
LONGEST_NAME = 64
# Names go into logs, pictures and the page: what cannot be seen there, or turns the text around it
# about, has no place in them. Joiners that letters of some scripts need are allowed.
_HIDDEN = ("Cc", "Cs", "Zl", "Zp")
_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class ClassListRefused(ValueError):  # noqa: N818 - an answer, not a fault
    """A class list that cannot be used; the text says what is wrong and how to mend it."""


@dataclass(frozen=True)
class ClassList:
    """A checked class list.

    Attributes:
        names: one entry per class, synonyms separated by commas, without blanks around them.
        things: entries of `names` that are countable things; empty when all are.
    """

    names: tuple[str, ...]
    things: tuple[str, ...]

    @property
    def things_or_all(self) -> tuple[str, ...] | None:
        """The things as FC-CLIP takes them: None for all."""
        return self.things or None


def checked_class_list(names: Sequence[str], things: Sequence[str], limit: int) -> ClassList:
    """Check a class list.

    Two names are the same when they differ only in case or blanks: the text encoder cannot tell
    them apart either.

    Args:
        names: one entry per class, a name or synonyms separated by commas.
        things: entries of `names`, whole or by their first synonym; empty for all.
        limit: most classes.

    Raises:
        ClassListRefused: the list is empty or too long; a name is empty, too long, holds a control
            character or occurs twice; a thing is not in the list.
    """
    if not names:
        raise ClassListRefused("the class list is empty; give at least one name")
    if len(names) > limit:
        raise ClassListRefused(
            f"the class list has {len(names)} entries; 'max_classes' allows {limit}: shorten it or "
            "raise the parameter"
        )
    first_use: dict[str, str] = {}
    entries = []
    for entry in names:
        synonyms = [" ".join(name.split()) for name in entry.split(",")]
        for name in synonyms:
            _check_name(name, entry)
            key = name.lower()
            if key in first_use:
                raise ClassListRefused(
                    f"the name '{name}' occurs twice, in '{first_use[key]}' and '{entry}'; each "
                    "name may stand for one class"
                )
            first_use[key] = entry
        entries.append(",".join(synonyms))
    by_name = {_key(entry): entry for entry in entries}
    by_name |= {entry.partition(",")[0].lower(): entry for entry in entries}
    unknown = [thing for thing in things if _key(thing) not in by_name]
    if unknown:
        raise ClassListRefused(
            f"the thing '{unknown[0]}' is not in the class list; write it as there, or its first "
            "synonym"
        )
    return ClassList(tuple(entries), tuple(dict.fromkeys(by_name[_key(t)] for t in things)))


def _check_name(name: str, entry: str) -> None:
    for letter in name:
        if unicodedata.category(letter) in _HIDDEN or letter in _TURNING:
            raise ClassListRefused(
                f"the name {name[:30]!a} holds the control character U+{ord(letter):04X}; "
                "write it in letters that can be seen"
            )
    if not name:
        raise ClassListRefused(
            f"the entry '{entry}' holds an empty name; separate synonyms by single commas"
        )
    if len(name) > LONGEST_NAME:
        raise ClassListRefused(
            f"the name '{name[:30]}...' has {len(name)} characters; at most {LONGEST_NAME} are "
            "read: describe the class in fewer words"
        )


def _key(entry: str) -> str:
    return ",".join(" ".join(name.split()) for name in entry.split(",")).lower()
