"""The table of success rates and the file of single episodes beside it."""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from sensorium.policy.evaluation import EpisodeResult, summary
from sensorium.policy.evaluation_rows import ROWS
from sensorium.policy.pooled_tokens_record import RECORD_KEY

__all__ = ["Report", "training_of", "weights_hash"]

_PACKAGES = ("numpy", "torch", "mujoco-core")
_SECTIONS = ("rows_one_process", "rows_through_ros")
_FIELDS = tuple(field.name for field in fields(EpisodeResult))


def weights_hash(directory: Path) -> str:
    """SHA-256 of a checkpoint's weights in lower-case hex."""
    return hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()


def training_of(directory: Path) -> dict[str, Any]:
    """What a checkpoint says about its training, for its row; nothing where it says nothing.

    Args:
        directory: The checkpoint.

    Returns:
        ``training`` (steps, batch size, head) and ``pooled_tokens`` (see its record).
    """
    conditions: dict[str, Any] = {}
    recipe = _object(directory / "train_config.json")
    if "trained_steps" in recipe:
        names = ("geometry", "trained_steps", "batch_size", "learning_rate", "seed")
        conditions["training"] = {name: recipe[name] for name in names if name in recipe}
    record = _object(directory / "config.json").get(RECORD_KEY)
    if record is not None:
        conditions[RECORD_KEY] = record
    return conditions


def _object(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return content


class Report:
    """A table on disk that grows row by row; a row of the same name is replaced.

    Rows measured through ROS stand in the section ``rows_through_ros``, those of one process in
    ``rows_one_process``. Section ``rows`` has, for each name, the one with more episodes, through
    ROS where both have as many; each says how it was measured.

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
        table: dict[str, Any] = {"rows": [], **{section: [] for section in _SECTIONS}}
        episodes: list[dict[str, Any]] = []
        if self._path.exists():
            table |= json.loads(self._path.read_text(encoding="utf-8"))
        if self.episodes_path.exists():
            lines = self.episodes_path.read_text(encoding="utf-8").splitlines()
            episodes = [json.loads(line) for line in lines]
        return table, episodes

    def content(self) -> dict[str, Any]:
        """The table as it is now."""
        with self.episodes_path.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            return self._read()[0]

    def add(
        self,
        results: Sequence[EpisodeResult],
        checkpoint: Path,
        conditions: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Adds results to their row, writes both files and returns the row.

        Earlier results of the same row stay when they are of the same weights, measured the same
        way, and of other seeds: a row may be measured in parts.

        Args:
            results: Of one row.
            checkpoint: Folder of the policy.
            conditions: What else belongs into the row.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self.episodes_path.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return self._add(results, checkpoint, conditions)

    def _add(
        self,
        results: Sequence[EpisodeResult],
        checkpoint: Path,
        conditions: Mapping[str, Any],
    ) -> dict[str, Any]:
        name, digest = results[0].row, weights_hash(checkpoint)
        table, episodes = self._read()
        same = {"row": name, "how": self._how, "weights_sha256": digest}
        seeds = {result.seed for result in results}
        others = [one for one in episodes if (one["row"], one["how"]) != (name, self._how)]
        earlier = [
            one for one in episodes if same.items() <= one.items() and one["seed"] not in seeds
        ]
        mine = [same | asdict(result) for result in results]
        mine = sorted(earlier + mine, key=lambda one: int(one["seed"]))
        merged = [EpisodeResult(**{key: one[key] for key in _FIELDS}) for one in mine]
        row: dict[str, Any] = {
            **summary(merged), **conditions, "how": self._how, "weights_sha256": digest,
            "command": " ".join(["sensorium", *sys.argv[1:]]), "date": _now(),
            "platform": platform.platform(), "python": platform.python_version(),
            "versions": {one: metadata.version(one) for one in _PACKAGES},
        }  # fmt: skip
        _put(table[_SECTIONS[self._through_ros]], row)
        table["rows"] = _shown(table)
        episodes = others + mine
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


def _shown(table: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    best: dict[str, dict[str, Any]] = {}
    for section in _SECTIONS:
        for row in table[section]:
            name = row["name"]
            if name not in best or row["episodes"] >= best[name]["episodes"]:
                best[name] = row
    order = [row.name for row in ROWS]
    known = sorted((name for name in best if name in order), key=order.index)
    return [best[name] for name in [*known, *(name for name in best if name not in order)]]


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
