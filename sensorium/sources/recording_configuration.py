"""Parameters of the recording source."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sensorium.configuration import parameter


@dataclass(frozen=True)
class CameraConfiguration:
    """Intrinsics of one camera of a recording."""

    intrinsics_px: tuple[float, ...] = parameter(
        (), "fx, fy, cx, cy of the images as stored [px]; empty takes what the layout knows"
    )
    distortion_model: str = parameter(
        "", "lens model of the images as stored",
        choices=("", "plumb_bob", "rational_polynomial", "equidistant"),
    )  # fmt: skip
    distortion: tuple[float, ...] = parameter((), "coefficients in the order of that model")


@dataclass(frozen=True)
class RecordingConfiguration:
    """Parameters of the recording source; "layout" takes the convention of the layout."""

    folder: str = parameter("", "folder of the recording")
    layout: str = parameter("auto", "layout of the folder", choices=("auto", "seven_scenes", "tum"))
    rate_hz: float = parameter(30.0, "frames per second where the layout has no stamps [Hz]",
                               minimum=0.01, maximum=1000.0)  # fmt: skip
    loop: bool = parameter(False, "start again after the last frame, stamps going on")
    depth_unit_m: float = parameter(
        0.0, "metres per unit of the depth images; 0 takes the layout's (0.001 or 0.0002) [m]",
        minimum=0.0, maximum=1.0,
    )  # fmt: skip
    pose_convention: str = parameter(
        "layout", "what the pose files hold",
        choices=("layout", "camera_to_world", "world_to_camera"),
    )  # fmt: skip
    pose_of: str = parameter(
        "layout", "camera whose pose the files hold", choices=("layout", "depth", "color")
    )
    poses: str = parameter(
        "required", "required rejects frames without a pose, ignored reads none",
        choices=("required", "optional", "ignored"),
    )  # fmt: skip
    registration: str = parameter(
        "layout", "whether the stored depth lies on the colour pixel grid",
        choices=("layout", "registered", "unregistered"),
    )  # fmt: skip
    color: CameraConfiguration = field(default_factory=CameraConfiguration)
    depth: CameraConfiguration = field(default_factory=CameraConfiguration)
    color_from_depth: tuple[float, ...] = parameter(
        (), "pose of the depth camera in the colour camera: x y z [m] qx qy qz qw; empty is unknown"
    )
    association_slop_s: float = parameter(
        0.02, "largest difference of stamps of one frame (TUM) [s]", minimum=0.0, maximum=1.0
    )

    def with_layout(self, defaults: dict[str, str | float]) -> RecordingConfiguration:
        """Return a copy with "layout" and the depth unit 0 replaced by the layout's own values."""
        values = {
            name: value
            for name, value in defaults.items()
            if getattr(self, name) in ("layout", 0.0)
        }
        return replace(self, **values)  # type: ignore[arg-type]
