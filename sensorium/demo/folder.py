"""The output folder: made, recognised as our own, locked while a run writes into it."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path
from types import TracebackType
from typing import IO

_MARKER = ".sensorium_demo"
_MARKER_TEXT = "Made by `sensorium demo`: a second run replaces what it wrote here.\n"
_CONTENT = (
    "logs", "recording", "map.ply", "map.png", "depth.png", "parameters.yaml", "demo.json",
    "README.txt", "closed_loop", "report.html",
)  # fmt: skip


class FolderError(ValueError):
    """The output folder cannot be used; the text names it and the remedy."""


class OutputFolder:
    """A folder for the files of one run, a context manager.

    An existing folder is taken only when it is empty or a former run made it; only what the former
    run wrote is removed.

    Args:
        path: where the folder is or shall be.
        recording: what will be read; it must not be removed.

    Raises:
        FolderError: the folder is somebody else's, a file, in use by another run, or holds the
            recording.
        OSError: it cannot be made or emptied.
    """

    def __init__(self, path: Path, recording: Path | None = None) -> None:
        self.path = path.expanduser().absolute()
        if recording and recording.expanduser().resolve().is_relative_to(self.path.resolve()):
            raise FolderError(
                f"recording '{recording}' lies in the output folder '{self.path}', whose files are "
                "replaced; name another output folder"
            )
        if self.path.exists() and not self.path.is_dir():
            raise FolderError(f"output '{self.path}' is a file; name a folder")
        marker = self.path / _MARKER
        if self.path.is_dir() and not marker.exists() and any(self.path.iterdir()):
            raise FolderError(
                f"output folder '{self.path}' holds files that no demo wrote; name a new folder or "
                "empty this one"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(marker)
        for name in _CONTENT:
            _remove(self.path / name)
        self.logs.mkdir()

    @property
    def logs(self) -> Path:
        """Folder of the processes' output."""
        return self.path / "logs"

    @property
    def recording(self) -> Path:
        """The recorded bag."""
        return self.path / "recording"

    def file(self, name: str) -> Path:
        """Return the path of one of the run's files."""
        if name not in _CONTENT:
            raise ValueError(f"'{name}' is not a file of the demo; add it to its content")
        return self.path / name

    def close(self) -> None:
        """Let other runs use the folder."""
        self._lock.close()

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _locked(marker: Path) -> IO[str]:
    file = marker.open("a+")
    try:
        # Released by the system however this process ends.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise FolderError(
            f"another demo is writing into '{marker.parent}'; wait for it or name another folder"
        ) from None
    if not marker.stat().st_size:
        file.write(_MARKER_TEXT)
        file.flush()
    return file


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
