"""sensorium_ros/RgbdFrame to and from `sensorium.frames.RgbdFrame`."""

from __future__ import annotations

from sensor_msgs.msg import CameraInfo
from sensorium_ros.msg import RgbdFrame as RgbdFrameMessage

from sensorium.frames import CameraModel, FrameError, RgbdFrame
from sensorium.poses import PoseError
from sensorium.ros.convert.camera_info import camera_from_info, info_from_camera, is_calibrated
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.header import header, stamp_from_time
from sensorium.ros.convert.image import (
    color_from_image,
    depth_from_image,
    image_from_color,
    image_from_depth,
)
from sensorium.ros.convert.pose import matrix_from_pose, pose_from_matrix


def message_from_frame(frame: RgbdFrame, depth_encoding: str = "32FC1") -> RgbdFrameMessage:
    """Return the message of a frame; an unknown camera is written uncalibrated (K[0] = 0).

    Args:
        frame: the frame.
        depth_encoding: "32FC1" (metres, as given) or "16UC1" (rounded millimetres).

    Raises:
        ConversionError: another depth encoding, or a stamp that ROS cannot hold.
    """
    stamp_ns, frame_id = frame.stamp_ns, frame.optical_frame
    message = RgbdFrameMessage(
        header=header(stamp_ns, frame_id),
        camera_name=frame.camera_name,
        has_color=frame.color is not None,
        has_depth=frame.depth_m is not None,
        has_pose=frame.world_from_camera is not None,
    )
    if frame.color is not None:
        message.color = image_from_color(frame.color, stamp_ns, frame_id)
        message.color_info = _info(frame.color_camera, frame)
    if frame.depth_m is not None:
        message.depth = image_from_depth(frame.depth_m, stamp_ns, frame_id, depth_encoding)
        message.depth_info = _info(frame.depth_camera, frame)
    if frame.world_from_camera is not None:
        message.world_frame = frame.world_frame
        message.world_from_camera = pose_from_matrix(frame.world_from_camera)
    return message


def frame_from_message(message: RgbdFrameMessage) -> RgbdFrame:
    """Return the frame of a message; what its flags call absent is None.

    A camera that is uncalibrated (K[0] == 0) is unknown: None.

    Raises:
        ConversionError: an image, a camera, the pose or the stamp cannot be converted, or they do
            not fit each other; the text names the part.
    """
    color = depth_m = color_camera = depth_camera = world_from_camera = None
    part = "header"
    try:
        stamp_ns = stamp_from_time(message.header.stamp)
        if message.has_color:
            part = "color"
            color = color_from_image(message.color)
            part = "color_info"
            color_camera = _camera(message.color_info)
        if message.has_depth:
            part = "depth"
            depth_m = depth_from_image(message.depth)
            part = "depth_info"
            depth_camera = _camera(message.depth_info)
        if message.has_pose:
            part = "world_from_camera"
            world_from_camera = matrix_from_pose(message.world_from_camera)
        part = "frame"
        return RgbdFrame(
            stamp_ns=stamp_ns,
            camera_name=message.camera_name,
            optical_frame=message.header.frame_id,
            color=color,
            color_camera=color_camera,
            depth_m=depth_m,
            depth_camera=depth_camera,
            world_frame=message.world_frame if message.has_pose else "",
            world_from_camera=world_from_camera,
        )
    except (ConversionError, FrameError, PoseError) as error:
        raise ConversionError(
            f"RgbdFrame of camera '{message.camera_name}', {part}: {error}"
        ) from error


def _camera(info: CameraInfo) -> CameraModel | None:
    return camera_from_info(info) if is_calibrated(info) else None


def _info(camera: CameraModel | None, frame: RgbdFrame) -> CameraInfo:
    if camera is None:
        return CameraInfo(header=header(frame.stamp_ns, frame.optical_frame))
    return info_from_camera(camera, frame.stamp_ns, frame.optical_frame)
