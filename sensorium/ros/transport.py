"""The environment in which images reach other processes: Fast DDS with a large shared memory.

Fast DDS sends by default through a shared-memory segment of 512 KB. A 640x480 image does not fit,
and best-effort images are lost (1 or 2 of 91 arrived; with the profile shipped here all 91 did).
The profile of the publishing process is what counts, so every process is started with it, drivers
too.

Fast DDS allocates the whole segment in /dev/shm when a process starts; where it does not fit,
shared memory is switched off for that process with an error that is easy to miss (Docker gives a
container 64 MB). So the free space is looked at first.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

PROFILE = Path("config/fastdds/shm_udp.xml")
_SHM = "/dev/shm"  # noqa: S108 - where Fast DDS puts its segments

# Fast DDS 3 (Kilted and later, and the wheels, which set no ROS_DISTRO) reads the first variable
# and warns in every process about the second, which is the only one that Fast DDS 2 reads.
_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
_VARIABLE_2X = "FASTRTPS_DEFAULT_PROFILES_FILE"
_DISTRIBUTIONS_2X = ("humble", "iron", "jazzy")
_USER_CHOICES = (_VARIABLE, _VARIABLE_2X, "FASTDDS_BUILTIN_TRANSPORTS")
_FAST_DDS = ("rmw_fastrtps_cpp", "rmw_fastrtps_dynamic_cpp")

_MB = 1024 * 1024
# Bookkeeping of a segment (4 % measured) and the second, fixed segment of each process.
_OVERHEAD_FACTOR = 1.05
_OVERHEAD_BYTES = 1 * _MB
# Two 640x480 images with depth fit; below that the segment is no better than the default.
_SMALLEST_MB = 4

_REMEDY = (
    "enlarge it (docker run --shm-size=1g, or mount -o remount,size=1G /dev/shm), "
    "or use reliable QoS on image topics"
)


def transport_environment(
    environ: Mapping[str, str],
    processes: int = 8,
    free_shm_bytes: Callable[[], int] | None = None,
) -> tuple[dict[str, str], list[str]]:
    """Return the variables to set for the processes of a graph, and notes for the user.

    Sets nothing where the user chose a profile, transports or another RMW. Where /dev/shm is too
    small, a profile with a smaller segment is written to the user's cache directory.

    Args:
        environ: the environment in which the processes will be started.
        processes: how many processes will hold a segment at the same time.
        free_shm_bytes: returns the free space of /dev/shm [bytes]; the real one by default.

    Returns:
        Variables to add to `environ`, and sentences that say what was left alone or is too small;
        no sentence when everything is as it should be.
    """
    choice = _choice_of_user(environ)
    if choice:
        return {}, [choice]
    try:
        profile, notes = _fitting_profile(environ, processes, free_shm_bytes or _free_shm_bytes)
    except _UnusableError as reason:
        return {}, [str(reason)]
    is_2x = environ.get("ROS_DISTRO", "") in _DISTRIBUTIONS_2X
    return {_VARIABLE_2X if is_2x else _VARIABLE: str(profile)}, notes


class _UnusableError(Exception):
    """No profile can be used; the text says why."""


def _choice_of_user(environ: Mapping[str, str]) -> str:
    rmw = environ.get("RMW_IMPLEMENTATION", "")
    if rmw and rmw not in _FAST_DDS:
        return f"RMW_IMPLEMENTATION is {rmw}: the shared-memory profile of Fast DDS is not used"
    for name in _USER_CHOICES:
        if environ.get(name):
            return f"{name} is set to {environ[name]}: it is used as it is"
    return ""


def _fitting_profile(
    environ: Mapping[str, str], processes: int, free_shm_bytes: Callable[[], int]
) -> tuple[Path, list[str]]:
    shipped = _shipped_profile(environ)
    if shipped is None:
        raise _UnusableError(
            f"{PROFILE} was not found beside the package or in AMENT_PREFIX_PATH: best-effort "
            "images may be lost between processes; install the package again"
        )
    text = shipped.read_text(encoding="utf-8")
    wanted_mb = _segment_bytes(text) // _MB
    try:
        free = free_shm_bytes()
    except OSError as error:
        raise _UnusableError(
            f"{_SHM} cannot be read ({error}): the shared-memory profile is not used"
        ) from error
    fitting_mb = int((free / processes - _OVERHEAD_BYTES) / _OVERHEAD_FACTOR) // _MB
    space = f"{_SHM} has {free / _MB:.0f} MB free"
    if fitting_mb >= wanted_mb:
        return shipped, []
    if fitting_mb < _SMALLEST_MB:
        raise _UnusableError(
            f"{space}, too little for {processes} processes: best-effort images will be lost "
            f"between them; {_REMEDY}"
        )
    try:
        shrunk = _write_shrunk(text, fitting_mb, environ)
    except OSError as error:
        raise _UnusableError(
            f"{space} and a profile with a smaller segment could not be written ({error}): "
            "best-effort images may be lost; set XDG_CACHE_HOME to a directory that can be written"
        ) from error
    return shrunk, [
        f"{space}: the shared-memory segments of {processes} processes are shrunk from "
        f"{wanted_mb} to {fitting_mb} MB, so large best-effort messages may be lost; {_REMEDY}"
    ]


def _shipped_profile(environ: Mapping[str, str]) -> Path | None:
    """The profile in the source tree, else in an ament prefix, else in Python's prefix."""
    share = Path("share/sensorium_ros")
    prefixes = [Path(p) for p in environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    places = [
        Path(__file__).resolve().parents[2],
        *(prefix / share for prefix in prefixes),
        Path(sys.prefix) / share,
    ]
    return next((place / PROFILE for place in places if (place / PROFILE).is_file()), None)


def _segment_bytes(profile: str) -> int:
    found = re.search(r"<segment_size>(\d+)</segment_size>", profile)
    if found is None:
        raise ValueError(f"{PROFILE} has no segment_size; install the package again")
    return int(found[1])


def _write_shrunk(profile: str, segment_mb: int, environ: Mapping[str, str]) -> Path:
    """Write the profile with a smaller segment; the same size always has the same path."""
    home = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or Path.home()) / ".cache"
    directory = Path(home) / "sensorium" / "fastdds"
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"shm_udp_{segment_mb}mb.xml"
    text = re.sub(r"(?<=<segment_size>)\d+", str(segment_mb * _MB), profile)
    # Replaced in one step: another graph may be starting from the same file.
    with tempfile.NamedTemporaryFile("w", dir=directory, delete=False, encoding="utf-8") as file:
        file.write(text)
    Path(file.name).replace(path)
    return path


def _free_shm_bytes() -> int:
    return shutil.disk_usage(_SHM).free
