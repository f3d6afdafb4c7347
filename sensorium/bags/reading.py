"""Reading rosbag2 recordings: MCAP and sqlite3, compressed or not, without decoding messages."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Protocol

import apsw
from rosbags.interfaces import Connection, ConnectionExtRosbag2
from rosbags.rosbag2 import Reader, ReaderError

from sensorium.bags.mcap_scan import ScannedMcap, has_index
from sensorium.bags.metadata import STORAGE_SUFFIXES, read_metadata
from sensorium.bags.records import BagError, BagMessage, BagTopic, OfferedQos

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_NS_PER_S = 1_000_000_000
# What `rosbags` and the libraries below it raise on damaged files.
_DAMAGE = (
    ReaderError, apsw.Error, zstd.ZstdError, OSError, EOFError, ValueError, KeyError, TypeError,
    IndexError, RuntimeError, AssertionError,
)  # fmt: skip


class _StorageFile(Protocol):
    """One file of a bag."""

    topics: list[BagTopic]
    start_ns: int
    end_ns: int

    def messages(
        self, topics: Collection[str], start_ns: int, stop_ns: int
    ) -> Iterator[BagMessage]: ...

    def close(self) -> None: ...


class BagReader:
    """An open recording.

    Takes what `ros2 bag record` writes: a directory with metadata.yaml (one or several MCAP or
    sqlite3 files; zstd compression of chunks, messages or files) or one bare ``.mcap`` or ``.db3``
    file. The messages come from the files, also where metadata.yaml disagrees with them.

    Args:
        path: directory or file.
        salvage: read what is intact of truncated MCAP files and of directories that lost their
            metadata.yaml, instead of refusing them.

    Attributes:
        path: the path given.
        topics: {name: topic}, sorted by name.
        start_ns: stamp of the earliest message [ns]; 0 in a bag without messages.
        end_ns: stamp of the latest message [ns].
        message_count: number of messages.
        notes: what the user should know, e.g. how much of a truncated file is missing.

    Raises:
        BagError: the bag cannot be read; the text says why and what to do.
    """

    def __init__(self, path: Path | str, salvage: bool = False) -> None:
        self.path = Path(path)
        self.notes: list[str] = []
        self._salvage = salvage
        self._stack = ExitStack()
        self._files: list[_StorageFile] = []
        try:
            hashes, expected = self._open()
        except BaseException:
            self._stack.close()
            raise
        self.topics = self._merged_topics(hashes)
        self.message_count = sum(topic.message_count for topic in self.topics.values())
        recorded = [file for file in self._files if any(t.message_count for t in file.topics)]
        self.start_ns = min((file.start_ns for file in recorded), default=0)
        self.end_ns = max((file.end_ns for file in recorded), default=0)
        if expected is not None and expected != self.message_count:
            self.notes.append(
                f"metadata.yaml counts {expected} messages, the files hold {self.message_count}; "
                "those of the files are used (`ros2 bag reindex` mends metadata.yaml)"
            )

    @property
    def duration_s(self) -> float:
        """Time between the first and the last message [s]."""
        return (self.end_ns - self.start_ns) / _NS_PER_S

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[BagMessage]:
        """Yield messages in order of time (files of a split bag one after the other).

        Args:
            topics: names of the topics; None for all.
            start_ns: first stamp [ns]; None for the beginning.
            stop_ns: stamp after the last [ns]; None for the end.

        Raises:
            BagError: the bag is damaged further on; what came before is good.
        """
        chosen = set(self.topics) if topics is None else set(topics)
        first = 0 if start_ns is None else start_ns
        last = 2**63 - 1 if stop_ns is None else stop_ns
        for file in self._files:
            if chosen:
                yield from file.messages(chosen, first, last)

    def close(self) -> None:
        """Close the files and remove temporary ones."""
        self._stack.close()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> tuple[dict[str, str], int | None]:
        """Open the files; returns type hashes by topic and the count that metadata.yaml gives."""
        if not self.path.exists():
            raise BagError(f"bag {self.path} does not exist; check the path")
        if not self.path.is_dir():
            self._open_file(self.path)
            return {}, None
        metadata_path = self.path / "metadata.yaml"
        if not metadata_path.exists():
            self._open_without_metadata()
            return {}, None
        metadata = read_metadata(metadata_path)
        for name in metadata["relative_file_paths"]:
            # Version 4 and older wrote paths relative to the parent directory.
            self._open_file(self.path / PurePath(name).name)
        topics = [entry["topic_metadata"] for entry in metadata["topics_with_message_count"]]
        hashes = {topic["name"]: topic.get("type_description_hash", "") for topic in topics}
        return hashes, int(metadata["message_count"])

    def _open_without_metadata(self) -> None:
        files = sorted(
            p for p in self.path.iterdir() if p.suffix in (*STORAGE_SUFFIXES.values(), ".zstd")
        )
        if not files:
            raise BagError(
                f"{self.path} is not a bag: it has neither metadata.yaml nor .mcap or .db3 files"
            )
        if not self._salvage:
            raise BagError(
                f"bag {self.path} has no metadata.yaml (the recorder did not end properly); make "
                f"one with `ros2 bag reindex`, give the file itself ({files[0].name}), or read "
                "what is intact with salvage=true"
            )
        self.notes.append(f"no metadata.yaml: the {len(files)} file(s) are read in order of name")
        for path in files:
            self._open_file(path)

    def _open_file(self, path: Path) -> None:
        if not path.exists():
            raise BagError(
                f"bag {self.path} lacks its file {path.name}, which metadata.yaml names; copy the "
                "whole directory, or make metadata.yaml anew with `ros2 bag reindex`"
            )
        if path.suffix == ".zstd":
            path = self._decompressed_file(path)
        file: _StorageFile
        try:
            if path.suffix == ".mcap" and not self._has_index(path):
                file = self._scanned(path)
            elif path.suffix in STORAGE_SUFFIXES.values():
                _refuse_open_log(path)
                file = _IndexedFile(path)
            else:
                raise BagError(
                    f"{path} is not a bag: storages are {', '.join(STORAGE_SUFFIXES.values())} (or "
                    "a directory with metadata.yaml); ROS 1 bags convert with `rosbags-convert`"
                )
        except BagError:
            raise
        except _DAMAGE as error:
            raise BagError(
                f"{path} is damaged and cannot be opened ({error or type(error).__name__}); "
                + _remedy(path)
            ) from error
        self._stack.callback(file.close)
        self._files.append(file)

    def _has_index(self, path: Path) -> bool:
        try:
            return has_index(path)
        except BagError:
            if self._salvage and path.stat().st_size:
                return False
            raise

    def _scanned(self, path: Path) -> ScannedMcap:
        scanned = ScannedMcap(path)
        missing = scanned.total_bytes - scanned.intact_bytes
        text = f"{path.name} has no index and was scanned"
        if missing:
            text = (
                f"{path.name} is truncated: {scanned.intact_bytes} of {scanned.total_bytes} bytes "
                f"are intact, {sum(t.message_count for t in scanned.topics)} messages"
            )
        if scanned.damaged_chunks:
            text += f"; {scanned.damaged_chunks} damaged chunk(s) left out in whole or in part"
        self.notes.append(text)
        if scanned.damaged_chunks and not self._salvage:
            scanned.close()
            raise BagError(f"{text}; {_remedy(path)}")
        return scanned

    def _decompressed_file(self, path: Path) -> Path:
        folder = self._stack.enter_context(TemporaryDirectory(prefix="sensorium_bag_"))
        target = Path(folder) / path.stem
        try:
            with zstd.open(path, "rb") as packed, target.open("wb") as plain:
                shutil.copyfileobj(packed, plain, 2**20)
        except (zstd.ZstdError, EOFError) as error:
            raise BagError(
                f"{path} is truncated or damaged ({error}) and file compression cannot be read in "
                "part; copy it again from the recording machine"
            ) from error
        except OSError as error:
            raise BagError(
                f"{path} cannot be unpacked to {folder}: {error.strerror}; free space there or "
                "point TMPDIR to a larger disk"
            ) from error
        return target

    def _merged_topics(self, hashes: dict[str, str]) -> dict[str, BagTopic]:
        merged: dict[str, BagTopic] = {}
        for topic in (topic for file in self._files for topic in file.topics):
            known = merged.get(topic.name)
            if known is None:
                stored = topic.type_hash or hashes.get(topic.name, "")
                merged[topic.name] = replace(topic, type_hash=stored)
                continue
            if known.type_name != topic.type_name:
                self._stack.close()
                raise BagError(
                    f"bag {self.path} has topic {topic.name} with two types, {known.type_name} and "
                    f"{topic.type_name}; split it with `ros2 bag convert`"
                )
            merged[topic.name] = replace(
                known,
                offered_qos=tuple(dict.fromkeys(known.offered_qos + topic.offered_qos)),
                message_count=known.message_count + topic.message_count,
                definition=known.definition or topic.definition,
            )
        return dict(sorted(merged.items()))


class _IndexedFile:
    """A whole file, read by `rosbags`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader = Reader(path)
        self._reader.open()
        self.topics = [_topic(connection) for connection in self._reader.connections]
        self.start_ns = self._reader.start_time
        self.end_ns = self._reader.end_time - 1

    def messages(
        self, topics: Collection[str], start_ns: int, stop_ns: int
    ) -> Iterator[BagMessage]:
        chosen = [known for known in self._reader.connections if known.topic in topics]
        if not chosen:
            return
        try:
            for connection, stamp_ns, data in self._reader.messages(chosen, start_ns, stop_ns):
                # CDR begins with a zero byte, so this can only be message compression; a bare .db3
                # has no metadata.yaml that would say so.
                plain = zstd.decompress(data) if data[:4] == _ZSTD_MAGIC else data
                yield BagMessage(connection.topic, stamp_ns, bytes(plain))
        except _DAMAGE as error:
            raise BagError(
                f"{self._path} is damaged further on ({error or type(error).__name__}); "
                + _remedy(self._path)
            ) from error

    def close(self) -> None:
        self._reader.close()


def _topic(connection: Connection) -> BagTopic:
    extension = connection.ext
    if not isinstance(extension, ConnectionExtRosbag2):
        raise TypeError("not a rosbag2 connection")
    if extension.serialization_format != "cdr":
        raise BagError(
            f"topic {connection.topic} is serialised as '{extension.serialization_format}'; only "
            "'cdr' is supported, convert the bag with `ros2 bag convert`"
        )
    return BagTopic(
        connection.topic,
        connection.msgtype,
        tuple(OfferedQos.from_storage(qos) for qos in extension.offered_qos_profiles),
        connection.msgcount,
        connection.msgdef.data,
        connection.digest,
    )


def _refuse_open_log(path: Path) -> None:
    """Refuse a database whose last messages are still in its write-ahead log."""
    log = path.with_name(path.name + "-wal")
    if path.suffix == ".db3" and log.exists() and log.stat().st_size:
        raise BagError(
            f"{path} still has messages in {log.name} (the recorder was killed); merge them with "
            f"`sqlite3 {path.name} 'PRAGMA wal_checkpoint(TRUNCATE)'`"
        )


def _remedy(path: Path) -> str:
    if path.suffix == ".db3":
        return f'recover it with `sqlite3 {path.name} ".recover" | sqlite3 new.db3`'
    return "read what is intact with salvage=true, or repair it with `mcap recover`"
