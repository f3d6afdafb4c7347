"""The recording source: a folder of RGB-D images in the 7-Scenes or the TUM layout.

7-Scenes (also tsdf-fusion): ``frame-000000.color.jpg|png``, ``.depth.png`` (16 bit, millimetres),
``.pose.txt`` (4 x 4, camera to world, of the depth camera) and ``camera-intrinsics.txt`` (3 x 3, of
the depth camera) in the folder or its parent; colour and depth are not registered.

TUM RGB-D: ``rgb.txt``, ``depth.txt``, ``groundtruth.txt`` with stamps in seconds; depth in
1/5000 m, registered to colour; the trajectory is that of the colour camera.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sensorium.frames import CameraModel, FrameError, RgbdFrame
from sensorium.poses import Float64, PoseError, inverse, pose_from_quaternion, validated_pose
from sensorium.rectification import rectified_camera, rectified_color, rectified_depth
from sensorium.registration import register_depth_to_color
from sensorium.sources.recording_configuration import (
    CameraConfiguration,
    RecordingConfiguration,
)
from sensorium.sources.recording_layouts import (
    Entry,
    index_folder,
    layout_defaults,
    layout_of,
    seven_scenes_intrinsics,
)
from sensorium.sources.source import (
    ClosedOnExit,
    FrameNames,
    RejectedFrame,
    SourceError,
    SourceFrame,
)

_INVALID_DEPTH = (0, 65535)


class RecordingSource(ClosedOnExit):
    """Reads a recording frame by frame.

    Args:
        configuration: where and how it is stored.
        names: names written into the frames.
        start_ns: added to the stamps of a layout that has none [ns].

    Raises:
        SourceError: no such folder, no frames, an unknown layout, no depth intrinsics, or
            contradictory parameters.
    """

    live = False
    status = ""

    def __init__(
        self,
        configuration: RecordingConfiguration,
        names: FrameNames | None = None,
        start_ns: int = 0,
    ) -> None:
        folder = Path(configuration.folder).expanduser()
        if not configuration.folder or not folder.is_dir():
            raise SourceError(
                f"recording folder '{configuration.folder}' does not exist; "
                "set the folder parameter to a 7-Scenes or TUM RGB-D folder"
            )
        self.layout = layout_of(folder) if configuration.layout == "auto" else configuration.layout
        self.configuration = configuration.with_layout(layout_defaults(self.layout))
        self.names = names or FrameNames()
        self._entries = index_folder(
            folder, self.layout, configuration.rate_hz, configuration.association_slop_s, start_ns
        )
        if configuration.poses == "required" and all(not entry.has_pose for entry in self._entries):
            raise SourceError(
                f"recording '{folder}' has no pose at all; "
                "set poses to 'optional' to read it without poses"
            )
        self._color_from_depth = _transform(self.configuration.color_from_depth)
        self._depth_camera, self._color_camera = self._cameras(folder)
        self._next = 0
        self._round = 0
        self._closed = False

    def __len__(self) -> int:
        """Return the number of frames of one round, rejected ones included."""
        return len(self._entries)

    @property
    def finished(self) -> bool:
        """True when every frame was read (never when looping), or after close()."""
        return self._closed or self._next >= len(self._entries)

    def read(self, timeout_s: float = 0.0) -> SourceFrame | RejectedFrame | None:
        """Return the next frame, accepted or rejected, or None when finished; never waits."""
        del timeout_s
        if self.finished:
            return None
        entry = self._entries[self._next]
        entry = replace(entry, stamp_ns=entry.stamp_ns + self._round * self._round_ns())
        self._next += 1
        if self._next == len(self._entries) and self.configuration.loop:
            self._next, self._round = 0, self._round + 1
        try:
            return self._frame(entry)
        except _RejectionError as rejection:
            return RejectedFrame(entry.stamp_ns, entry.name, rejection.reason, str(rejection))

    def close(self) -> None:
        """End the recording."""
        self._closed = True

    def _round_ns(self) -> int:
        """Return the duration of one round, one mean period after the last frame included."""
        first, last = self._entries[0].stamp_ns, self._entries[-1].stamp_ns
        count = len(self._entries)
        if count == 1:
            return round(1e9 / self.configuration.rate_hz)
        return (last - first) * count // (count - 1)

    def _cameras(self, folder: Path) -> tuple[CameraModel, CameraModel | None]:
        """Return the cameras of the stored depth and colour images; colour may be unknown."""
        registered = self.configuration.registration == "registered"
        color_values = self.configuration.color.intrinsics_px
        depth_values = self.configuration.depth.intrinsics_px
        if not depth_values:
            if self.layout == "seven_scenes":
                depth_values = seven_scenes_intrinsics(folder)
            if not depth_values and registered:
                depth_values = color_values
            if not depth_values:
                raise SourceError(
                    f"recording '{folder}' has no intrinsics of the depth camera; "
                    "set depth.intrinsics_px to fx, fy, cx, cy"
                )
        color_values = color_values or (depth_values if registered else ())
        depth_size = self._size("depth")
        color_size = self._size("color")
        depth_lens, color_lens = self.configuration.depth, self.configuration.color
        if registered and not depth_lens.distortion:
            depth_lens = color_lens
        try:
            depth_camera = _camera("depth", depth_size or color_size, depth_values, depth_lens)
            if depth_camera is None:
                raise SourceError(f"recording '{folder}' has no readable image at all")
            color_camera = (
                _camera("color", color_size, color_values, color_lens) if color_values else None
            )
        except FrameError as error:
            raise SourceError(f"recording '{folder}': {error}") from error
        if registered and color_camera and not color_camera.same_geometry(depth_camera):
            raise SourceError(
                f"recording '{folder}' is set to registered depth, but the cameras of colour and "
                "depth differ; give both the same intrinsics or set registration to 'unregistered'"
            )
        return depth_camera, color_camera

    def _size(self, kind: str) -> tuple[int, int] | None:
        """Return (width, height) of the first readable image of a kind."""
        for entry in self._entries:
            path = entry.depth if kind == "depth" else entry.color
            if path is None:
                continue
            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            if image is not None:
                return int(image.shape[1]), int(image.shape[0])
        return None

    def _frame(self, entry: Entry) -> SourceFrame:
        depth_m = rectified_depth(self._read_depth(entry), self._depth_camera)
        depth_camera = rectified_camera(self._depth_camera)
        color = self._read_color(entry)
        color_camera = None
        if color is not None and self._color_camera is not None:
            color = rectified_color(color, self._color_camera)
            color_camera = rectified_camera(self._color_camera)
        world_from_depth, world_from_color = self._poses(entry)
        if self.configuration.registration == "registered":
            frame = self._rgbd(entry, color, depth_m, depth_camera, world_from_color, on_color=True)
            return SourceFrame(frame)
        if color is not None and color_camera is not None and self._color_from_depth is not None:
            registered = register_depth_to_color(
                depth_m, depth_camera, color_camera, self._color_from_depth
            )
            return SourceFrame(
                self._rgbd(entry, color, registered, color_camera, world_from_color, on_color=True)
            )
        frame = self._rgbd(entry, None, depth_m, depth_camera, world_from_depth, on_color=False)
        if color is None:
            return SourceFrame(frame)
        apart = RgbdFrame(
            entry.stamp_ns, self.names.camera_name, self.names.color_optical_frame,
            color=color, color_camera=color_camera,
            world_frame=self.names.world_frame if world_from_color is not None else "",
            world_from_camera=world_from_color,
        )  # fmt: skip
        return SourceFrame(frame, apart, self._apart_reason())

    def _apart_reason(self) -> str:
        missing = []
        if self._color_camera is None:
            missing.append("color.intrinsics_px")
        if self._color_from_depth is None:
            missing.append("color_from_depth")
        return (
            "colour and depth are not registered and their calibration is unknown; "
            f"set {' and '.join(missing)} to register them"
        )

    def _rgbd(
        self,
        entry: Entry,
        color: NDArray[np.uint8] | None,
        depth_m: NDArray[np.float32],
        camera: CameraModel,
        pose: Float64 | None,
        *,
        on_color: bool,
    ) -> RgbdFrame:
        return RgbdFrame(
            stamp_ns=entry.stamp_ns,
            camera_name=self.names.camera_name,
            optical_frame=(
                self.names.color_optical_frame if on_color else self.names.depth_optical_frame
            ),
            color=color,
            color_camera=camera if color is not None else None,
            depth_m=depth_m,
            depth_camera=camera,
            world_frame=self.names.world_frame if pose is not None else "",
            world_from_camera=pose,
        )

    def _read_depth(self, entry: Entry) -> NDArray[np.float32]:
        if entry.depth is None:
            raise _RejectionError("depth_missing", f"{entry.name} has no depth image")
        raw = cv2.imread(str(entry.depth), cv2.IMREAD_UNCHANGED)
        if raw is None or raw.dtype != np.uint16 or raw.ndim != 2:
            found = "unreadable" if raw is None else f"{raw.dtype} {raw.shape}"
            raise _RejectionError(
                "depth_unreadable",
                f"{entry.depth} is {found}; depth is a 16-bit PNG with one channel",
            )
        _check_size(entry.depth, raw.shape, self._depth_camera)
        depth_m: NDArray[np.float32] = raw.astype(np.float32)
        depth_m *= self.configuration.depth_unit_m
        for invalid in _INVALID_DEPTH:
            depth_m[raw == invalid] = np.nan
        return depth_m

    def _read_color(self, entry: Entry) -> NDArray[np.uint8] | None:
        if entry.color is None:
            # A recording of depth alone is whole; one missing colour image is not.
            if all(other.color is None for other in self._entries):
                return None
            raise _RejectionError("color_missing", f"{entry.name} has no colour image")
        bgr = cv2.imread(str(entry.color), cv2.IMREAD_COLOR)
        if bgr is None:
            raise _RejectionError("color_unreadable", f"{entry.color} is not a readable image")
        if self._color_camera is not None:
            _check_size(entry.color, bgr.shape, self._color_camera)
        rgb: NDArray[np.uint8] = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        return rgb

    def _poses(self, entry: Entry) -> tuple[Float64 | None, Float64 | None]:
        """Return world_from_depth and world_from_color; None where unknown."""
        if self.configuration.poses == "ignored":
            return None, None
        if not entry.has_pose:
            if self.configuration.poses == "optional":
                return None, None
            raise _RejectionError("pose_missing", f"{entry.name} has no pose in the recording")
        try:
            pose = validated_pose(entry.read_pose(), f"pose of {entry.name}")
        except (ValueError, OSError) as error:
            raise _RejectionError("pose_invalid", str(error)) from error
        if self.configuration.pose_convention == "world_to_camera":
            pose = inverse(pose)
        if self.configuration.registration == "registered":
            return pose, pose
        transform = self._color_from_depth
        if self.configuration.pose_of == "depth":
            return pose, None if transform is None else pose @ inverse(transform)
        return None if transform is None else pose @ transform, pose


class _RejectionError(Exception):
    """A frame that cannot be given; becomes a RejectedFrame before it leaves the module."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def _transform(values: tuple[float, ...]) -> Float64 | None:
    if not values:
        return None
    if len(values) != 7:
        raise SourceError(
            f"color_from_depth has {len(values)} numbers; give x y z qx qy qz qw, or leave it empty"
        )
    try:
        return pose_from_quaternion(values[:3], values[3:])
    except PoseError as error:
        raise SourceError(f"color_from_depth: {error}") from error


def _camera(
    name: str,
    size: tuple[int, int] | None,
    values: tuple[float, ...],
    lens: CameraConfiguration,
) -> CameraModel | None:
    if size is None:
        return None
    if len(values) != 4:
        raise SourceError(f"{name}.intrinsics_px has {len(values)} numbers; give fx, fy, cx, cy")
    fx, fy, cx, cy = values
    K = np.array(((fx, 0, cx), (0, fy, cy), (0, 0, 1.0)))
    camera = CameraModel(*size, K, lens.distortion_model, lens.distortion)
    # A wrong lens model is a wrong folder, not a wrong frame.
    rectified_camera(camera)
    return camera


def _check_size(path: Path, shape: tuple[int, ...], camera: CameraModel) -> None:
    if shape[:2] != (camera.height_px, camera.width_px):
        raise _RejectionError(
            "size_mismatch",
            f"{path} is {shape[1]} x {shape[0]} px, the recording's first image "
            f"{camera.width_px} x {camera.height_px} px",
        )
