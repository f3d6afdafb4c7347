"""The RGB-D frame and the camera that took it: what every source yields and every backend reads.

Conventions: OpenCV optical axes (x right, y down, z forward), metres, integer nanoseconds, pixel
centres at integer coordinates. What is missing is ``None``, never zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sensorium.poses import validated_pose


class FrameError(ValueError):
    """A frame or camera that breaks a rule; the text names the rule and the remedy."""


@dataclass(frozen=True, slots=True, eq=False)
class CameraModel:
    """A pinhole camera, optionally with lens distortion.

    Attributes:
        width_px: image width.
        height_px: image height.
        K: (3, 3) float64 intrinsics [px]: fx 0 cx / 0 fy cy / 0 0 1.
        distortion_model: "" (rectified), "plumb_bob", "rational_polynomial" or "equidistant", as in
            sensor_msgs/CameraInfo.
        distortion: coefficients in the order of that model; empty when rectified.

    Raises:
        FrameError: sizes not positive, K not (3, 3), non-finite, or a focal length that is not
            positive (K[0] == 0 is how ROS says "uncalibrated").
    """

    width_px: int
    height_px: int
    K: NDArray[np.float64]
    distortion_model: str = ""
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.width_px <= 0 or self.height_px <= 0:
            raise FrameError(
                f"camera size is {self.width_px} x {self.height_px}; it must be positive"
            )
        K = np.asarray(self.K, dtype=np.float64)
        if K.shape != (3, 3):
            raise FrameError(f"K has shape {K.shape}; intrinsics are a 3 x 3 matrix")
        if not np.isfinite(K).all():
            raise FrameError("K has non-finite numbers; calibrate the camera")
        if K[0, 0] <= 0 or K[1, 1] <= 0:
            raise FrameError(
                f"focal lengths are {K[0, 0]:g}, {K[1, 1]:g} px: the camera is uncalibrated; "
                "publish a CameraInfo with a positive K[0] and K[4]"
            )
        object.__setattr__(self, "K", K)

    @property
    def is_rectified(self) -> bool:
        """True when no distortion remains."""
        return not any(self.distortion)

    def resized(self, width_px: int, height_px: int) -> CameraModel:
        """Return the camera of the image resized to the given size (pixel centres at integers)."""
        scale_x, scale_y = width_px / self.width_px, height_px / self.height_px
        K = self.K.copy()
        K[0, 0] *= scale_x
        K[0, 1] *= scale_x
        K[1, 1] *= scale_y
        K[0, 2] = (K[0, 2] + 0.5) * scale_x - 0.5
        K[1, 2] = (K[1, 2] + 0.5) * scale_y - 0.5
        return CameraModel(width_px, height_px, K, self.distortion_model, self.distortion)

    def same_geometry(self, other: CameraModel) -> bool:
        """True when both cameras map the same rays to the same pixels."""
        return (
            (self.width_px, self.height_px) == (other.width_px, other.height_px)
            and np.allclose(self.K, other.K, atol=1e-6)
            and self.distortion_model == other.distortion_model
            and self.distortion == other.distortion
        )


def pinhole(
    width_px: int,
    height_px: int,
    focal_px: float | tuple[float, float],
    center_px: tuple[float, float] | None = None,
) -> CameraModel:
    """Return a rectified pinhole camera; the centre defaults to the middle of the image."""
    fx, fy = focal_px if isinstance(focal_px, tuple) else (focal_px, focal_px)
    cx, cy = center_px or ((width_px - 1) / 2, (height_px - 1) / 2)
    return CameraModel(width_px, height_px, np.array(((fx, 0, cx), (0, fy, cy), (0, 0, 1.0))))


@dataclass(frozen=True, slots=True, eq=False)
class RgbdFrame:
    """Everything one camera measured at one moment, in one optical frame.

    Attributes:
        stamp_ns: time of exposure [ns].
        camera_name: unique on the robot, e.g. "wrist".
        optical_frame: frame id of the images and of the depth.
        color: (H, W, 3) uint8 RGB, rectified, or None.
        color_camera: intrinsics of `color`, or None when unknown.
        depth_m: (H, W) float32 along the optical z axis [m]; NaN where invalid. Registered to
            `color` when both are present. Or None.
        depth_camera: intrinsics of `depth_m`, or None when unknown.
        world_frame: fixed frame of the pose; "" without a pose.
        world_from_camera: (4, 4) float64, pose of `optical_frame` in `world_frame`, or None.

    Raises:
        FrameError: shapes or dtypes differ from the above, an image and its camera differ in size,
            or colour and depth are both present but not on the same pixel grid.
        PoseError: the pose is not rigid.
    """

    stamp_ns: int
    camera_name: str
    optical_frame: str
    color: NDArray[np.uint8] | None = None
    color_camera: CameraModel | None = None
    depth_m: NDArray[np.float32] | None = None
    depth_camera: CameraModel | None = None
    world_frame: str = ""
    world_from_camera: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if not self.camera_name:
            raise FrameError("camera_name is empty; name the camera, e.g. 'wrist'")
        if self.color is not None:
            if self.color.ndim != 3 or self.color.shape[2] != 3 or self.color.dtype != np.uint8:
                raise FrameError(
                    f"color is {self.color.dtype} {self.color.shape}; "
                    "it must be uint8 (H, W, 3) RGB"
                )
            _check_size("color", self.color.shape, self.color_camera)
        if self.depth_m is not None:
            if self.depth_m.ndim != 2 or self.depth_m.dtype != np.float32:
                raise FrameError(
                    f"depth_m is {self.depth_m.dtype} {self.depth_m.shape}; "
                    "it must be float32 (H, W) in metres"
                )
            _check_size("depth_m", self.depth_m.shape, self.depth_camera)
        if self.color is not None and self.depth_m is not None:
            if self.color.shape[:2] != self.depth_m.shape:
                raise FrameError(
                    f"color is {self.color.shape[:2]} and depth_m is {self.depth_m.shape}: "
                    "register depth to colour first (sensorium.registration)"
                )
            if (
                self.color_camera is not None
                and self.depth_camera is not None
                and not self.color_camera.same_geometry(self.depth_camera)
            ):
                raise FrameError(
                    "color and depth_m have different intrinsics: "
                    "register depth to colour first (sensorium.registration)"
                )
        if self.world_from_camera is not None:
            if not self.world_frame:
                raise FrameError("world_from_camera is given without world_frame; name the frame")
            object.__setattr__(
                self,
                "world_from_camera",
                validated_pose(self.world_from_camera, "world_from_camera"),
            )

    @property
    def camera(self) -> CameraModel | None:
        """The camera of the frame: of depth when there is depth, else of colour."""
        return self.depth_camera if self.depth_m is not None else self.color_camera

    @property
    def valid(self) -> NDArray[np.bool_] | None:
        """(H, W) mask of finite, positive depth; None without depth."""
        return None if self.depth_m is None else valid_depth(self.depth_m)


def valid_depth(depth_m: ArrayLike) -> NDArray[np.bool_]:
    """Return the (H, W) mask of finite, positive depth."""
    depth = np.asarray(depth_m)
    # NaN > 0 is False, so only infinity has to be excluded besides.
    mask: NDArray[np.bool_] = (depth > 0) & (depth < np.inf)
    return mask


def _check_size(name: str, shape: tuple[int, ...], camera: CameraModel | None) -> None:
    if camera is not None and shape[:2] != (camera.height_px, camera.width_px):
        raise FrameError(
            f"{name} is {shape[1]} x {shape[0]} px but its camera is "
            f"{camera.width_px} x {camera.height_px} px: "
            "publish the CameraInfo of this image (scale K with the image)"
        )
