"""Reading an MCAP file from front to back: for files that lost their index or their end.

A recorder that was killed, or a disk that ran full, leaves a file without the index that readers
start from. Its chunks are still there: this module walks over the records (MCAP specification,
https://mcap.dev/spec), keeps what is whole and says how much that is.
"""

from __future__ import annotations

import heapq
import struct
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple
from zlib import crc32

from lz4.frame import decompress as lz4_decompress  # type: ignore[import-untyped]
from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.metadata import parse_qos

from sensorium.bags.records import BagError, BagMessage, BagTopic, OfferedQos

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b"\x89MCAP0\r\n"
_FOOTER_BYTES = 9 + 20 + len(MAGIC)
_RECORD_HEAD = struct.Struct("<BQ")
_MESSAGE_HEAD = struct.Struct("<HIQQ")
_CHUNK_HEAD = struct.Struct("<QQQI")
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F
_LAST_OPCODE = 0x0F
_DAMAGE = (struct.error, ValueError, RuntimeError, OSError, EOFError, zstd.ZstdError)


def has_index(path: Path) -> bool:
    """Return whether an MCAP file has a summary section.

    Raises:
        BagError: the file is empty, is not MCAP, or its end is missing (it was cut short).
    """
    size = path.stat().st_size
    if size == 0:
        raise BagError(f"{path} is empty (0 bytes): nothing was recorded; delete it")
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise BagError(f"{path} is not an MCAP file (its first bytes are not the MCAP magic)")
        if size < len(MAGIC) + _FOOTER_BYTES:
            footer = b""
        else:
            file.seek(-_FOOTER_BYTES, 2)
            footer = file.read()
    if not footer.endswith(MAGIC) or footer[0] != 0x02:
        raise BagError(
            f"{path} is truncated: it ends after {size} bytes without the MCAP footer (the "
            "recorder was killed, the disk ran full or the copy is incomplete); read what is "
            "intact with salvage=true, or repair it with `mcap recover`"
        )
    return bool(struct.unpack_from("<Q", footer, 9)[0])


class _Chunk(NamedTuple):
    """A chunk: where it is, when it begins, and how much of its content holds whole records."""

    start_ns: int
    offset: int
    length: int
    intact: int


class _Loose(NamedTuple):
    """A message outside chunks (or in the cut-off last chunk): where its bytes are."""

    stamp_ns: int
    offset: int
    length: int
    channel: int


@dataclass
class _Found:
    """What a scan found."""

    schemas: dict[int, tuple[str, str]] = field(default_factory=dict)
    channels: dict[int, BagTopic] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    chunks: list[_Chunk] = field(default_factory=list)
    loose: list[_Loose] = field(default_factory=list)
    damaged_chunks: int = 0
    first_ns: int = 2**63 - 1
    last_ns: int = -1

    def note_message(self, channel: int, stamp_ns: int) -> None:
        self.counts[channel] += 1
        self.first_ns = min(self.first_ns, stamp_ns)
        self.last_ns = max(self.last_ns, stamp_ns)


class ScannedMcap:
    """The intact messages of an MCAP file, in order of time.

    Every chunk is decompressed and checked once when the file is opened (about 0.5 GB/s). One chunk
    at a time is held in memory.

    Attributes:
        topics: the topics with the number of intact messages.
        start_ns: stamp of the first message; 0 without messages.
        end_ns: stamp of the last message; 0 without messages.
        intact_bytes: length of the part that could be read.
        total_bytes: length of the file.
        damaged_chunks: chunks inside the intact part whose content fails its checksum (left out)
            or ends early (read as far as it is whole).

    Raises:
        BagError: the file cannot be opened or does not begin like an MCAP file.
    """

    def __init__(self, path: Path) -> None:
        self.total_bytes = path.stat().st_size
        self._file: BinaryIO = path.open("rb")
        if self._file.read(len(MAGIC)) != MAGIC:
            self._file.close()
            raise BagError(f"{path} is not an MCAP file (its first bytes are not the MCAP magic)")
        self._found = _Found()
        self.intact_bytes = self._scan_file()
        found = self._found
        self.damaged_chunks = found.damaged_chunks
        found.loose.sort(key=lambda message: message.stamp_ns)
        self.topics = [
            BagTopic(
                topic.name, topic.type_name, topic.offered_qos, found.counts[channel],
                topic.definition,
            )
            for channel, topic in found.channels.items()
        ]  # fmt: skip
        self.start_ns = found.first_ns if found.last_ns >= 0 else 0
        self.end_ns = max(found.last_ns, 0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def messages(
        self, topics: Collection[str], start_ns: int, stop_ns: int
    ) -> Iterator[BagMessage]:
        """Yield the messages of `topics` with start_ns <= stamp < stop_ns, in order of time."""
        names = {
            channel: topic.name
            for channel, topic in self._found.channels.items()
            if topic.name in topics
        }
        sources = [self._chunk_messages(chunk, names) for chunk in self._found.chunks]
        sources.append(self._loose_messages(names))
        for stamp_ns, _, message in heapq.merge(*sources, key=lambda entry: entry[:2]):
            if message is not None and start_ns <= stamp_ns < stop_ns:
                yield message

    def _chunk_messages(
        self, chunk: _Chunk, names: dict[int, str]
    ) -> Iterator[tuple[int, int, BagMessage | None]]:
        # The first entry holds no message: it delays decompression until the chunk's time comes.
        yield chunk.start_ns, chunk.offset, None
        self._file.seek(chunk.offset)
        content = _decompressed(self._file.read(chunk.length))[: chunk.intact]
        entries = []
        for opcode, begin, end in _records(content):
            if opcode == _MESSAGE:
                channel, _, stamp_ns, _ = _MESSAGE_HEAD.unpack_from(content, begin)
                if channel in names:
                    data = bytes(content[begin + _MESSAGE_HEAD.size : end])
                    entries.append(BagMessage(names[channel], stamp_ns, data))
        entries.sort(key=lambda message: message.stamp_ns)
        for message in entries:
            yield message.stamp_ns, chunk.offset, message

    def _loose_messages(
        self, names: dict[int, str]
    ) -> Iterator[tuple[int, int, BagMessage | None]]:
        for stamp_ns, offset, length, channel in self._found.loose:
            if channel in names:
                self._file.seek(offset)
                message = BagMessage(names[channel], stamp_ns, self._file.read(length))
                yield stamp_ns, offset, message

    def _scan_file(self) -> int:
        """Walk over the records of the file; returns the offset of the first that is not whole."""
        position = len(MAGIC)
        while True:
            self._file.seek(position)
            head = self._file.read(_RECORD_HEAD.size)
            if len(head) < _RECORD_HEAD.size:
                return position
            opcode, length = _RECORD_HEAD.unpack(head)
            begin = position + _RECORD_HEAD.size
            # Opcode 0 does not exist: it is how a file looks that lost its last disk blocks.
            if not 0 < opcode <= _LAST_OPCODE:
                return position
            if begin + length > self.total_bytes:
                if opcode == _CHUNK:
                    return self._scan_cut_chunk(begin)
                return position
            try:
                self._read_record(opcode, begin, length)
            except _DAMAGE:
                return position
            position = begin + length
            if opcode == _DATA_END:
                return self.total_bytes

    def _read_record(self, opcode: int, begin: int, length: int) -> None:
        found = self._found
        if opcode == _MESSAGE:
            channel, _, stamp_ns, _ = _MESSAGE_HEAD.unpack(self._file.read(_MESSAGE_HEAD.size))
            self._note_loose(channel, stamp_ns, begin, length)
        elif opcode in (_SCHEMA, _CHANNEL):
            self._note_definition(opcode, self._file.read(length))
        elif opcode == _CHUNK:
            chunk = self._file.read(length)
            try:
                content = _decompressed(chunk)
            except _DAMAGE:
                found.damaged_chunks += 1
                return
            start_ns, _, _, _ = _CHUNK_HEAD.unpack_from(chunk)
            records = list(_records(content))
            if records and records[-1][2] < len(content):
                # What follows the last record is not one (lost disk blocks), so its own end is
                # suspect too.
                found.damaged_chunks += 1
                records.pop()
            intact = records[-1][2] if records else 0
            found.chunks.append(_Chunk(start_ns, begin, length, intact))
            for inner, first, last in records:
                if inner == _MESSAGE:
                    channel, _, stamp_ns, _ = _MESSAGE_HEAD.unpack_from(content, first)
                    found.note_message(channel, stamp_ns)
                elif inner in (_SCHEMA, _CHANNEL):
                    self._note_definition(inner, bytes(content[first:last]))

    def _scan_cut_chunk(self, begin: int) -> int:
        """Read the whole records of a last chunk that was cut off; only when not compressed."""
        self._file.seek(begin)
        rest = self._file.read()
        try:
            compression, position = _string(rest, _CHUNK_HEAD.size)
            if compression:
                return begin - _RECORD_HEAD.size
            content = memoryview(rest)[position + 8 :]
            offset = begin + position + 8
            intact = offset
            for opcode, first, last in _records(content):
                if opcode == _MESSAGE:
                    channel, _, stamp_ns, _ = _MESSAGE_HEAD.unpack_from(content, first)
                    self._note_loose(channel, stamp_ns, offset + first, last - first)
                elif opcode in (_SCHEMA, _CHANNEL):
                    self._note_definition(opcode, bytes(content[first:last]))
                intact = offset + last
        except _DAMAGE:
            return begin - _RECORD_HEAD.size
        return intact

    def _note_loose(self, channel: int, stamp_ns: int, begin: int, length: int) -> None:
        head = _MESSAGE_HEAD.size
        self._found.loose.append(_Loose(stamp_ns, begin + head, length - head, channel))
        self._found.note_message(channel, stamp_ns)

    def _note_definition(self, opcode: int, record: bytes) -> None:
        found = self._found
        (key,) = struct.unpack_from("<H", record)
        if opcode == _SCHEMA:
            name, position = _string(record, 2)
            _, position = _string(record, position)
            text, _ = _string(record, position)
            found.schemas[key] = (name, text)
        elif key not in found.channels:
            (schema,) = struct.unpack_from("<H", record, 2)
            topic, position = _string(record, 4)
            _, position = _string(record, position)
            type_name, definition = found.schemas.get(schema, ("", ""))
            found.channels[key] = BagTopic(
                topic, type_name, _offered_qos(record, position), 0, definition
            )


def _records(content: memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield (opcode, begin, end) of the whole records in a chunk's content."""
    position = 0
    while position + _RECORD_HEAD.size <= len(content):
        opcode, length = _RECORD_HEAD.unpack_from(content, position)
        begin = position + _RECORD_HEAD.size
        if not 0 < opcode <= _LAST_OPCODE or begin + length > len(content):
            return
        yield opcode, begin, begin + length
        position = begin + length


def _decompressed(chunk: bytes) -> memoryview:
    """Return the content of a chunk record, checked against its length and checksum."""
    _, _, size, checksum = _CHUNK_HEAD.unpack_from(chunk)
    compression, position = _string(chunk, _CHUNK_HEAD.size)
    packed = memoryview(chunk)[position + 8 :]
    if compression == "zstd":
        content = memoryview(zstd.decompress(packed))
    elif compression == "lz4":
        content = memoryview(lz4_decompress(packed))
    elif compression == "":
        content = packed
    else:
        raise ValueError(f"chunk compression '{compression}' is not known")
    if len(content) != size or (checksum and crc32(content) != checksum):
        raise ValueError("chunk does not match its checksum")
    return content


def _string(record: bytes, position: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", record, position)
    end = position + 4 + length
    if end > len(record):
        raise ValueError("string is longer than its record")
    return record[position + 4 : end].decode(), end


def _offered_qos(record: bytes, position: int) -> tuple[OfferedQos, ...]:
    end = position + 4 + int(struct.unpack_from("<I", record, position)[0])
    position += 4
    while position < end:
        key, position = _string(record, position)
        value, position = _string(record, position)
        if key == "offered_qos_profiles":
            try:
                return tuple(OfferedQos.from_storage(qos) for qos in parse_qos(value))
            except (ReaderError, KeyError, TypeError):
                return ()
    return ()
