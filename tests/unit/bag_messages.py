"""Small bags for tests, written by us or as another recorder would write them."""

import struct
from pathlib import Path

from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from sensorium.bags import BagWriter, OfferedQos

LATCHED = OfferedQos("reliable", "transient_local", "keep_last", 1)
SENSOR = OfferedQos("best_effort", "volatile", "unknown", 0)


def string_cdr(text: str) -> bytes:
    data = text.encode() + b"\0"
    return b"\0\1\0\0" + struct.pack("<I", len(data)) + data


def messages(count: int = 40, padding: int = 0) -> list[tuple[str, int, bytes]]:
    """Two interleaved topics; the first message of /latched comes first."""
    result = [("/latched", 1_000, string_cdr("description"))]
    for index in range(count):
        text = f"message {index} " + "x" * padding
        result.append(("/chatter", 2_000 + index * 10, string_cdr(text)))
    return result


def write(path: Path, content: list[tuple[str, int, bytes]], **options: str) -> None:
    with BagWriter(path, **options) as writer:
        writer.add_topic("/latched", "std_msgs/msg/String", [LATCHED])
        writer.add_topic("/chatter", "std_msgs/msg/String", [SENSOR])
        for message in content:
            writer.write(*message)


def write_foreign(
    path: Path, version: int, storage: StoragePlugin, mode: CompressionMode
) -> list[tuple[str, int, bytes]]:
    """Write as another recorder would; returns the messages."""
    content = messages()
    store = get_typestore(Stores.ROS2_KILTED)
    writer = Writer(path, version=version, storage_plugin=storage)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connections = {
            topic: writer.add_connection(
                topic,
                "std_msgs/msg/String",
                typestore=store,
                offered_qos_profiles=[qos.to_storage()],
            )
            for topic, qos in (("/latched", LATCHED), ("/chatter", SENSOR))
        }
        for topic, stamp, data in content:
            writer.write(connections[topic], stamp, data)
    return content
