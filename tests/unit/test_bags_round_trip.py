"""Bags written by each kind of recorder are read back message by message, byte by byte."""

import struct
from pathlib import Path

import pytest
import yaml
from bag_messages import LATCHED, SENSOR, messages, string_cdr, write, write_foreign
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from sensorium.bags import (
    BagError,
    BagReader,
    BagWriter,
    MessageDefinition,
    MessageDefinitions,
    TopicFilter,
    definition_hash,
)


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_what_is_written_is_read_back_byte_by_byte(tmp_path: Path, compression: str) -> None:
    content = messages(count=300, padding=20_000)  # several chunks
    write(tmp_path / "bag", content, compression=compression)
    with BagReader(tmp_path / "bag") as bag:
        assert [tuple(message) for message in bag.messages()] == content
        assert bag.message_count == 301
        assert bag.start_ns == 1_000
        assert bag.end_ns == 2_000 + 299 * 10
        assert bag.notes == []
        assert bag.topics["/latched"].offered_qos == (LATCHED,)
        assert bag.topics["/latched"].is_durable
        assert bag.topics["/chatter"].offered_qos == (SENSOR,)
        assert not bag.topics["/chatter"].is_durable
        assert bag.topics["/chatter"].message_count == 300


@pytest.mark.parametrize("version", [8, 9])
@pytest.mark.parametrize(
    ("storage", "mode"),
    [
        (StoragePlugin.MCAP, CompressionMode.NONE),
        (StoragePlugin.MCAP, CompressionMode.STORAGE),
        (StoragePlugin.MCAP, CompressionMode.MESSAGE),
        (StoragePlugin.MCAP, CompressionMode.FILE),
        (StoragePlugin.SQLITE3, CompressionMode.NONE),
        (StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
        (StoragePlugin.SQLITE3, CompressionMode.FILE),
    ],
)
def test_every_storage_and_compression_is_read(
    tmp_path: Path, version: int, storage: StoragePlugin, mode: CompressionMode
) -> None:
    content = write_foreign(tmp_path / "bag", version, storage, mode)
    with BagReader(tmp_path / "bag") as bag:
        assert [tuple(message) for message in bag.messages()] == content
        assert bag.topics["/latched"].offered_qos == (LATCHED,)
        assert "string data" in bag.topics["/latched"].definition
        assert bag.topics["/latched"].type_hash.startswith("RIHS01_df668c74")


@pytest.mark.parametrize("storage", list(StoragePlugin))
@pytest.mark.parametrize("mode", [CompressionMode.MESSAGE, CompressionMode.FILE])
def test_a_bare_file_is_read_without_its_metadata(
    tmp_path: Path, storage: StoragePlugin, mode: CompressionMode
) -> None:
    content = write_foreign(tmp_path / "bag", 9, storage, mode)
    (tmp_path / "bag" / "metadata.yaml").unlink()
    (file,) = (tmp_path / "bag").iterdir()
    with BagReader(file) as bag:
        assert [tuple(message) for message in bag.messages()] == content


def test_a_bag_of_the_oldest_layout_is_read(tmp_path: Path) -> None:
    """Foxy: version 4, paths with the directory in front, QoS as a YAML text, no definitions."""
    content = write_foreign(tmp_path / "bag", 8, StoragePlugin.SQLITE3, CompressionMode.NONE)
    path = tmp_path / "bag" / "metadata.yaml"
    document = yaml.safe_load(path.read_text())
    information = document["rosbag2_bagfile_information"]
    information["version"] = 4
    information["relative_file_paths"] = ["bag/bag.db3"]
    for key in ("files", "custom_data", "ros_distro"):
        del information[key]
    path.write_text(yaml.safe_dump(document))
    with BagReader(tmp_path / "bag") as bag:
        assert [tuple(message) for message in bag.messages()] == content


def test_a_split_bag_is_read_in_the_order_of_its_files(tmp_path: Path) -> None:
    content = messages(10)
    write(tmp_path / "one", content[:5])
    write(tmp_path / "two", content[5:])
    path = tmp_path / "one" / "metadata.yaml"
    (tmp_path / "two" / "two.mcap").rename(tmp_path / "one" / "two.mcap")
    document = yaml.safe_load(path.read_text())
    information = document["rosbag2_bagfile_information"]
    information["relative_file_paths"].append("two.mcap")
    information["message_count"] = 11
    path.write_text(yaml.safe_dump(document))
    with BagReader(tmp_path / "one") as bag:
        assert [tuple(message) for message in bag.messages()] == content
        assert bag.topics["/chatter"].message_count == 10
        assert bag.end_ns == content[-1][1]
        assert bag.notes == []


def test_messages_are_chosen_by_topic_and_time(tmp_path: Path) -> None:
    content = messages(40)
    write(tmp_path / "bag", content)
    with BagReader(tmp_path / "bag") as bag:
        chosen = list(bag.messages(["/chatter"], start_ns=2_100, stop_ns=2_200))
        assert [message.stamp_ns for message in chosen] == list(range(2_100, 2_200, 10))
        assert [message.topic for message in bag.messages(["/latched"])] == ["/latched"]
        assert list(bag.messages([])) == []


def test_metadata_that_miscounts_is_noted_and_the_files_count(tmp_path: Path) -> None:
    content = messages(10)
    write(tmp_path / "bag", content)
    path = tmp_path / "bag" / "metadata.yaml"
    path.write_text(path.read_text().replace("message_count: 11", "message_count: 7"))
    with BagReader(tmp_path / "bag") as bag:
        assert len(list(bag.messages())) == 11
        assert "counts 7 messages, the files hold 11" in bag.notes[0]


def test_metadata_is_version_8_which_every_distribution_reads(tmp_path: Path) -> None:
    write(tmp_path / "bag", messages(3))
    document = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())
    information = document["rosbag2_bagfile_information"]
    assert information["version"] == 8
    assert information["storage_identifier"] == "mcap"
    profiles = information["topics_with_message_count"][0]["topic_metadata"]["offered_qos_profiles"]
    assert isinstance(profiles, str)  # Humble parses a text with numbers, not a list with names
    assert yaml.safe_load(profiles)[0]["durability"] == 1


def test_another_mcap_reader_opens_the_file_and_decodes_it(tmp_path: Path) -> None:
    reader = pytest.importorskip("mcap.reader", reason="mcap is not installed")
    write(tmp_path / "bag", messages(5), compression="zstd")
    with (tmp_path / "bag" / "bag.mcap").open("rb") as file:
        opened = reader.make_reader(file)
        assert opened.get_header().profile == "ros2"
        read = [
            (schema.name, schema.encoding, channel.topic, message.data)
            for schema, channel, message in opened.iter_messages()
        ]
    assert len(read) == 6
    assert read[0] == (
        "std_msgs/msg/String", "ros2msg", "/latched", string_cdr("description"),
    )  # fmt: skip


def test_definitions_come_from_installed_texts_with_their_comments(tmp_path: Path) -> None:
    folder = tmp_path / "share" / "ours" / "msg"
    folder.mkdir(parents=True)
    (folder / "Outer.msg").write_text("# metres\nInner[2] inner\nInner other\nfloat64 depth_m\n")
    (folder / "Inner.msg").write_text("uint8 LIMIT=3\nstring<=5 name 'a'\n")
    found = MessageDefinitions([tmp_path]).of("ours/msg/Outer")
    assert found.text.startswith("# metres\n")
    assert found.text.count("MSG: ours/Inner\n") == 1
    assert definition_hash("ours/msg/Outer", found.text) == found.type_hash


def test_standard_definitions_need_no_installed_package(tmp_path: Path) -> None:
    found = MessageDefinitions([tmp_path]).of("tf2_msgs/msg/TFMessage")
    assert "geometry_msgs/TransformStamped" in found.text
    assert found.type_hash.startswith("RIHS01_e369d0f0")


def test_our_definitions_have_the_hash_that_the_type_support_has() -> None:
    import json
    import sys

    path = Path(sys.prefix) / "share" / "sensorium_ros" / "msg" / "RgbdFrame.json"
    if not path.exists():
        pytest.skip("sensorium_ros is not generated into this environment")
    hashes = {
        entry["type_name"]: entry["hash_string"]
        for entry in json.loads(path.read_text())["type_hashes"]
    }
    found = MessageDefinitions().of("sensorium_ros/msg/RgbdFrame")
    assert found.type_hash == hashes["sensorium_ros/msg/RgbdFrame"]


def test_definitions_of_our_types_travel_in_the_file(tmp_path: Path) -> None:
    definition = MessageDefinition("ours/msg/Thing", "# metres\nfloat64 x\n", "RIHS01_00")
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/thing", "ours/msg/Thing", (), definition)
        writer.write("/thing", 1, b"\0\1\0\0" + struct.pack("<d", 2.0))
    with BagReader(tmp_path / "bag") as bag:
        assert bag.topics["/thing"].definition == "# metres\nfloat64 x\n"
        assert bag.topics["/thing"].type_hash == "RIHS01_00"


def test_an_unknown_type_is_refused_with_its_package(tmp_path: Path) -> None:
    with (
        BagWriter(tmp_path / "bag") as writer,
        pytest.raises(BagError, match="package 'nowhere' is not installed"),
    ):
        writer.add_topic("/thing", "nowhere/msg/Thing")


def test_an_existing_bag_is_not_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "bag", messages(1))
    with pytest.raises(BagError, match="exists already"):
        BagWriter(tmp_path / "bag")


def test_a_topic_filter_takes_names_and_expressions() -> None:
    topics = ["/a/image", "/a/info", "/b/image", "/tf"]

    def chosen(**arguments: object) -> list[str]:
        accepts = TopicFilter(**arguments).accepts
        return [topic for topic in topics if accepts(topic)]

    assert chosen() == topics
    assert chosen(names=["tf"]) == ["/tf"]
    assert chosen(regex="image$") == ["/a/image", "/b/image"]
    assert chosen(names=["/tf"], regex="image$") == ["/a/image", "/b/image", "/tf"]
    assert chosen(exclude_regex="^/a/") == ["/b/image", "/tf"]
    with pytest.raises(BagError, match=r"expression '\[' is not valid"):
        TopicFilter(regex="[")
    with pytest.raises(BagError, match=r"/nope are not in the bag; it has /tf"):
        TopicFilter(names=["nope"]).require_known(["/tf"])
