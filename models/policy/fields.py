"""Typed reading of JSON objects: a wrong or missing field is refused with its file and path."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from sensorium.models.policy.errors import CheckpointError, CheckpointFileMissingError

__all__ = ["Fields", "read_json_object"]

_MISSING = object()


class Fields:
    """One JSON object together with the place it came from.

    Attributes:
        values: The parsed object.
        where: File name and path inside it, as error texts show it.
    """

    def __init__(self, values: Mapping[str, object], where: str) -> None:
        self.values = values
        self.where = where

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def integer(self, key: str, *, default: int | None = None, minimum: int = 1) -> int:
        """A whole number of at least ``minimum``.

        Raises:
            CheckpointError: The field is missing without a default, no integer, or too small.
        """
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            self.refuse(key, value, f"must be an integer of at least {minimum}")
        return value

    def number(self, key: str, *, default: float | None = None) -> float:
        """A finite number.

        Raises:
            CheckpointError: The field is missing without a default or is no finite number.
        """
        value = self._get(key, default)
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not math.isfinite(value)
        ):
            self.refuse(key, value, "must be a finite number")
        return float(value)

    def optional_number(self, key: str) -> float | None:
        """A finite number, or None where the field is absent or null."""
        return None if self.values.get(key) is None else self.number(key)

    def boolean(self, key: str, *, default: bool | None = None) -> bool:
        """True or false (LeRobot also writes 0 and 1).

        Raises:
            CheckpointError: The field is missing without a default or is something else.
        """
        value = self._get(key, default)
        if value not in (True, False):
            self.refuse(key, value, "must be true or false")
        return bool(value)

    def text(self, key: str, *, default: str | None = None) -> str:
        """A string.

        Raises:
            CheckpointError: The field is missing without a default or is no string.
        """
        value = self._get(key, default)
        if not isinstance(value, str):
            self.refuse(key, value, "must be a string")
        return value

    def shape(self, key: str) -> tuple[int, ...]:
        """A list of positive integers.

        Raises:
            CheckpointError: The field is missing or is something else.
        """
        value = self._get(key, None)
        if not isinstance(value, list) or not value:
            self.refuse(key, value, "must be a list of positive integers")
        for size in value:
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                self.refuse(key, value, "must be a list of positive integers")
        return tuple(value)

    def nested(self, key: str) -> Fields:
        """A nested object; absent and null read as an empty one."""
        value = self.values.get(key)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            self.refuse(key, value, "must be an object")
        return Fields(value, f"{self.where}: {key}")

    def nested_list(self, key: str) -> list[Fields]:
        """A list of objects.

        Raises:
            CheckpointError: The field is missing or is something else.
        """
        value = self._get(key, None)
        if not isinstance(value, list):
            self.refuse(key, value, "must be a list of objects")
        for item in value:
            if not isinstance(item, dict):
                self.refuse(key, item, "must be a list of objects")
        return [Fields(item, f"{self.where}: {key}[{i}]") for i, item in enumerate(value)]

    def refuse(self, key: str, value: object, rule: str) -> NoReturn:
        """Raises the error for one field, with its place, value and rule."""
        shown = "missing" if value is _MISSING or value is None else repr(value)
        raise CheckpointError(
            f"{self.where}: field '{key}' is {shown} but {rule}. "
            "Save the policy again with LeRobot or correct the file."
        )

    def _get(self, key: str, default: object) -> object:
        value = self.values.get(key, _MISSING)
        if value is _MISSING and default is not None:
            return default
        return value


def read_json_object(path: Path) -> Fields:
    """Reads a file that holds one JSON object.

    Args:
        path: The file.

    Returns:
        Its fields, with the file's name as their place.

    Raises:
        CheckpointFileMissingError: There is no such file.
        CheckpointError: The file is no JSON object (truncated, another format, NaN in it).
    """
    if not path.is_file():
        raise CheckpointFileMissingError(
            f"'{path.name}' is missing from {path.parent}. A LeRobot checkpoint directory holds "
            "config.json, model.safetensors, policy_preprocessor.json and "
            "policy_postprocessor.json. Copy the whole directory."
        )
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (UnicodeDecodeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not readable as JSON ({error}). It may be truncated: copy it again."
        ) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a {type(value).__name__}, but must hold an object.")
    return Fields(value, path.name)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a finite number")
