"""The table of success rates and the file of single episodes beside it."""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from sensorium.policy.evaluation import EpisodeResult

__all__ = ["Report", "weights_hash"]

_PACKAGES = ("numpy", "torch", "mujoco-core")


def weights_hash(directory: Path) -> str:
    """SHA-256 of a checkpoint's weights in lower-case hex."""
    return hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()


class Report:
    """A table on disk that grows row by row; a row of the same name is replaced.

    Section ``rows`` holds the rows measured through ROS. Rows measured in one process go to the
    section ``rows_one_process``, and to ``rows`` as long as there is none through ROS; each says
    how it was measured.

    Args:
        path: The table, JSON. The episodes go to ``<stem>_episodes.jsonl`` beside it.
        how: How the episodes were run.
        through_ros: Whether that was through ROS.

    Attributes:
        episodes_path: Where the episodes go.
    """

    def __init__(self, path: Path, how: str, *, through_ros: bool = False) -> None:
        self._path = path
        self._through_ros = through_ros
        self._how = how
        self.episodes_path = path.with_name(f"{path.stem}_episodes.jsonl")

    def _read(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Table and episodes as they are now: rows may be measured side by side."""
        table: dict[str, Any] = {"rows": [], "rows_one_process": []}
        episodes: list[dict[str, Any]] = []
        if self._path.exists():
            table = json.loads(self._path.read_text(encoding="utf-8"))
        if self.episodes_path.exists():
            lines = self.episodes_path.read_text(encoding="utf-8").splitlines()
            episodes = [json.loads(line) for line in lines]
        return table, episodes

    def add(
        self,
        table_row: Mapping[str, Any],
        results: Sequence[EpisodeResult],
        checkpoint: Path,
        conditions: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Adds or replaces a row, writes both files and returns the row."""
        name = table_row["name"]
        table, episodes = self._read()
        row: dict[str, Any] = {
            **table_row, **conditions, "how": self._how,
            "weights_sha256": weights_hash(checkpoint),
            "command": " ".join(["sensorium", *sys.argv[1:]]), "date": _now(),
            "platform": platform.platform(), "python": platform.python_version(),
            "versions": {one: metadata.version(one) for one in _PACKAGES},
        }  # fmt: skip
        if not self._through_ros:
            _put(table["rows_one_process"], row)
        shown = [old for old in table["rows"] if old["name"] == name]
        if self._through_ros or not shown or shown[0]["how"] == self._how:
            _put(table["rows"], row)
        mine = [{"how": self._how} | asdict(result) for result in results]
        kept = [one for one in episodes if (one["row"], one["how"]) != (name, self._how)]
        episodes = kept + mine
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        text = "".join(json.dumps(one) + "\n" for one in episodes)
        self.episodes_path.write_text(text, encoding="utf-8")
        return row


def _put(rows: list[dict[str, Any]], row: dict[str, Any]) -> None:
    places = [i for i, old in enumerate(rows) if old["name"] == row["name"]]
    if places:
        rows[places[0]] = row
    else:
        rows.append(row)


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
