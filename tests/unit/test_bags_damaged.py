"""Damaged bags: one clear refusal each, and what is intact can be had."""

import sqlite3
import struct
from pathlib import Path

import pytest
import yaml
from bag_messages import messages, write, write_foreign
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from sensorium.bags import BagError, BagReader, BagWriter

CONTENT = messages(count=300, padding=20_000)  # about 6 MB: six chunks


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    write(tmp_path / "bag", CONTENT)
    return tmp_path / "bag"


def cut(path: Path, length: int) -> None:
    with path.open("r+b") as file:
        file.truncate(length)


def test_a_missing_bag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="does not exist"):
        BagReader(tmp_path / "nothing")


def test_a_directory_that_is_no_bag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=r"neither metadata.yaml nor"):
        BagReader(tmp_path)


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.bag"
    path.write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(BagError, match="ROS 1 bags convert"):
        BagReader(path)


def test_missing_metadata_is_refused_and_can_be_salvaged(bag: Path) -> None:
    (bag / "metadata.yaml").unlink()
    with pytest.raises(BagError, match=r"no metadata.yaml .*ros2 bag reindex.*salvage=true"):
        BagReader(bag)
    with BagReader(bag, salvage=True) as reader:
        assert [tuple(message) for message in reader.messages()] == CONTENT
        assert "no metadata.yaml" in reader.notes[0]


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("version", 99, "version 99, newer than 9"),
        ("storage_identifier", "tapes", "names storage 'tapes'; known are mcap, sqlite3"),
        ("compression_format", "lzma", "names compression 'lzma'"),
        ("relative_file_paths", [], "names no files"),
        ("relative_file_paths", ["gone.mcap"], r"lacks its file gone.mcap"),
        ("message_count", None, "cannot be read"),
    ],
)
def test_unusable_metadata_is_refused(bag: Path, key: str, value: object, text: str) -> None:
    path = bag / "metadata.yaml"
    document = yaml.safe_load(path.read_text())
    if value is None:
        del document["rosbag2_bagfile_information"][key]
    else:
        document["rosbag2_bagfile_information"][key] = value
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(BagError, match=text):
        BagReader(bag)


def test_metadata_that_is_not_yaml_is_refused(bag: Path) -> None:
    (bag / "metadata.yaml").write_text("{{{")
    with pytest.raises(BagError, match="ros2 bag reindex"):
        BagReader(bag)


def test_a_bag_without_messages_is_empty_not_wrong(tmp_path: Path) -> None:
    write(tmp_path / "bag", [])
    with BagReader(tmp_path / "bag") as bag:
        assert list(bag.messages()) == []
        assert (bag.message_count, bag.start_ns, bag.end_ns, bag.duration_s) == (0, 0, 0, 0.0)
        assert sorted(bag.topics) == ["/chatter", "/latched"]


def test_an_empty_file_is_refused(bag: Path) -> None:
    (bag / "bag.mcap").write_bytes(b"")
    for salvage in (False, True):
        with pytest.raises(BagError, match=r"bag.mcap is empty \(0 bytes\)"):
            BagReader(bag, salvage=salvage)


def test_a_file_of_something_else_is_refused(bag: Path) -> None:
    (bag / "bag.mcap").write_bytes(b"\x89PNG" * 100)
    for salvage in (False, True):
        with pytest.raises(BagError, match="not an MCAP file"):
            BagReader(bag, salvage=salvage)


@pytest.mark.parametrize("fraction", [0.999, 0.9, 0.5, 0.2])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_truncated_mcap_is_refused_and_its_intact_part_salvaged(
    tmp_path: Path, compression: str, fraction: float
) -> None:
    # Random text, or zstd would leave a single chunk.
    import random

    content = [
        (topic, stamp, data + random.Random(stamp).randbytes(20_000))
        for topic, stamp, data in messages(300)
    ]
    write(tmp_path / "bag", content, compression=compression)
    file = tmp_path / "bag" / "bag.mcap"
    length = int(file.stat().st_size * fraction)
    cut(file, length)
    with pytest.raises(BagError, match=r"truncated: it ends after .* salvage=true"):
        BagReader(tmp_path / "bag")
    with BagReader(tmp_path / "bag", salvage=True) as reader:
        salvaged = [tuple(message) for message in reader.messages()]
        assert salvaged == content[: len(salvaged)]
        assert len(salvaged) == reader.message_count
        # A cut loses at most the chunk it lies in, and without compression only one message.
        lost_bytes = 1_100_000 if compression == "zstd" else 60_000
        assert len(salvaged) >= min(301, (length - lost_bytes) / 20_060)
        if fraction < 0.99:
            assert any("truncated" in note and "are intact" in note for note in reader.notes)


def test_every_cut_of_a_small_file_ends_in_a_refusal_or_in_intact_messages(tmp_path: Path) -> None:
    content = messages(5)
    write(tmp_path / "bag", content)
    file = tmp_path / "bag" / "bag.mcap"
    kept = [len(content)]
    for length in reversed(range(0, file.stat().st_size, 3)):
        cut(file, length)
        with pytest.raises(BagError):
            BagReader(file)
        try:
            reader = BagReader(file, salvage=True)
        except BagError:
            assert length < 8
            continue
        with reader:
            salvaged = [tuple(message) for message in reader.messages()]
        assert salvaged == content[: len(salvaged)]
        kept.append(len(salvaged))
    assert kept == sorted(kept, reverse=True)
    assert set(kept) == set(range(len(content) + 1)), "each cut loses one message at most"


def test_a_file_whose_last_blocks_are_zeros_is_salvaged(bag: Path) -> None:
    file = bag / "bag.mcap"
    whole = file.read_bytes()
    half = len(whole) // 2
    file.write_bytes(whole[:half] + bytes(len(whole) - half))
    with BagReader(bag, salvage=True) as reader:
        salvaged = [tuple(message) for message in reader.messages()]
    assert salvaged == CONTENT[: len(salvaged)]
    assert len(salvaged) > 80


def test_a_damaged_chunk_is_refused_and_the_others_salvaged(tmp_path: Path) -> None:
    write(tmp_path / "bag", messages(2_000, padding=2_000), compression="zstd")
    (tmp_path / "bag" / "metadata.yaml").unlink()
    file = tmp_path / "bag" / "bag.mcap"
    whole = bytearray(file.read_bytes())
    middle = whole.find(b"\x28\xb5\x2f\xfd", len(whole) // 4)
    whole[middle : middle + 4] = b"oops"
    file.write_bytes(whole)
    with BagReader(file) as reader, pytest.raises(BagError, match="damaged further on"):
        list(reader.messages())
    cut(file, len(whole) - 20)
    with BagReader(file, salvage=True) as reader:
        salvaged = list(reader.messages())
        assert "1 damaged chunk(s) left out in whole or in part" in reader.notes[0]
    assert 1_000 < len(salvaged) < 2_001


def test_an_mcap_without_index_is_read_in_order_of_time(tmp_path: Path) -> None:
    """The `fastwrite` preset of ros2 bag: messages outside chunks, no summary."""

    def record(opcode: int, body: bytes) -> bytes:
        return struct.pack("<BQ", opcode, len(body)) + body

    def text(value: str) -> bytes:
        return struct.pack("<I", len(value)) + value.encode()

    magic = b"\x89MCAP0\r\n"
    stamps = [30, 10, 20]
    content = magic + record(0x01, text("ros2") + text("test"))
    content += record(0x03, struct.pack("<H", 1) + text("a/msg/B") + text("ros2msg") + text("x"))
    content += record(0x04, struct.pack("<HH", 1, 1) + text("/b") + text("cdr") + text(""))
    for stamp in stamps:
        content += record(0x05, struct.pack("<HIQQ", 1, 0, stamp, stamp) + bytes([0, 1, stamp]))
    content += record(0x0F, bytes(4)) + record(0x02, bytes(20)) + magic
    path = tmp_path / "fast.mcap"
    path.write_bytes(content)
    with BagReader(path) as reader:
        assert [message.stamp_ns for message in reader.messages()] == [10, 20, 30]
        assert [message.data[2] for message in reader.messages()] == [10, 20, 30]
        assert (reader.start_ns, reader.end_ns) == (10, 30)
        assert reader.topics["/b"].type_name == "a/msg/B"
        assert reader.notes == ["fast.mcap has no index and was scanned"]


def test_a_truncated_database_is_refused(tmp_path: Path) -> None:
    write_foreign(tmp_path / "bag", 8, StoragePlugin.SQLITE3, CompressionMode.NONE)
    file = tmp_path / "bag" / "bag.db3"
    cut(file, file.stat().st_size // 2)
    with (
        pytest.raises(BagError, match=r"sqlite3 bag.db3 \"\.recover\""),
        BagReader(tmp_path / "bag") as reader,
    ):
        list(reader.messages())


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db3"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE things (id INTEGER)")
    with pytest.raises(BagError, match="missing tables"):
        BagReader(path)


def test_a_database_with_an_open_log_is_refused(tmp_path: Path) -> None:
    write_foreign(tmp_path / "bag", 8, StoragePlugin.SQLITE3, CompressionMode.NONE)
    (tmp_path / "bag" / "bag.db3-wal").write_bytes(b"pages")
    with pytest.raises(BagError, match=r"messages in bag.db3-wal .*wal_checkpoint"):
        BagReader(tmp_path / "bag")


def test_a_truncated_compressed_file_is_refused(tmp_path: Path) -> None:
    write_foreign(tmp_path / "bag", 8, StoragePlugin.SQLITE3, CompressionMode.FILE)
    file = tmp_path / "bag" / "bag.db3.zstd"
    cut(file, file.stat().st_size // 2)
    with pytest.raises(BagError, match="file compression cannot be read in part"):
        BagReader(tmp_path / "bag")


def test_a_flushed_bag_survives_the_death_of_its_writer(tmp_path: Path) -> None:
    content = messages(20)
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/latched", "std_msgs/msg/String")
    writer.add_topic("/chatter", "std_msgs/msg/String")
    for message in content:
        writer.write(*message)
    writer.flush()
    snapshot = (tmp_path / "bag" / "bag.mcap").read_bytes()
    writer.abort()
    path = tmp_path / "killed.mcap"
    path.write_bytes(snapshot)
    with BagReader(path, salvage=True) as reader:
        assert [tuple(message) for message in reader.messages()] == content


def test_one_topic_with_two_types_is_refused(tmp_path: Path) -> None:
    for name, type_name in (("one", "std_msgs/msg/String"), ("two", "std_msgs/msg/Int32")):
        with BagWriter(tmp_path / name) as writer:
            writer.add_topic("/thing", type_name)
            writer.write("/thing", 1, b"\0\1\0\0abcd")
    (tmp_path / "two" / "two.mcap").rename(tmp_path / "one" / "two.mcap")
    (tmp_path / "one" / "metadata.yaml").unlink()
    with pytest.raises(BagError, match="with two types, std_msgs/msg/String and std_msgs/msg/Int"):
        BagReader(tmp_path / "one", salvage=True)
