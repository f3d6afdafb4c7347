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

    Args:
        path: The table, JSON. The episodes go to ``<stem>_episodes.jsonl`` beside it.
        how: How the episodes were run.

    Attributes:
        episodes_path: Where the episodes go.
    """

    def __init__(self, path: Path, how: str) -> None:
        self._path = path
        self._how = how
        self.episodes_path = path.with_name(f"{path.stem}_episodes.jsonl")
        self._table: dict[str, Any] = {"rows": []}
        self._episodes: list[dict[str, Any]] = []
        if path.exists():
            self._table = json.loads(path.read_text(encoding="utf-8"))
        if self.episodes_path.exists():
            lines = self.episodes_path.read_text(encoding="utf-8").splitlines()
            self._episodes = [json.loads(line) for line in lines]

    def row(self, name: str) -> dict[str, Any]:
        """One row of the table."""
        found: dict[str, Any] = next(row for row in self._table["rows"] if row["name"] == name)
        return found

    def add(
        self,
        table_row: Mapping[str, Any],
        results: Sequence[EpisodeResult],
        checkpoint: Path,
        conditions: Mapping[str, Any],
    ) -> None:
        """Adds or replaces a row and writes both files."""
        name = table_row["name"]
        row = {
            **table_row, **conditions, "how": self._how,
            "weights_sha256": weights_hash(checkpoint),
            "command": " ".join(["sensorium", *sys.argv[1:]]), "date": _now(),
            "platform": platform.platform(), "python": platform.python_version(),
            "versions": {one: metadata.version(one) for one in _PACKAGES},
        }  # fmt: skip
        rows = self._table["rows"]
        places = [i for i, old in enumerate(rows) if old["name"] == name]
        if places:
            rows[places[0]] = row
        else:
            rows.append(row)
        kept = [one for one in self._episodes if one["row"] != name]
        self._episodes = kept + [asdict(result) for result in results]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._table, indent=1) + "\n", encoding="utf-8")
        text = "".join(json.dumps(one) + "\n" for one in self._episodes)
        self.episodes_path.write_text(text, encoding="utf-8")


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
