"""The nodes under test, started by `sensorium up` in a ROS domain of their own."""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from sensorium.cli.up import node_environment
from sensorium.processes import ManagedProcess, stop_all

_HIGHEST_DOMAIN = 101
_CONTAINER_MODULE = "sensorium.nodes.container"


def own_domain() -> None:
    """Put this process and its children into a random ROS domain on this machine only."""
    os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, _HIGHEST_DOMAIN))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)


class Stack:
    """Nodes of one parameter file, each in a process that is started again when it dies.

    Args:
        parameters: content of the parameter file.
        folder: where the file and the log go.
        sim_time: the nodes take time from /clock.
        in_container: all nodes in one process, whose name here is "container".
    """

    def __init__(
        self,
        parameters: dict[str, Any],
        folder: Path,
        *,
        sim_time: bool = False,
        in_container: bool = False,
    ) -> None:
        path = folder / "stack.yaml"
        path.write_text(yaml.safe_dump(parameters), encoding="utf-8")
        self.log = folder / "stack.log"
        self.environment = node_environment()
        options = ["--use-sim-time"] if sim_time else []
        options += ["--container"] if in_container else []
        self._up = ManagedProcess(
            "stack",
            [sys.executable, "-m", "sensorium.cli", "up", str(path), *options],
            self.environment,
            self.log,
        )

    def __enter__(self) -> Stack:
        self._up.start()
        return self

    def __exit__(self, *_: object) -> None:
        stop_all([self._up])

    def pid(self, node: str) -> int | None:
        """Process id of a node by its name, None while it has none."""
        parent = str(self._up.pid)
        mark = _CONTAINER_MODULE if node == "container" else f"__node:={node}"
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if fields[1] == parent and fields[0] != "Z" and mark in command:
                return int(folder.name)
        return None

    def signal(self, node: str, number: signal.Signals) -> int:
        """Send a signal to a node; returns its process id.

        Raises:
            LookupError: it does not run.
        """
        pid = self.pid(node)
        if pid is None:
            raise LookupError(f"node {node} does not run")
        os.kill(pid, number)
        return pid

    def limit(self, node: str, what: int, size: int) -> tuple[int, int]:
        """Limit a resource of a node (resource.RLIMIT_*), softly; returns the limits before.

        Raises:
            LookupError: it does not run.
        """
        pid = self.pid(node)
        if pid is None:
            raise LookupError(f"node {node} does not run")
        before = resource.prlimit(pid, what)
        resource.prlimit(pid, what, (size, before[1]))
        return before

    def memory_bytes(self, node: str) -> int:
        """Virtual memory that a node has mapped [byte]."""
        pages = int(Path(f"/proc/{self.pid(node)}/statm").read_text().split()[0])
        return pages * os.sysconf("SC_PAGESIZE")

    def log_since(self, mark: int) -> str:
        """What the nodes logged since `mark` (see `mark`)."""
        with self.log.open("rb") as file:
            file.seek(mark)
            return file.read().decode(errors="replace")

    def mark(self) -> int:
        """The present end of the log."""
        return self.log.stat().st_size if self.log.exists() else 0


def wait_until(condition: Any, timeout_s: float) -> float | None:  # noqa: ANN401 - any callable
    """Seconds until `condition()` was true, None when it was not within `timeout_s`."""
    started = time.monotonic()
    while time.monotonic() - started < timeout_s:
        if condition():
            return time.monotonic() - started
        time.sleep(0.02)
    return None
