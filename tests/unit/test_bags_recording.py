"""Recording in the background: every message is written or counted as dropped."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sensorium.bags import BackgroundRecording, BagReader, BagWriter, MessageDefinitions

TYPE = "std_msgs/msg/String"


@pytest.fixture
def definitions() -> MessageDefinitions:
    return MessageDefinitions()


class SlowWriter(BagWriter):
    """A disk that takes nothing until it is let go."""

    gate = threading.Event()

    def write(self, topic: str, stamp_ns: int, data: bytes | memoryview) -> None:
        self.gate.wait(10.0)
        super().write(topic, stamp_ns, data)


class FailingWriter(BagWriter):
    """A disk that fails with the third message."""

    def write(self, topic: str, stamp_ns: int, data: bytes | memoryview) -> None:
        if stamp_ns >= 3:
            raise OSError(28, "No space left on device")
        super().write(topic, stamp_ns, data)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[SlowWriter]:
    SlowWriter.gate = threading.Event()
    yield SlowWriter(tmp_path / "bag")
    SlowWriter.gate.set()


def test_everything_offered_is_written(tmp_path: Path, definitions: MessageDefinitions) -> None:
    recording = BackgroundRecording(BagWriter(tmp_path / "bag"), definitions, 10_000_000, 0)
    recording.add_topic("/a", TYPE, ())
    for stamp in range(1_000):
        assert recording.offer("/a", stamp, stamp.to_bytes(4, "little"))
    assert recording.close()
    assert recording.error == ""
    assert recording.counts.written_by_topic == {"/a": 1_000}
    with BagReader(tmp_path / "bag") as bag:
        assert [int.from_bytes(m.data, "little") for m in bag.messages()] == list(range(1_000))


def test_a_full_queue_drops_and_counts(slow: SlowWriter, definitions: MessageDefinitions) -> None:
    recording = BackgroundRecording(slow, definitions, 1_000, 0)
    recording.add_topic("/a", TYPE, ())
    taken = [recording.offer("/a", stamp, bytes(100)) for stamp in range(25)]
    assert taken == [True] * 10 + [False] * 15
    counts = recording.counts
    assert (counts.received, counts.held, counts.dropped) == (25, 10, 15)
    assert counts.held_bytes == 1_000
    slow.gate.set()
    assert recording.close()
    counts = recording.counts
    assert (counts.written, counts.dropped, counts.held) == (10, 15, 0)
    assert counts.dropped_by_topic == {"/a": 15}


def test_a_message_larger_than_the_queue_is_taken_when_it_is_empty(
    tmp_path: Path, definitions: MessageDefinitions
) -> None:
    recording = BackgroundRecording(BagWriter(tmp_path / "bag"), definitions, 10, 0)
    recording.add_topic("/a", TYPE, ())
    assert recording.offer("/a", 1, bytes(100))
    assert recording.close()
    assert recording.counts.written == 1


def test_a_failing_disk_is_reported_and_the_rest_counted(
    tmp_path: Path, definitions: MessageDefinitions
) -> None:
    recording = BackgroundRecording(FailingWriter(tmp_path / "bag"), definitions, 10_000, 0)
    recording.add_topic("/a", TYPE, ())
    for stamp in range(10):
        recording.offer("/a", stamp, bytes(100))
    assert recording.close()
    assert "No space left on device" in recording.error
    counts = recording.counts
    assert (counts.received, counts.written, counts.dropped, counts.held) == (10, 3, 7, 0)
    assert not recording.offer("/a", 11, b"")


def test_a_disk_with_too_little_space_ends_the_recording_with_a_valid_bag(
    tmp_path: Path, definitions: MessageDefinitions
) -> None:
    recording = BackgroundRecording(BagWriter(tmp_path / "bag"), definitions, 10_000, 10**18)
    assert recording.close()
    assert "MB free, less than the 1000000000000 MB" in recording.error
    with BagReader(tmp_path / "bag") as bag:
        assert bag.message_count == 0
