"""Make the virtual environment that `make demo` and `make test` run in.

Standard library only: it runs under the system's Python. Quick when nothing has changed. Says what
is missing, and which command installs it, when something is.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements"
OLDEST, NEWEST = (3, 11), (3, 13)
PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# What a user's shell may carry (a sourced ROS, another environment) must not leak into ours.
FOREIGN = (
    "PYTHONPATH", "PYTHONHOME", "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH",
    "_ROS_WHEELS_BOOTSTRAP_COMPLETE", "VIRTUAL_ENV",
)  # fmt: skip


def main() -> int:
    """Make or update the environment; returns the process exit code."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--venv", type=Path, default=ROOT / ".venv")
    venv = arguments.parse_args().venv.resolve()
    problems = missing_prerequisites()
    if problems:
        print("Sensorium cannot be set up on this machine yet:", file=sys.stderr)
        for problem in problems:
            print(f"  - {problem}", file=sys.stderr)
        return 1
    stamp = venv / "sensorium_setup.sha256"
    wanted = fingerprint()
    if stamp.exists() and stamp.read_text() == wanted and (venv / "bin" / "python3").exists():
        return 0
    environment = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    if not (venv / "bin" / "python3").exists():
        step(f"virtual environment in {venv} (Python {platform.python_version()})")
        run([sys.executable, "-m", "venv", str(venv)], environment)
    pip = [str(venv / "bin" / "python3"), "-m", "pip", "--disable-pip-version-check"]
    constraints = ["-c", str(REQUIREMENTS / "constraints.txt")]
    step("ROS 2 Kilted (wheels)")
    run([*pip, "install", "-q", *constraints, "-r", str(REQUIREMENTS / "ros.txt")], environment)
    step("PyTorch (CPU build unless SENSORIUM_TORCH names another requirement)")
    install_torch(pip, environment)
    step("libraries and test tools")
    run(
        [
            *pip, "install", "-q", *constraints,
            "-r", str(REQUIREMENTS / "runtime.txt"), "-r", str(REQUIREMENTS / "development.txt"),
        ],
        environment,
    )  # fmt: skip
    step("Sensorium and its messages (compiles for half a minute)")
    run([*pip, "install", "-q", "--no-deps", "--no-build-isolation", "-e", str(ROOT)], environment)
    stamp.write_text(wanted)
    return 0


def missing_prerequisites() -> list[str]:
    """What this machine lacks, each with the remedy."""
    problems = []
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        problems.append(
            f"Python {platform.python_version()} is not supported: ROS 2 wheels exist for 3.11 to "
            "3.13. Install one and run: make PYTHON=python3.12 ..."
        )
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        problems.append(
            f"{platform.system()} on {platform.machine()}: the ROS 2 wheels are for Linux on "
            "x86-64. On other machines install ROS 2 and build with colcon (docs/installation.md)"
        )
    if shutil.which("g++") is None and shutil.which("c++") is None:
        problems.append("no C++ compiler (it builds the messages): sudo apt install g++")
    include = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not include.exists():
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        problems.append(f"no Python headers ({include}): sudo apt install python{version}-dev")
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        problems.append(f"no venv module: sudo apt install python{version}-venv")
    return problems


def fingerprint() -> str:
    """Hash of everything that decides what is installed."""
    digest = hashlib.sha256(f"{sys.version}{os.environ.get('SENSORIUM_TORCH', '')}".encode())
    files = [*REQUIREMENTS.glob("*.txt"), ROOT / "setup.py", ROOT / "CMakeLists.txt"]
    files += [Path(__file__), ROOT / "tools" / "interfaces.py"]
    for folder in ("msg", "srv", "action", "tools/standins"):
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in sorted(files):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def install_torch(pip: list[str], environment: dict[str, str]) -> None:
    """Install the pinned torch: the CPU build where it can be had, else what PyPI has."""
    pinned = next(
        line.strip()
        for line in (REQUIREMENTS / "constraints.txt").read_text().splitlines()
        if line.startswith("torch==")
    )
    chosen = environment.get("SENSORIUM_TORCH")
    if chosen:
        run([*pip, "install", "-q", chosen], environment)
        return
    cpu = f"{pinned}+cpu"
    attempts = (
        [cpu],
        [cpu, "--retries", "1", "--timeout", "15", "--extra-index-url", PYTORCH_CPU_INDEX],
    )
    for attempt in attempts:
        result = subprocess.run(
            [*pip, "install", "-q", *attempt], env=environment, capture_output=True, check=False
        )
        if result.returncode == 0:
            return
    print("    no CPU build found; taking PyPI's build, which may bring CUDA packages")
    run([*pip, "install", "-q", pinned], environment)


def step(text: str) -> None:
    """Show what happens now."""
    print(f"==> {text}", flush=True)


def run(command: list[str], environment: dict[str, str]) -> None:
    """Run a command; when it fails, show its output and stop."""
    result = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    if result.returncode != 0:
        print(result.stdout, file=sys.stderr)
        sys.exit(f"failed ({result.returncode}): {' '.join(command)}")


if __name__ == "__main__":
    sys.exit(main())
