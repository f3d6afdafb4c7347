"""Runs the processes of a demonstration: starts and watches them, stops them whatever happens."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType

from sensorium.demo.progress import Progress
from sensorium.demo.session import SessionEvent, SessionRequest, StreamCounts
from sensorium.processes import ManagedProcess, stop_all

SESSION = "demo_session"
_POLL_S = 0.1
_LAST_LINES = 8
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class RunError(Exception):
    """The run failed; the text says why and where the logs are."""


class Interrupted(Exception):  # noqa: N818 - no error: the user asked for it
    """SIGINT, SIGTERM or SIGHUP came.

    Attributes:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Stopping:
    """Notes SIGINT, SIGTERM and SIGHUP instead of ending the process; a context manager.

    A foreground group and `make` may deliver the same Ctrl-C twice: the second one must not cut
    short what stops the processes.
    """

    def __init__(self) -> None:
        self._number = 0
        self._previous = {number: signal.signal(number, self._note) for number in _SIGNALS}

    def check(self) -> None:
        """Raise when a signal came.

        Raises:
            Interrupted: naming the signal.
        """
        if self._number:
            raise Interrupted(self._number)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._number = self._number or number

    def __enter__(self) -> Stopping:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


@dataclass(slots=True)
class RunResult:
    """What a run left behind, beside its files.

    Attributes:
        counts: what became of the frames.
        peak_mb: peak resident memory of each process, shared memory included [MiB].
        warnings: what the session noticed.
        duration_s: from the first start to the last stop [s].
    """

    counts: StreamCounts = field(default_factory=StreamCounts)
    peak_mb: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    duration_s: float = 0.0


def session_command(request: SessionRequest) -> list[str]:
    """Return the command of the session process."""
    return [sys.executable, "-m", "sensorium.ros.demo_session", request.to_json()]


def run_processes(
    nodes: Mapping[str, list[str]],
    session: list[str],
    environment: Mapping[str, str],
    logs: Path,
    progress: Progress,
    stopping: Stopping,
) -> RunResult:
    """Run nodes and session until the session is done; whatever happens, stop every process.

    Args:
        nodes: the command of each node, by fully qualified name.
        session: the command of the session.
        environment: of every process.
        logs: existing folder for one file per process.
        progress: where to show what goes on.
        stopping: notes signals.

    Raises:
        RunError: a process ended before its time, or the session reports a failure.
        Interrupted: a signal came.
    """
    started_s = time.monotonic()
    processes = [
        ManagedProcess(name, command, environment, logs / f"{_file_name(name)}.log")
        for name, command in (*nodes.items(), (SESSION, session))
    ]
    result = RunResult()
    lines = _NewLines(logs / f"{SESSION}.log")
    try:
        for process in processes:
            process.start()
        while not _is_done(lines, result, progress, processes[-1]):
            stopping.check()
            _note_memory(processes, result.peak_mb)
            _require_alive(processes[:-1], logs)
            time.sleep(_POLL_S)
        progress.phase("stopping the processes")
    finally:
        stop_all(processes)
    result.duration_s = time.monotonic() - started_s
    return result


def _is_done(
    lines: _NewLines, result: RunResult, progress: Progress, session: ManagedProcess
) -> bool:
    """Handle what the session said; True after its last word."""
    # Asked before reading: what it said before it ended is all there then.
    ended = session.returncode
    for line in lines.read():
        event = SessionEvent.from_line(line)
        if event is None:
            continue
        if event.counts is not None:
            result.counts = event.counts
        if event.kind == "failed":
            raise RunError(event.text)
        if event.kind == "done":
            return True
        if event.kind == "warning":
            result.warnings.append(event.text)
        elif event.kind == "phase":
            progress.phase(event.text)
        elif event.counts is not None:
            progress.counts(event.counts)
    if ended is not None:
        raise RunError(_death(session, ended, lines.path))
    return False


def _require_alive(processes: list[ManagedProcess], logs: Path) -> None:
    for process in processes:
        if process.returncode is not None:
            path = logs / f"{_file_name(process.name)}.log"
            raise RunError(_death(process, process.returncode, path))


def _death(process: ManagedProcess, code: int, log: Path) -> str:
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
    last = log.read_text(errors="replace").splitlines()[-_LAST_LINES:] if log.exists() else []
    return f"process {process.name} {how}; the end of {log}:\n" + "\n".join(
        f"    {line}" for line in last
    )


def _note_memory(processes: list[ManagedProcess], peak_mb: dict[str, float]) -> None:
    for name, pid in [(process.name, process.pid) for process in processes]:
        peak = peak_resident_mb(pid) if pid is not None else None
        if peak is not None:
            peak_mb[name] = peak


def peak_resident_mb(pid: int | None = None) -> float | None:
    """Return the peak resident memory of a process [MiB] (this one by default); None when gone."""
    try:
        status = Path(f"/proc/{os.getpid() if pid is None else pid}/status").read_text()
    except OSError:
        return None
    kilobytes = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(kilobytes[0]) / 1024 if kilobytes else None


def _file_name(name: str) -> str:
    return name.strip("/").replace("/", ".")


class _NewLines:
    """The complete lines that were added to a file since the last look."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def read(self) -> list[str]:
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            whole, _, _ = file.read().rpartition(b"\n")
        if not whole:
            return []
        self._offset += len(whole) + 1
        return whole.decode(errors="replace").split("\n")
