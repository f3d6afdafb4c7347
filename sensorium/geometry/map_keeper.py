"""Keeps the fused map of a node: pace, filters, fusion, extraction and files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sensorium.configuration import parameter
from sensorium.geometry.backend import GeometryResult
from sensorium.geometry.filters import FilterConfiguration, PointFilter
from sensorium.geometry.fusion import FusedMap, FusionConfiguration
from sensorium.geometry.ply import write_ply
from sensorium.geometry.surface import MapPoints


@dataclass(frozen=True, slots=True)
class MapConfiguration:
    """The fused map of a node."""

    enabled: bool = parameter(True, "Keep a fused map.")
    max_rate_hz: float = parameter(
        5.0, "Frames of each camera are fused at most at this rate, by their stamps [Hz].",
        minimum=0.01, maximum=1000.0, read_only=False,
    )  # fmt: skip
    publish_period_s: float = parameter(
        2.0, "Time between two publications of the map [s].", minimum=0.1, maximum=3600.0,
        read_only=False,
    )  # fmt: skip
    max_published_points: int = parameter(
        200_000, "A larger map is thinned evenly before it is published; files hold all points.",
        minimum=1000, maximum=10_000_000, read_only=False,
    )  # fmt: skip
    min_confidence: float = parameter(
        0.1, "Pixels below this confidence are not fused.", minimum=0.0, maximum=1.0,
        read_only=False,
    )  # fmt: skip
    directory: str = parameter(
        "~/.ros/sensorium/maps", "Folder for the files of save_map; made when needed."
    )
    filters: FilterConfiguration = field(default_factory=FilterConfiguration)
    fusion: FusionConfiguration = field(default_factory=FusionConfiguration)


class MapKeeper:
    """Fuses views into one map. Not thread-safe: one worker owns it.

    Args:
        configuration: see :class:`MapConfiguration`.
        device: torch device of the map.

    Raises:
        ValueError: contradictory limits.
    """

    def __init__(self, configuration: MapConfiguration, device: str) -> None:
        self.configuration = configuration
        self.map = FusedMap(configuration.fusion, device)
        self._filter = PointFilter(configuration.filters)
        self._fused_ns: dict[str, int] = {}

    def change(self, configuration: MapConfiguration) -> None:
        """Apply the parameters that may change at run time; the map stays.

        Raises:
            ValueError: contradictory limits; nothing is changed then.
        """
        self._filter = PointFilter(configuration.filters)
        self.configuration = configuration
        self.map.configuration = configuration.fusion

    def is_due(self, result: GeometryResult) -> bool:
        """True when the camera's last fused frame is long enough ago."""
        last_ns = self._fused_ns.get(result.camera_name)
        # Half a millisecond of tolerance: a camera at just this rate must not lose every other one.
        period_ns = 1e9 / self.configuration.max_rate_hz - 5e5
        return last_ns is None or not last_ns <= result.stamp_ns < last_ns + period_ns

    def fuse(self, result: GeometryResult, excluded: NDArray[np.bool_] | None = None) -> None:
        """Fuse a view that has a pose.

        Args:
            result: geometry of the view.
            excluded: (H, W) pixels to leave out, for example the robot itself.

        Raises:
            ValueError: the view has no pose, is not metric, or cannot be fused.
        """
        pose = result.view.world_from_camera
        if pose is None or not result.is_metric:
            raise ValueError("only metric views with a pose can be fused")
        kept = self._filter.kept(result.points_m, pose)
        kept &= result.confidence >= self.configuration.min_confidence
        if excluded is not None:
            kept &= ~excluded
        weight = np.where(kept, result.confidence, np.float32(0))
        self.map.integrate(result.depth_m, result.camera, pose, result.color, weight)
        self._fused_ns[result.camera_name] = result.stamp_ns

    def reset(self) -> None:
        """Forget the map."""
        self.map.reset()
        self._fused_ns.clear()

    def points_to_publish(self) -> MapPoints:
        """Return the map, thinned evenly to ``max_published_points``."""
        points = self.map.points()
        step = -(-len(points) // self.configuration.max_published_points)
        if step <= 1:
            return points
        return MapPoints(
            points.points_m[::step], points.normals[::step], points.colors[::step],
            points.weights[::step], points.voxel_size_m,
        )  # fmt: skip

    def save(self, filename: str, comment: str) -> tuple[Path, int]:
        """Write the map as PLY below ``directory``; returns the path and the number of points.

        Raises:
            ValueError: the name is absolute, leaves the directory, does not end in .ply, or the map
                is empty.
            OSError: the file cannot be written.
        """
        directory = Path(self.configuration.directory).expanduser().resolve()
        path = (directory / filename).resolve()
        if Path(filename).is_absolute() or not path.is_relative_to(directory):
            raise ValueError(
                f"'{filename}' leads out of {directory}; give a name inside it "
                "(parameter map.directory)"
            )
        if path.suffix != ".ply":
            raise ValueError(f"'{filename}' does not end in .ply, the only format")
        points = self.map.points()
        if len(points) == 0:
            raise ValueError("the map is empty: nothing has been fused yet")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_ply(path, points.points_m, points.normals, points.colors, comment)
        return path, len(points)
