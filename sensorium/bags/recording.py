"""Recording in the background: callbacks hand messages over, one thread writes them."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from sensorium.bags.definitions import MessageDefinition, MessageDefinitions
from sensorium.bags.records import BagError, BagMessage, OfferedQos
from sensorium.bags.writing import BagWriter

_FLUSH_PERIOD_S = 1.0
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class RecordingCounts:
    """What became of the messages of a recording: received = written + dropped + held.

    Attributes:
        received: messages handed over.
        written: messages written to the file.
        dropped: messages lost because the queue was full or the disk failed.
        held: messages waiting in the queue.
        held_bytes: their size.
        written_by_topic: messages written, by topic.
        dropped_by_topic: messages lost, by topic.
    """

    received: int
    written: int
    dropped: int
    held: int
    held_bytes: int
    written_by_topic: dict[str, int] = field(default_factory=dict)
    dropped_by_topic: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _NewTopic:
    name: str
    offered_qos: tuple[OfferedQos, ...]
    definition: MessageDefinition


class BackgroundRecording:
    """Writes to a bag from a thread of its own, through a queue bounded in bytes.

    The file is flushed every second. When the disk fails, or has less free space than asked for,
    the recording ends with `error` set and everything after that counts as dropped; the process
    lives on. The thread is not a daemon: a file that is being closed is closed to the end.

    Args:
        writer: the bag; it belongs to this object from now on.
        definitions: where message definitions come from.
        queue_bytes: most bytes that wait; the newest message is dropped beyond.
        minimum_free_bytes: the recording ends when the disk has less free space.
    """

    def __init__(
        self,
        writer: BagWriter,
        definitions: MessageDefinitions,
        queue_bytes: int,
        minimum_free_bytes: int,
    ) -> None:
        self.error = ""
        self._writer = writer
        self._definitions = definitions
        self._queue_bytes = queue_bytes
        self._minimum_free_bytes = minimum_free_bytes
        self._condition = threading.Condition()
        self._queue: deque[BagMessage | _NewTopic] = deque()
        self._held = self._held_bytes = self._received = 0
        self._written: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="bag writer")
        self._thread.start()

    def add_topic(self, name: str, type_name: str, offered_qos: Sequence[OfferedQos]) -> None:
        """Announce a topic; needed once before its first message.

        Raises:
            BagError: no definition of its type is found.
        """
        definition = self._definitions.of(type_name)
        with self._condition:
            self._queue.append(_NewTopic(name, tuple(offered_qos), definition))

    def offer(self, topic: str, stamp_ns: int, data: bytes) -> bool:
        """Hand over a message; False when it was dropped. Never blocks on the disk."""
        with self._condition:
            self._received += 1
            full = self._held and self._held_bytes + len(data) > self._queue_bytes
            if full or self.error or self._closing:
                self._dropped[topic] += 1
                return False
            self._queue.append(BagMessage(topic, stamp_ns, data))
            self._held += 1
            self._held_bytes += len(data)
            self._condition.notify()
            return True

    @property
    def counts(self) -> RecordingCounts:
        """The counts, taken at one moment."""
        with self._condition:
            return RecordingCounts(
                self._received,
                sum(self._written.values()),
                sum(self._dropped.values()),
                self._held,
                self._held_bytes,
                dict(self._written),
                dict(self._dropped),
            )

    def close(self, timeout_s: float | None = None) -> bool:
        """Write what is held, then index and metadata.yaml.

        Returns:
            False when that takes longer than `timeout_s`; the thread goes on.
        """
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        flush_s = time.monotonic() + _FLUSH_PERIOD_S
        try:
            self._require_space()
            while True:
                with self._condition:
                    remaining_s = max(0.0, flush_s - time.monotonic())
                    self._condition.wait_for(lambda: self._queue or self._closing, remaining_s)
                    if self._closing and not self._queue:
                        break
                    batch = len(self._queue)
                for _ in range(batch):
                    self._write(self._queue[0])
                    self._queue.popleft()
                if time.monotonic() >= flush_s:
                    self._writer.flush()
                    self._require_space()
                    flush_s = time.monotonic() + _FLUSH_PERIOD_S
            self._writer.close()
        except OSError as error:
            self._fail(f"writing {self._writer.path} failed: {error.strerror or error}")
            self._writer.abort()
        except BagError as error:
            self._fail(str(error))
            self._close_after_failure()

    def _write(self, entry: BagMessage | _NewTopic) -> None:
        if isinstance(entry, _NewTopic):
            self._writer.add_topic(
                entry.name, entry.definition.type_name, entry.offered_qos, entry.definition
            )
            return
        self._writer.write(*entry)
        with self._condition:
            self._written[entry.topic] += 1
            self._held -= 1
            self._held_bytes -= len(entry.data)

    def _require_space(self) -> None:
        free = shutil.disk_usage(self._writer.path).free
        if free < self._minimum_free_bytes:
            raise BagError(
                f"recording {self._writer.path} was ended: the disk has {free // _MB} MB free, "
                f"less than the {self._minimum_free_bytes // _MB} MB that are to stay free; make "
                "room and start a new recording"
            )

    def _fail(self, text: str) -> None:
        """End the recording: what waits is lost, and said to be lost."""
        with self._condition:
            self.error = text
            for entry in self._queue:
                if isinstance(entry, BagMessage):
                    self._dropped[entry.topic] += 1
            self._queue.clear()
            self._held = self._held_bytes = 0

    def _close_after_failure(self) -> None:
        try:
            self._writer.close()
        except OSError:
            # The first failure is the one to report; the file can be salvaged.
            return
