"""What a bag consists of: topics with the QoS they were offered with, and undecoded messages."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

# How rmw writes "no deadline", "lives forever": the largest duration in nanoseconds.
INFINITE_NS = 2**63 - 1

_NS_PER_S = 1_000_000_000


class BagError(ValueError):
    """A bag cannot be read or written; the text names the file, what is wrong and the remedy."""


class BagMessage(NamedTuple):
    """One recorded message.

    Attributes:
        topic: absolute topic name.
        stamp_ns: when it was recorded [ns]; not the stamp in its header.
        data: the serialised message (CDR with its four bytes of encapsulation), as recorded.
    """

    topic: str
    stamp_ns: int
    data: bytes


@dataclass(frozen=True, slots=True)
class OfferedQos:
    """The QoS that one publisher offered while it was recorded.

    Names are those of rmw in lower case; "unknown" is what DDS discovery does not tell (history and
    depth of a remote publisher).
    """

    reliability: str = "reliable"
    durability: str = "volatile"
    history: str = "unknown"
    depth: int = 0
    deadline_ns: int = INFINITE_NS
    lifespan_ns: int = INFINITE_NS
    liveliness: str = "automatic"
    liveliness_lease_ns: int = INFINITE_NS

    @classmethod
    def from_storage(cls, qos: Qos) -> OfferedQos:
        """Return the profile that `rosbags` read."""
        return cls(
            qos.reliability.name.lower(),
            qos.durability.name.lower(),
            qos.history.name.lower(),
            qos.depth,
            _nanoseconds(qos.deadline),
            _nanoseconds(qos.lifespan),
            qos.liveliness.name.lower(),
            _nanoseconds(qos.liveliness_lease_duration),
        )

    def to_storage(self) -> Qos:
        """Return the profile as `rosbags` writes it."""
        return Qos(
            QosHistory[self.history.upper()],
            self.depth,
            QosReliability[self.reliability.upper()],
            QosDurability[self.durability.upper()],
            _time(self.deadline_ns),
            _time(self.lifespan_ns),
            QosLiveliness[self.liveliness.upper()],
            _time(self.liveliness_lease_ns),
            avoid_ros_namespace_conventions=False,
        )


@dataclass(frozen=True, slots=True)
class BagTopic:
    """One topic of a bag.

    Attributes:
        name: absolute topic name.
        type_name: message type, e.g. "sensor_msgs/msg/Image".
        offered_qos: one profile per publisher that was recorded; may be empty.
        message_count: messages in the bag.
        definition: message definition stored in the bag; empty in old sqlite3 bags.
        type_hash: RIHS01 hash stored in the bag; empty when it holds none.
    """

    name: str
    type_name: str
    offered_qos: tuple[OfferedQos, ...] = ()
    message_count: int = 0
    definition: str = ""
    type_hash: str = ""

    @property
    def is_durable(self) -> bool:
        """True when a late joiner must get what was published before it came."""
        return self.name.rpartition("/")[2] == "tf_static" or any(
            qos.durability == "transient_local" for qos in self.offered_qos
        )


class TopicFilter:
    """Chooses topics by name and by regular expression.

    A topic is chosen when it is named or `regex` is found in its name (with neither given, every
    topic is), unless `exclude_regex` is found in it.

    Args:
        names: topic names; the leading slash may be left out.
        regex: regular expression searched in topic names; empty for none.
        exclude_regex: regular expression of topics that are left out; empty for none.

    Raises:
        BagError: an expression is not valid.
    """

    def __init__(self, names: Iterable[str] = (), regex: str = "", exclude_regex: str = "") -> None:
        self.names = frozenset("/" + name.lstrip("/") for name in names)
        self._regex = _compiled(regex)
        self._exclude = _compiled(exclude_regex)

    def accepts(self, topic: str) -> bool:
        """Return whether a topic is chosen."""
        if self._exclude and self._exclude.search(topic):
            return False
        if topic in self.names or (self._regex and self._regex.search(topic)):
            return True
        return not self.names and self._regex is None

    def require_known(self, known: Collection[str]) -> None:
        """Check that every topic given by name exists.

        Raises:
            BagError: one does not; the text lists those that do.
        """
        missing = sorted(self.names - set(known))
        if missing:
            raise BagError(
                f"topic(s) {', '.join(missing)} are not in the bag; it has "
                f"{', '.join(sorted(known)) or 'no topics'}"
            )


def _compiled(expression: str) -> re.Pattern[str] | None:
    if not expression:
        return None
    try:
        return re.compile(expression)
    except re.error as error:
        raise BagError(f"topic expression '{expression}' is not valid: {error}") from None


def _nanoseconds(time: QosTime) -> int:
    # Old recorders wrote 2**31-1 s or 2**64-1 ns for "infinite".
    return min(time.sec * _NS_PER_S + time.nsec, INFINITE_NS)


def _time(nanoseconds: int) -> QosTime:
    return QosTime(*divmod(nanoseconds, _NS_PER_S))
