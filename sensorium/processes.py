"""Child processes that never outlive their parent's will: started in groups, stopped in groups."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# Tells a node whose death it must follow: a SIGKILL of the parent leaves nobody to stop the node.
PARENT_VARIABLE = "SENSORIUM_PARENT_PID"

# How long a process group has to react before the next, harder signal.
_PATIENCE_S = ((signal.SIGINT, 8.0), (signal.SIGTERM, 4.0), (signal.SIGKILL, 2.0))


@dataclass
class ManagedProcess:
    """One child in a process group of its own.

    Attributes:
        name: shown to the user.
        command: program and arguments.
        environment: its whole environment.
        log: file for its output; None inherits ours.
        respawns_left: how often it may still be started again after it ended by itself.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path | None = None
    respawns_left: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the program in a new session, out of reach of the terminal's Ctrl-C."""
        output = None if self.log is None else self.log.open("ab")
        try:
            self._process = subprocess.Popen(
                list(self.command),
                env={**self.environment, PARENT_VARIABLE: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                start_new_session=True,
            )
        finally:
            if output is not None:
                output.close()

    @property
    def returncode(self) -> int | None:
        """Exit code once it ended, else None."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int | None:
        """Process id, which is also the id of its group."""
        return None if self._process is None else self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group; a group that is gone is no error."""
        if self._process is not None:
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                return


def parent_is_gone() -> bool:
    """True when the process that started this one as a `ManagedProcess` has died."""
    expected = os.environ.get(PARENT_VARIABLE)
    return expected is not None and str(os.getppid()) != expected


def stop_all(processes: Sequence[ManagedProcess]) -> None:
    """Stop every group: SIGINT, then SIGTERM, then SIGKILL to whatever is left."""
    for number, patience_s in _PATIENCE_S:
        running = [process for process in processes if process.pid and process.returncode is None]
        for process in running:
            process.signal(number)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if all(process.returncode is not None for process in running):
                break
            time.sleep(0.05)
    # A leader that died may leave group members behind.
    for process in processes:
        process.signal(signal.SIGKILL)


def supervise(processes: Sequence[ManagedProcess]) -> int:
    """Run until every process ended, one failed for good, or SIGINT/SIGTERM; then stop all.

    Returns:
        0 after a signal or when all ended with 0, else the exit code of the first that failed.
    """
    stopping = False

    def request_stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    previous = {
        number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)
    }
    result = 0
    try:
        for process in processes:
            process.start()
        while not stopping:
            ended = [process for process in processes if process.returncode is not None]
            for process in ended:
                if process.returncode == 0:
                    continue
                if process.respawns_left == 0:
                    _say(f"{process.name} ended with {process.returncode}; stopping the others")
                    result = process.returncode or 1
                    stopping = True
                    break
                process.respawns_left -= 1
                _say(
                    f"{process.name} ended with {process.returncode}; starting it again "
                    f"({process.respawns_left} more times)"
                )
                process.start()
            if len(ended) == len(processes) and all(p.returncode == 0 for p in processes):
                break
            time.sleep(0.1)
    finally:
        stop_all(processes)
        for number, handler in previous.items():
            signal.signal(number, handler)
    return result


def _say(text: str) -> None:
    print(f"[sensorium] {text}", file=sys.stderr, flush=True)  # noqa: T201
