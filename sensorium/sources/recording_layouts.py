"""Where the files of a recording are: the 7-Scenes and TUM RGB-D folder layouts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from sensorium.poses import Float64, pose_from_quaternion
from sensorium.sources.source import SourceError

_SEVEN_SCENES = re.compile(r"^frame-(\d+)\.(color\.(?:jpg|jpeg|png)|depth\.png|pose\.txt)$")


@dataclass(frozen=True, slots=True)
class Entry:
    """The files of one frame.

    Attributes:
        stamp_ns: time [ns].
        name: for reports.
        color: colour image or None.
        depth: depth image or None.
        pose_file: file with the 4 x 4 matrix, or None.
        pose_values: x y z qx qy qz qw of the frame, or None.
    """

    stamp_ns: int
    name: str
    color: Path | None
    depth: Path | None
    pose_file: Path | None = None
    pose_values: tuple[float, ...] | None = None

    @property
    def has_pose(self) -> bool:
        """True when there is a pose, readable or not."""
        return self.pose_file is not None or self.pose_values is not None

    def read_pose(self) -> Float64:
        """Return the stored pose (4, 4), not yet validated.

        Raises:
            ValueError: the file holds no 16 numbers, or the quaternion no direction.
            OSError: the file cannot be read.
        """
        if self.pose_values is not None:
            return pose_from_quaternion(self.pose_values[:3], self.pose_values[3:])
        assert self.pose_file is not None  # noqa: S101 - has_pose was asked first
        numbers = [float(word) for word in self.pose_file.read_text().split()]
        if len(numbers) != 16:
            raise ValueError(f"{self.pose_file} holds {len(numbers)} numbers; a pose has 16")
        return np.array(numbers).reshape(4, 4)


def layout_of(folder: Path) -> str:
    """Return "seven_scenes" or "tum".

    Raises:
        SourceError: the folder has neither layout.
    """
    if (folder / "depth.txt").is_file():
        return "tum"
    if any(_SEVEN_SCENES.match(path.name) for path in folder.iterdir()):
        return "seven_scenes"
    raise SourceError(
        f"recording '{folder}' has no known layout: neither depth.txt (TUM RGB-D) nor "
        "frame-NNNNNN.depth.png (7-Scenes); point the folder parameter at the images' own folder"
    )


def layout_defaults(layout: str) -> dict[str, str | float]:
    """Return what "layout" means for the parameters of a recording."""
    if layout == "tum":
        return {
            "depth_unit_m": 1 / 5000, "pose_convention": "camera_to_world", "pose_of": "color",
            "registration": "registered",
        }  # fmt: skip
    return {
        "depth_unit_m": 0.001, "pose_convention": "camera_to_world", "pose_of": "depth",
        "registration": "unregistered",
    }  # fmt: skip


def index_folder(
    folder: Path, layout: str, rate_hz: float, slop_s: float, start_ns: int
) -> tuple[Entry, ...]:
    """Return the frames of a recording in the order of time.

    Args:
        folder: existing folder.
        layout: "seven_scenes" or "tum".
        rate_hz: frames per second of a layout without stamps.
        slop_s: largest difference of stamps within one frame (TUM).
        start_ns: stamp of the first frame of a layout without stamps.

    Raises:
        SourceError: there is no frame, or a list of files is malformed.
    """
    if layout == "tum":
        entries = _index_tum(folder, slop_s)
    else:
        entries = _index_seven_scenes(folder, rate_hz, start_ns)
    if not any(entry.depth for entry in entries):
        raise SourceError(
            f"recording '{folder}' has no depth image in the {layout} layout; "
            "point the folder parameter at the images' own folder or set the layout"
        )
    return entries


def seven_scenes_intrinsics(folder: Path) -> tuple[float, ...]:
    """Return fx, fy, cx, cy from camera-intrinsics.txt in the folder or its parent, or ().

    Raises:
        SourceError: the file does not hold a 3 x 3 matrix.
    """
    for place in (folder, folder.parent):
        path = place / "camera-intrinsics.txt"
        if not path.is_file():
            continue
        try:
            K = np.array([float(word) for word in path.read_text().split()]).reshape(3, 3)
        except ValueError as error:
            raise SourceError(
                f"'{path}' does not hold a 3 x 3 matrix ({error}); "
                "correct it or set depth.intrinsics_px"
            ) from error
        return float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])
    return ()


def _index_seven_scenes(folder: Path, rate_hz: float, start_ns: int) -> tuple[Entry, ...]:
    files: dict[int, dict[str, Path]] = {}
    for path in folder.iterdir():
        match = _SEVEN_SCENES.match(path.name)
        if match:
            files.setdefault(int(match[1]), {})[match[2].split(".")[0]] = path
    return tuple(
        Entry(
            start_ns + round(position * 1e9 / rate_hz),
            f"frame-{number:06d}",
            files[number].get("color"),
            files[number].get("depth"),
            files[number].get("pose"),
        )
        for position, number in enumerate(sorted(files))
    )


def _index_tum(folder: Path, slop_s: float) -> tuple[Entry, ...]:
    """Pair every depth image with the nearest unused colour image and the nearest pose."""
    depths = _read_list(folder / "depth.txt", 1)
    colors = _read_list(folder / "rgb.txt", 1) if (folder / "rgb.txt").is_file() else []
    poses_path = folder / "groundtruth.txt"
    poses = _read_list(poses_path, 7) if poses_path.is_file() else []
    slop_ns = round(slop_s * 1e9)
    color_of = _associate([stamp for stamp, _ in depths], [stamp for stamp, _ in colors], slop_ns)
    pose_stamps = np.array([stamp for stamp, _ in poses], np.int64)
    entries = []
    for index, (stamp, words) in enumerate(depths):
        color = folder / colors[color_of[index]][1][0] if index in color_of else None
        pose = None
        if len(pose_stamps):
            nearest = int(np.abs(pose_stamps - stamp).argmin())
            if abs(int(pose_stamps[nearest]) - stamp) <= slop_ns:
                pose = tuple(float(word) for word in poses[nearest][1][:7])
        entries.append(Entry(stamp, words[0], color, folder / words[0], None, pose))
    return tuple(entries)


def _associate(first: list[int], second: list[int], slop_ns: int) -> dict[int, int]:
    """Return {index in first: index in second} of mutual pairs, nearest pairs first."""
    if not second:
        return {}
    stamps = np.array(second, np.int64)
    candidates = []
    for index, stamp in enumerate(first):
        low, high = np.searchsorted(stamps, (stamp - slop_ns, stamp + slop_ns + 1))
        candidates += [(abs(second[other] - stamp), index, other) for other in range(low, high)]
    pairs: dict[int, int] = {}
    used: set[int] = set()
    for _, index, other in sorted(candidates):
        if index not in pairs and other not in used:
            pairs[index] = other
            used.add(other)
    return pairs


def _read_list(path: Path, values: int) -> list[tuple[int, list[str]]]:
    """Return (stamp_ns, words) of every line, sorted; stamps are decimal seconds."""
    lines = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            # Decimal, because a float of seconds since 1970 is off by 100 ns.
            stamp_ns = int(Decimal(words[0]) * 1_000_000_000)
            if len(words) < 1 + values:
                raise ValueError(f"{len(words) - 1} values where {values} are expected")
            if values > 1:
                [float(word) for word in words[1:]]
        except (InvalidOperation, ValueError, OverflowError) as error:
            raise SourceError(
                f"'{path}' line {number} is malformed ({error}); "
                "each line is: stamp in seconds, then the values"
            ) from error
        lines.append((stamp_ns, words[1:]))
    return sorted(lines)
