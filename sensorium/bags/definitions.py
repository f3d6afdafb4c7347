"""Message definitions as bags store them: the .msg texts of a type and of all types inside it."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rosbags.interfaces import Nodetype
from rosbags.typesys import (
    Stores,
    TypesysError,
    get_types_from_idl,
    get_types_from_msg,
    get_typestore,
)
from rosbags.typesys.store import Typestore

from sensorium.bags.records import BagError

_SEPARATOR = "=" * 80 + "\n"
_IDL_MARK = _SEPARATOR + "IDL: "
_MESSAGE_PARTS = 3


@dataclass(frozen=True, slots=True)
class MessageDefinition:
    """A message type in the words of a bag.

    Attributes:
        type_name: e.g. "sensor_msgs/msg/Image".
        text: the .msg text, followed by that of every type it contains.
        type_hash: RIHS01 hash of the type.
    """

    type_name: str
    text: str
    type_hash: str


class MessageDefinitions:
    """Finds definitions in the installed ROS packages, and in `rosbags` what is not installed.

    Installed texts come first: they are what the type support on this machine was made from, and
    they keep their comments, so units travel with the recording.

    Args:
        prefixes: directories that have ``share/<package>/msg``; by default those of
            AMENT_PREFIX_PATH and the virtual environment.
    """

    def __init__(self, prefixes: Iterable[Path] | None = None) -> None:
        if prefixes is None:
            listed = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
            prefixes = [Path(prefix) for prefix in (*listed, sys.prefix) if prefix]
        self._prefixes = tuple(dict.fromkeys(prefixes))
        self._known: dict[str, MessageDefinition] = {}

    def of(self, type_name: str) -> MessageDefinition:
        """Return the definition of a message type.

        Raises:
            BagError: the type is neither installed nor a standard one.
        """
        if type_name not in self._known:
            self._known[type_name] = self._installed(type_name) or _standard(type_name)
        return self._known[type_name]

    def _installed(self, type_name: str) -> MessageDefinition | None:
        texts: dict[str, str] = {}
        waiting = [type_name]
        store = get_typestore(Stores.EMPTY)
        while waiting:
            name = waiting.pop(0)
            if name in texts:
                continue
            text = self._installed_text(name)
            if text is None:
                return None
            texts[name] = text
            try:
                types = get_types_from_msg(text, name)
            except TypesysError as error:
                raise BagError(f"installed definition of {name} cannot be read: {error}") from None
            store.register(types)
            waiting += _contained(types[name][1])
        root, *others = texts
        text = texts[root] + "".join(
            f"\n{_SEPARATOR}MSG: {name.replace('/msg/', '/')}\n{texts[name]}" for name in others
        )
        return MessageDefinition(type_name, text, store.hash_rihs01(type_name))

    def _installed_text(self, type_name: str) -> str | None:
        parts = type_name.split("/")
        if len(parts) != _MESSAGE_PARTS or parts[1] != "msg":
            return None
        for prefix in self._prefixes:
            path = prefix / "share" / parts[0] / "msg" / f"{parts[2]}.msg"
            if path.is_file():
                return path.read_text(encoding="utf-8")
        return None


def definition_hash(type_name: str, text: str) -> str:
    """Return the RIHS01 hash of a definition as stored in a bag; empty when it cannot be read."""
    store = get_typestore(Stores.EMPTY)
    try:
        if text.startswith(_IDL_MARK):
            for part in text.split(_SEPARATOR)[1:]:
                store.register(get_types_from_idl(part.split("\n", 1)[1]))
        else:
            store.register(get_types_from_msg(text, type_name))
        return store.hash_rihs01(type_name)
    except (TypesysError, KeyError, IndexError):
        return ""


def _contained(fields: Iterable[tuple[str, object]]) -> list[str]:
    """Return the message types that a message's fields hold."""
    names: list[str] = []
    for _, description in fields:
        node: object = description
        while isinstance(node, tuple) and node[0] in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            node = node[1][0]
        if isinstance(node, tuple) and node[0] == Nodetype.NAME:
            names.append(str(node[1]))
    return names


@functools.lru_cache(maxsize=1)
def _standard_types() -> Typestore:
    return get_typestore(Stores.ROS2_KILTED)


def _standard(type_name: str) -> MessageDefinition:
    store = _standard_types()
    try:
        text, _ = store.generate_msgdef(type_name, ros_version=2)
        return MessageDefinition(type_name, text, store.hash_rihs01(type_name))
    except (TypesysError, KeyError):
        package = type_name.split("/", maxsplit=1)[0]
        raise BagError(
            f"no definition of message type '{type_name}': package '{package}' is not installed "
            "and the type is not a standard one; install the package (its share/<package>/msg)"
        ) from None
