"""Writes a training set of features: arrays that grow, and what they mean."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sensorium.policy.dataset import META

__all__ = ["TrainingSetError", "TrainingSetWriter"]


class TrainingSetError(ValueError):
    """A training set that cannot be written or is of no use; the text says why."""


class TrainingSetWriter:
    """One ``.npy`` file per array, all of the same length, and ``meta.json`` at the end.

    A context that ends before :meth:`finish` leaves no files.

    Args:
        directory: New or empty.

    Attributes:
        rows: Rows written.

    Raises:
        TrainingSetError: The directory is not empty.
    """

    def __init__(self, directory: Path) -> None:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise TrainingSetError(f"'{directory}' is not an empty folder; give a new one")
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._files: dict[str, BinaryIO] = {}
        self._kinds: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self.rows = 0

    def append(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Appends rows.

        Args:
            arrays: By name, (n, ...) each; names, shapes and types as in the first call.

        Raises:
            TrainingSetError: An array has another shape or type than before.
        """
        (length,) = {len(array) for array in arrays.values()}
        for name, array in arrays.items():
            kind = (array.dtype, array.shape[1:])
            if self._kinds.setdefault(name, kind) != kind:
                raise TrainingSetError(
                    f"'{name}' is {array.dtype} {array.shape[1:]} here and was "
                    f"{self._kinds[name][0]} {self._kinds[name][1]} before; convert recordings of "
                    "one setup at a time, or set size_px in the contract"
                )
            if name not in self._files:
                self._files[name] = (self._directory / f"{name}.npy").open("wb")
                self._files[name].write(self._header(name))
            self._files[name].write(np.ascontiguousarray(array).tobytes())
        self.rows += length

    def finish(self, meta: Mapping[str, Any]) -> None:
        """Writes the arrays' lengths and ``meta.json``."""
        for name, file in self._files.items():
            file.seek(0)
            file.write(self._header(name))
            file.close()
        self._files.clear()
        text = json.dumps({**meta, "steps": self.rows}, indent=1) + "\n"
        (self._directory / META).write_text(text, encoding="utf-8")

    def __enter__(self) -> TrainingSetWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Not finished: half a set would look like one.
        for name, file in self._files.items():
            file.close()
            (self._directory / f"{name}.npy").unlink()
        self._files.clear()

    def _header(self, name: str) -> bytes:
        """The file's header; NumPy pads it so that its length does not depend on the rows."""
        dtype, shape = self._kinds[name]
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            buffer,
            {
                "shape": (self.rows, *shape),
                "fortran_order": False,
                "descr": np.lib.format.dtype_to_descr(dtype),
            },
        )
        return buffer.getvalue()
