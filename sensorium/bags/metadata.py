"""The metadata.yaml of a bag directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sensorium.bags.records import BagError

# Storage identifiers and the suffix of their files.
STORAGE_SUFFIXES = {"mcap": ".mcap", "sqlite3": ".db3"}
_NEWEST_METADATA_VERSION = 9


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the checked content of ``rosbag2_bagfile_information``.

    Raises:
        BagError: the file cannot be read, or its version, storage or compression is not known.
    """
    reindex = "make it anew with `ros2 bag reindex`"
    try:
        metadata = yaml.safe_load(path.read_text(encoding="utf-8"))["rosbag2_bagfile_information"]
        version, storage = int(metadata["version"]), str(metadata["storage_identifier"])
        compression = str(metadata.get("compression_format") or "zstd")
        for key in ("relative_file_paths", "topics_with_message_count", "message_count"):
            metadata[key]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise BagError(f"{path} cannot be read ({error!r}); {reindex}") from error
    if version > _NEWEST_METADATA_VERSION:
        raise BagError(
            f"{path} has version {version}, newer than {_NEWEST_METADATA_VERSION}, the newest "
            "known here; convert the bag with `ros2 bag convert`"
        )
    if storage not in STORAGE_SUFFIXES:
        raise BagError(
            f"{path} names storage '{storage}'; known are {', '.join(STORAGE_SUFFIXES)}. Convert "
            "the bag with `ros2 bag convert` on a machine that has the storage plugin"
        )
    if compression != "zstd":
        raise BagError(
            f"{path} names compression '{compression}'; known is zstd. Convert the bag with "
            "`ros2 bag convert`"
        )
    if not metadata["relative_file_paths"]:
        raise BagError(f"{path} names no files; {reindex}")
    return dict(metadata)
