"""Recordings in rosbag2 format, read and written without ROS and without decoding messages."""

from sensorium.bags.definitions import (
    MessageDefinition,
    MessageDefinitions,
    definition_hash,
)
from sensorium.bags.playback import PlaybackTimeline
from sensorium.bags.reading import BagReader
from sensorium.bags.recording import BackgroundRecording, RecordingCounts
from sensorium.bags.records import (
    INFINITE_NS,
    BagError,
    BagMessage,
    BagTopic,
    OfferedQos,
    TopicFilter,
)
from sensorium.bags.writing import BagWriter

__all__ = [
    "INFINITE_NS",
    "BackgroundRecording",
    "BagError",
    "BagMessage",
    "BagReader",
    "BagTopic",
    "BagWriter",
    "MessageDefinition",
    "MessageDefinitions",
    "OfferedQos",
    "PlaybackTimeline",
    "RecordingCounts",
    "TopicFilter",
    "definition_hash",
]
