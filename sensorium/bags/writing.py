"""Writing rosbag2 recordings in MCAP, from messages that are serialised already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

from rosbags.interfaces import Connection
from rosbags.rosbag2 import (
    CompressionFormat,
    CompressionMode,
    StoragePlugin,
    Writer,
    WriterError,
)
from rosbags.rosbag2.storage_mcap import McapWriter

from sensorium.bags.definitions import MessageDefinition, MessageDefinitions
from sensorium.bags.records import BagError, OfferedQos

# Version 9 stores QoS in a form that Humble cannot parse; 8 is read by Humble to Kilted.
_METADATA_VERSION: Literal[8] = 8
COMPRESSIONS = ("none", "zstd")


class BagWriter:
    """A recording that is being written: a directory with one MCAP file and metadata.yaml.

    `ros2 bag`, Foxglove, Rerun and RViz open it: definitions and offered QoS are stored with each
    topic. Not thread-safe.

    Args:
        path: the directory, which must not exist.
        compression: "none" or "zstd" (chunks are compressed; readers need not know).
        definitions: where message definitions come from; by default the installed packages.

    Raises:
        BagError: the directory exists or cannot be made, or the compression is not known.
    """

    def __init__(
        self,
        path: Path | str,
        compression: str = "none",
        definitions: MessageDefinitions | None = None,
    ) -> None:
        self.path = Path(path)
        if compression not in COMPRESSIONS:
            raise BagError(
                f"compression '{compression}' is not known; allowed are {', '.join(COMPRESSIONS)}"
            )
        self._definitions = definitions or MessageDefinitions()
        self._topics: dict[str, Connection] = {}
        try:
            self._writer = Writer(
                self.path, version=_METADATA_VERSION, storage_plugin=StoragePlugin.MCAP
            )
            if compression == "zstd":
                self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
        except WriterError:
            raise BagError(f"bag {self.path} exists already; choose another name") from None
        except OSError as error:
            raise BagError(
                f"bag {self.path} cannot be made: {error.strerror}; choose a directory that exists "
                "and can be written to"
            ) from error

    def add_topic(
        self,
        name: str,
        type_name: str,
        offered_qos: Sequence[OfferedQos] = (),
        definition: MessageDefinition | None = None,
    ) -> None:
        """Announce a topic; needed once before its first message.

        Args:
            name: absolute topic name.
            type_name: message type, e.g. "sensor_msgs/msg/Image".
            offered_qos: one profile per publisher.
            definition: the definition; looked up when None.

        Raises:
            BagError: the topic was added before, or no definition of its type is found.
        """
        if name in self._topics:
            raise BagError(f"topic {name} was added to bag {self.path} before")
        found = definition or self._definitions.of(type_name)
        self._topics[name] = self._writer.add_connection(
            name,
            type_name,
            msgdef=found.text,
            rihs01=found.type_hash,
            offered_qos_profiles=[qos.to_storage() for qos in dict.fromkeys(offered_qos)],
        )

    def write(self, topic: str, stamp_ns: int, data: bytes | memoryview) -> None:
        """Write one message.

        Args:
            topic: a topic that was added.
            stamp_ns: when it was received [ns], not negative.
            data: the serialised message (CDR), written as it is.

        Raises:
            BagError: the topic was not added.
            OSError: the disk is full or gone.
        """
        if topic not in self._topics:
            raise BagError(f"topic {topic} was not added to bag {self.path}")
        self._writer.write(self._topics[topic], stamp_ns, data)

    def flush(self) -> None:
        """Hand everything to the operating system, so that a killed process loses nothing before.

        Raises:
            OSError: the disk is full or gone.
        """
        storage = self._writer.storage
        if isinstance(storage, McapWriter):
            if storage.chunk.bio.tell():
                storage.close_chunk()
            storage.bio.flush()

    def close(self) -> None:
        """Write the index and metadata.yaml.

        Raises:
            OSError: the disk is full or gone; what was flushed can be salvaged.
        """
        try:
            self._writer.close()
        except OSError:
            self.abort()
            raise

    def abort(self) -> None:
        """Close the file as it is, without index and metadata.yaml."""
        try:
            self._writer.abort()
        except OSError:
            # The buffered rest cannot be written either; the file is released all the same.
            return

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
