"""What a benchmark ran on, and where its numbers go."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"

_PACKAGES = (
    "numpy",
    "torch",
    "opencv-python-headless",
    "rclpy",
    "ros-rmw-fastrtps-cpp",
    "ros-fastdds",
)
# They change what is measured, so they belong to the result.
_VARIABLES = (
    "ROS_DISTRO",
    "RMW_IMPLEMENTATION",
    "FASTDDS_DEFAULT_PROFILES_FILE",
    "FASTRTPS_DEFAULT_PROFILES_FILE",
    "ROS_PYTHON_CHECK_FIELDS",
    "OMP_NUM_THREADS",
)


def conditions() -> dict[str, Any]:
    """Return the machine, the versions, the commit and the command of this run.

    Packages that are not installed are missing. `device` is the name of the GPU, None without one.
    `commit` ends in "-dirty" when files that git tracks were changed.
    """
    return {
        "command": " ".join([Path(sys.executable).name, *sys.argv]),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _git_commit(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "device": _device_name(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def write_results(
    name: str, results: Mapping[str, Any], measured_under: Mapping[str, Any] | None = None
) -> Path:
    """Write ``benchmarks/results/<name>.json`` with the conditions inside; returns its path.

    Args:
        name: file name without suffix.
        results: numbers with units in their names.
        measured_under: conditions taken before the run (its load average is then that of others);
            those of now by default.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    document = {"conditions": dict(measured_under or conditions()), "results": dict(results)}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _device_name() -> str | None:
    try:
        import torch
    except ImportError:
        return None
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
