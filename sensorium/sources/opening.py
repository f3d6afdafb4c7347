"""Opens what a user names: a folder of RGB-D images, or a bag."""

from __future__ import annotations

from pathlib import Path

from sensorium.sources.bag import BagSource
from sensorium.sources.recording import RecordingSource
from sensorium.sources.recording_configuration import RecordingConfiguration

_BAG_FILES = (".mcap", ".db3", ".zstd")


def is_bag(path: Path) -> bool:
    """True for a bag folder or one of its files."""
    if path.is_file():
        return path.suffix in _BAG_FILES
    return (path / "metadata.yaml").is_file() or any(
        entry.suffix in _BAG_FILES for entry in path.glob("*")
    )


def open_recording(path: Path) -> BagSource | RecordingSource:
    """Return the source of a recording; poses are optional in it.

    Raises:
        SourceError: no such recording, or an unknown layout; the text gives the remedy.
    """
    path = path.expanduser()
    if is_bag(path):
        return BagSource(path)
    return RecordingSource(RecordingConfiguration(folder=str(path), poses="optional"))
