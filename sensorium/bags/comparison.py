"""Two recordings compared topic by topic and stamp by stamp, with a tolerance for numbers.

Messages are paired by the stamp in their header (transforms by stamps and frames, messages without
either by their order), never by when they were recorded: so a replay can be held against the live
run. Decoding uses the definitions in the bags; no ROS is needed.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from sensorium.bags.message_difference import Difference, Tolerance, compare_messages
from sensorium.bags.reading import BagReader
from sensorium.bags.records import BagError, BagMessage, BagTopic

# Said anew by every run: logs, health, clocks, states of nodes.
VOLATILE_TOPICS = (
    r"^/(rosout|diagnostics|parameter_events|clock)$|/transition_event$|^/bag_player/status$"
)
_SEPARATOR = "=" * 80 + "\n"
Key = tuple[Any, ...]


@dataclass(slots=True)
class TopicComparison:
    """What was found for one topic.

    Attributes:
        name: topic.
        first_count: messages in the first bag.
        second_count: messages in the second.
        paired: messages with the same stamp in both.
        only_first: stamps or keys that only the first bag has, in words.
        only_second: those that only the second has.
        difference: of the paired messages, all together.
        worst_pair: key of the pair in which `difference.worst` was found.
        problem: why nothing could be compared; "" where it could.
    """

    name: str
    first_count: int = 0
    second_count: int = 0
    paired: int = 0
    only_first: list[str] = field(default_factory=list)
    only_second: list[str] = field(default_factory=list)
    difference: Difference = field(default_factory=Difference)
    worst_pair: str = ""
    problem: str = ""

    def same(self, missing: int, outside_share: float) -> bool:
        """True when both say the same.

        Args:
            missing: messages that either bag may lack.
            outside_share: share of the numbers that may lie outside the tolerance, 0 to 1.
        """
        return (
            not self.problem
            and not self.difference.mismatch
            and len(self.only_first) <= missing
            and len(self.only_second) <= missing
            and self.difference.outside <= outside_share * self.difference.numbers
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """Which topics and fields are compared.

    Attributes:
        topics: names; empty for all.
        ignored: regular expression of topics that are left out.
        ignored_fields: names of fields that are left out wherever they occur.
    """

    topics: tuple[str, ...] = ()
    ignored: str = VOLATILE_TOPICS
    ignored_fields: frozenset[str] = frozenset({"latency_s", "inference_s"})


def compare_bags(
    first: Path, second: Path, choice: Choice, tolerance: Tolerance
) -> tuple[list[TopicComparison], list[str]]:
    """Compare two recordings.

    Args:
        first: rosbag2 directory or file.
        second: the other.
        choice: what is compared.
        tolerance: for numbers.

    Returns:
        One result per topic, sorted by name, and the topics that were left out.

    Raises:
        BagError: a bag cannot be read, an expression is not valid, a topic is in neither bag.
    """
    try:
        ignored = re.compile(choice.ignored) if choice.ignored else None
    except re.error as error:
        raise BagError(f"expression '{choice.ignored}' is not valid: {error}") from None
    with BagReader(first) as bag_a, BagReader(second) as bag_b:
        known = sorted(bag_a.topics.keys() | bag_b.topics.keys())
        named = ["/" + name.lstrip("/") for name in choice.topics]
        unknown = sorted(set(named) - set(known))
        if unknown:
            raise BagError(f"{', '.join(unknown)} is in neither bag; they have {', '.join(known)}")
        chosen = named or [n for n in known if not (ignored and ignored.search(n))]
        results = {name: TopicComparison(name) for name in chosen}
        decoders: dict[str, _Decoder] = {}
        for name, result in results.items():
            a, b = bag_a.topics.get(name), bag_b.topics.get(name)
            result.first_count = a.message_count if a else 0
            result.second_count = b.message_count if b else 0
            if a is None or b is None:
                result.problem = f"only in {first if b is None else second}"
            elif a.type_name != b.type_name:
                result.problem = f"types {a.type_name} and {b.type_name}"
            else:
                decoders[name] = _Decoder(a, b)
        _compare_streams(bag_a, bag_b, decoders, results, choice.ignored_fields, tolerance)
    return [results[name] for name in sorted(results)], sorted(set(known) - set(chosen))


def _compare_streams(
    bag_a: BagReader,
    bag_b: BagReader,
    decoders: dict[str, _Decoder],
    results: dict[str, TopicComparison],
    ignored_fields: Collection[str],
    tolerance: Tolerance,
) -> None:
    # Whatever is paired is let go at once, so long recordings need little memory.
    waiting: tuple[dict[tuple[str, Key], bytes], ...] = ({}, {})
    repeats: tuple[Counter[tuple[str, Key]], ...] = (Counter(), Counter())
    orders: tuple[Counter[str], ...] = (Counter(), Counter())
    for side, message in _in_step(bag_a, bag_b, decoders):
        topic, decoder, result = message.topic, decoders[message.topic], results[message.topic]
        if result.problem:
            continue
        try:
            decoded = decoder.decode(side, message.data)
        except BagError as error:
            result.problem = str(error)
            continue
        orders[side][topic] += 1
        key = _key(decoded, orders[side][topic])
        repeats[side][topic, key] += 1
        key = (*key, repeats[side][topic, key])
        other = waiting[1 - side].pop((topic, key), None)
        if other is None:
            waiting[side][topic, key] = message.data
            continue
        pair = [decoded, decoder.decode(1 - side, other)]
        found = compare_messages(pair[side], pair[1 - side], tolerance, ignored_fields)
        result.paired += 1
        if result.difference.add(found):
            result.worst_pair = _in_words(key)
    for side, lists in enumerate(("only_first", "only_second")):
        missing: dict[str, list[str]] = defaultdict(list)
        for topic, key in waiting[side]:
            missing[topic].append(_in_words(key))
        for topic, words in missing.items():
            setattr(results[topic], lists, words)


def _in_step(
    bag_a: BagReader, bag_b: BagReader, topics: Collection[str]
) -> Iterator[tuple[int, BagMessage]]:
    """Yield (0 or 1, message) of both bags, each in its order, in step by time since the start."""
    if not topics:
        return
    streams = [bag_a.messages(topics), bag_b.messages(topics)]
    starts = [bag_a.start_ns, bag_b.start_ns]
    heads = [next(stream, None) for stream in streams]
    while True:
        open_sides = [
            (head.stamp_ns - start, side)
            for side, (head, start) in enumerate(zip(heads, starts, strict=True))
            if head is not None
        ]
        if not open_sides:
            return
        side = min(open_sides)[1]
        message = heads[side]
        assert message is not None  # noqa: S101 - of an open side
        yield side, message
        heads[side] = next(streams[side], None)


def _key(message: Any, order: int) -> Key:  # noqa: ANN401 - a decoded message
    header = getattr(message, "header", None)
    if header is not None:
        return "stamp", _stamp_ns(header), header.frame_id
    transforms = getattr(message, "transforms", None)
    if transforms is not None:
        return "transforms", *((_stamp_ns(t.header), t.child_frame_id) for t in transforms)
    return "order", order


def _stamp_ns(header: Any) -> int:  # noqa: ANN401
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def _in_words(key: Key) -> str:
    if key[0] == "stamp":
        return f"{key[1] // 1_000_000_000}.{key[1] % 1_000_000_000:09d}"
    return "number " + str(key[1]) if key[0] == "order" else f"transforms {key[1]}"


class _Decoder:
    """Decodes one topic of both bags, each with the definition stored beside it."""

    def __init__(self, first: BagTopic, second: BagTopic) -> None:
        self._type_name = first.type_name
        stores = [_store(topic) for topic in (first, second)]
        self._stores = stores

    def decode(self, side: int, data: bytes) -> object:
        try:
            return self._stores[side].deserialize_cdr(data, self._type_name)
        except Exception as error:  # rosbags raises what its generated code runs into
            raise BagError(
                f"a message of {self._type_name} cannot be decoded: {error!r}"
            ) from error


def _store(topic: BagTopic) -> Typestore:
    if not topic.definition:
        return get_typestore(Stores.ROS2_KILTED)
    store = get_typestore(Stores.EMPTY)
    try:
        if topic.definition.startswith(_SEPARATOR + "IDL: "):
            for part in topic.definition.split(_SEPARATOR)[1:]:
                store.register(get_types_from_idl(part.split("\n", 1)[1]))
        else:
            store.register(get_types_from_msg(topic.definition, topic.type_name))
    except Exception as error:  # any of the parser's errors
        raise BagError(
            f"the definition of {topic.type_name} in the bag cannot be read: {error!r}"
        ) from error
    return store
