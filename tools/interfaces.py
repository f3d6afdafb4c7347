"""Generate the ROS interfaces into a Python environment that has the ROS wheels.

Called by setup.py; also usable alone: ``python tools/interfaces.py [PREFIX]``. It runs the same
CMakeLists.txt as colcon. On a robot with an apt ROS this file is not needed: colcon builds.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STANDINS = ROOT / "tools" / "standins"
STAMP = "share/sensorium_ros/interfaces.sha256"


def generators_available() -> bool:
    """True when this environment carries the rosidl generators of the PyPI wheels."""
    return (Path(sys.prefix) / "share" / "rosidl_generator_py").is_dir()


def fingerprint() -> str:
    """Hash of everything that the generated code depends on."""
    digest = hashlib.sha256(f"{sys.version}\n{sys.prefix}\n".encode())
    files = [ROOT / "CMakeLists.txt", Path(__file__), ROOT / "tools/cmake/ros_wheels.cmake"]
    for folder in (ROOT / "msg", ROOT / "srv", ROOT / "action", STANDINS):
        files += sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def missing_standins(prefix: Path) -> list[Path]:
    """Stand-in packages whose real counterpart is not installed (ours count as not installed)."""
    missing = []
    for package in sorted(path.parent for path in STANDINS.glob("*/package.xml")):
        marker = prefix / "share" / package.name / "sensorium_standin"
        if importlib.util.find_spec(package.name) is None or marker.exists():
            missing.append(package)
    return missing


def build(prefix: Path, build_root: Path) -> None:
    """Configure, build and install the stand-ins and our interfaces into `prefix`.

    Raises:
        subprocess.CalledProcessError: CMake failed; its output has been printed.
    """
    for package in missing_standins(Path(sys.prefix)):
        _cmake(package, build_root / package.name, Path(sys.prefix), [])
        (Path(sys.prefix) / "share" / package.name / "sensorium_standin").touch()
    _cmake(ROOT, build_root / "sensorium_ros", prefix, ["-DSENSORIUM_INTERFACES_ONLY=ON"])
    (prefix / STAMP).write_text(fingerprint())


def build_when_changed(prefix: Path, build_root: Path) -> bool:
    """Build unless `prefix` already has the interfaces of this very tree; True when built."""
    build_root.mkdir(parents=True, exist_ok=True)
    with (build_root / "lock").open("w") as lock:
        # Two builds at once (two terminals, a test beside `make`) would overwrite each other.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build_when_changed(prefix, build_root)


def _build_when_changed(prefix: Path, build_root: Path) -> bool:
    stamp = prefix / STAMP
    present = any(prefix.glob("lib/python*/site-packages/sensorium_ros/msg/__init__.py"))
    if present and stamp.exists() and stamp.read_text() == fingerprint():
        return False
    build(prefix, build_root)
    return True


def _cmake(source: Path, build_directory: Path, prefix: Path, options: list[str]) -> None:
    shutil.rmtree(build_directory, ignore_errors=True)
    environment = _environment()
    _run(
        [
            "cmake", "-S", str(source), "-B", str(build_directory), "-G", "Ninja",
            f"-DCMAKE_INSTALL_PREFIX={prefix}", "-DCMAKE_BUILD_TYPE=Release",
            "-DBUILD_TESTING=OFF", f"-DPython3_EXECUTABLE={_interpreter()}",
            f"-DCMAKE_PROJECT_INCLUDE={ROOT / 'tools/cmake/ros_wheels.cmake'}", *options,
        ],
        environment,
    )  # fmt: skip
    _run(["cmake", "--build", str(build_directory)], environment)
    _run(["cmake", "--install", str(build_directory)], environment)


def _interpreter() -> str:
    return str(Path(sys.prefix) / "bin" / "python3")


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    # pip's build isolation shadows the environment that carries the generators.
    for name in ("PYTHONPATH", "PYTHONNOUSERSITE", "PYTHONHOME", "_ROS_WHEELS_BOOTSTRAP_COMPLETE"):
        environment.pop(name, None)
    prefix = sys.prefix
    site = sysconfig.get_paths(vars={"base": prefix, "platbase": prefix})["purelib"]
    environment["VIRTUAL_ENV"] = prefix
    environment["PATH"] = f"{prefix}/bin:{environment.get('PATH', '')}"
    environment["AMENT_PREFIX_PATH"] = prefix
    environment["CMAKE_PREFIX_PATH"] = prefix
    libraries = [f"{prefix}/lib", f"{site}/lib", environment.get("LD_LIBRARY_PATH", "")]
    environment["LD_LIBRARY_PATH"] = ":".join(path for path in libraries if path)
    return environment


def _run(command: list[str], environment: dict[str, str]) -> None:
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.stderr.write(result.stdout + result.stderr)
        raise subprocess.CalledProcessError(result.returncode, command)


if __name__ == "__main__":
    if not generators_available():
        sys.exit(
            "This environment has no ROS interface generators. On a machine without ROS run "
            "`make setup`; on a robot with ROS from apt run `colcon build`."
        )
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(sys.prefix)
    changed = build_when_changed(target.resolve(), ROOT / "build" / "interfaces")
    print(f"interfaces in {target}: {'generated' if changed else 'up to date'}")
