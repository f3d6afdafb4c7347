"""The RealSense source: depth registered to colour, stamps in host time, reconnects by itself.

Sensors are opened directly and paired by the library's syncer (not by its pipeline), so that the
library's software device runs through the same code as a camera.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.configuration import parameter
from sensorium.frames import CameraModel, FrameError, RgbdFrame
from sensorium.poses import Float64, PoseError
from sensorium.rectification import rectified_camera, rectified_color, rectified_depth
from sensorium.registration import register_depth_to_color
from sensorium.sources.realsense_library import camera_of, load_pyrealsense2, transform_of
from sensorium.sources.source import (
    ClosedOnExit,
    FrameNames,
    RejectedFrame,
    SourceError,
    SourceFrame,
)

FindDevice = Callable[[], Any]

_FIRST_RETRY_S = 0.5
_INVALID_DEPTH = (0, 65535)


@dataclass(frozen=True)
class RealsenseConfiguration:
    """Parameters of the RealSense source."""

    serial: str = parameter("", "serial number of the camera; empty takes the first one")
    color_width_px: int = parameter(640, "width of the colour stream [px]", minimum=1)
    color_height_px: int = parameter(480, "height of the colour stream [px]", minimum=1)
    depth_width_px: int = parameter(640, "width of the depth stream [px]", minimum=1)
    depth_height_px: int = parameter(480, "height of the depth stream [px]", minimum=1)
    rate_hz: int = parameter(30, "frames per second of both streams [Hz]", minimum=1, maximum=300)
    stall_s: float = parameter(
        2.0, "time without a frame after which the camera is opened anew [s]", minimum=0.1
    )
    longest_retry_s: float = parameter(
        10.0, "longest pause between attempts to reconnect [s]", minimum=0.1
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Session:
    """An opened device."""

    sensors: tuple[Any, ...]
    syncer: Any
    color_camera: CameraModel
    depth_camera: CameraModel
    color_from_depth: Float64


class RealsenseSource(ClosedOnExit):
    """Streams one RealSense camera; the colour camera's grid is that of the frames.

    Args:
        configuration: which camera and which streams.
        names: names written into the frames.
        find_device: returns the device or None; None searches the USB ports.

    Raises:
        SourceError: library, camera or stream is missing, or the lens model is unknown.
    """

    live = True
    finished = False

    def __init__(
        self,
        configuration: RealsenseConfiguration,
        names: FrameNames | None = None,
        find_device: FindDevice | None = None,
    ) -> None:
        self._rs = load_pyrealsense2()
        self.configuration = configuration
        self.names = names or FrameNames()
        self._find_device = find_device or self._usb_device()
        self.reconnections = 0
        self._status = ""
        self._retry_s = _FIRST_RETRY_S
        self._retry_at_s = 0.0
        self._hardware_offset_ns: int | None = None
        self._session: _Session | None = self._open()
        self._last_frame_s = time.monotonic()

    @property
    def status(self) -> str:
        """Why no frames come; "" when connected."""
        return self._status

    def read(self, timeout_s: float) -> SourceFrame | RejectedFrame | None:
        """Return the next frame, or None after `timeout_s`; reconnects when the camera was lost."""
        if self.finished:
            return None
        session = self._session
        if session is None:
            self._reconnect(timeout_s)
            return None
        try:
            arrived, frames = session.syncer.try_wait_for_frames(max(1, round(timeout_s * 1000)))
            if not arrived:
                self._check_stall()
                return None
            self._last_frame_s = time.monotonic()
            return self._frame(session, frames)
        except RuntimeError as error:
            self._disconnect(str(error))
            return None

    def close(self) -> None:
        """Stop the streams."""
        self.finished = True
        self._stop_sensors()

    def _usb_device(self) -> FindDevice:
        context = self._rs.context()
        serial = self.configuration.serial

        def find() -> Any:  # noqa: ANN401
            for device in context.query_devices():
                if serial in ("", device.get_info(self._rs.camera_info.serial_number)):
                    return device
            return None

        return find

    def _label(self) -> str:
        serial = self.configuration.serial
        return f"RealSense camera '{serial}'" if serial else "RealSense camera"

    def _open(self) -> _Session:
        device = self._find_device()
        if device is None:
            raise SourceError(
                f"{self._label()} is not connected; plug it into a USB 3 port, check the serial "
                "number and the udev rules (99-realsense-libusb.rules)"
            )
        rs, configuration = self._rs, self.configuration
        wanted = {
            "color": (rs.stream.color, rs.format.rgb8,
                      configuration.color_width_px, configuration.color_height_px),
            "depth": (rs.stream.depth, rs.format.z16,
                      configuration.depth_width_px, configuration.depth_height_px),
        }  # fmt: skip
        profiles: dict[str, Any] = {}
        by_sensor: list[tuple[Any, list[Any]]] = []
        for sensor in device.query_sensors():
            chosen = []
            for name, (stream, pixel_format, width, height) in wanted.items():
                profile = _matching(sensor, stream, pixel_format, (width, height),
                                    configuration.rate_hz)  # fmt: skip
                if profile is not None and name not in profiles:
                    profiles[name] = profile
                    chosen.append(profile)
            if chosen:
                by_sensor.append((sensor, chosen))
        for name, (_, _, width, height) in wanted.items():
            if name not in profiles:
                raise SourceError(
                    f"{self._label()} has no {name} stream of {width} x {height} px at "
                    f"{configuration.rate_hz} Hz; choose a mode that the camera offers "
                    "(rs-enumerate-devices) or plug it into USB 3"
                )
        color, depth = profiles["color"], profiles["depth"]
        color_camera = camera_of(color.as_video_stream_profile().get_intrinsics())
        depth_camera = camera_of(depth.as_video_stream_profile().get_intrinsics())
        color_from_depth = transform_of(depth.get_extrinsics_to(color))
        syncer = rs.syncer(2)
        for sensor, chosen in by_sensor:
            if sensor.supports(rs.option.global_time_enabled):
                sensor.set_option(rs.option.global_time_enabled, 1)
            sensor.open(chosen)
            sensor.start(syncer)
        sensors = tuple(sensor for sensor, _ in by_sensor)
        self._hardware_offset_ns = None
        return _Session(sensors, syncer, color_camera, depth_camera, color_from_depth)

    def _frame(self, session: _Session, frames: Any) -> SourceFrame | RejectedFrame:  # noqa: ANN401
        color_frame, depth_frame = frames.get_color_frame(), frames.get_depth_frame()
        present = color_frame or depth_frame
        stamp_ns = self._stamp_ns(present) if present else None
        name = f"frame {present.get_frame_number()}" if present else "frame"
        for missing, kind in ((not color_frame, "color"), (not depth_frame, "depth")):
            if missing:
                return RejectedFrame(
                    stamp_ns, name, f"{kind}_missing", f"{name} of {self._label()} has no {kind}"
                )
        # The library reuses its buffers: copy what is not copied by the steps below.
        color = np.array(color_frame.get_data(), dtype=np.uint8)
        raw = np.asanyarray(depth_frame.get_data())
        depth_m = raw.astype(np.float32) * np.float32(depth_frame.get_units())
        for invalid in _INVALID_DEPTH:
            depth_m[raw == invalid] = np.nan
        camera = rectified_camera(session.color_camera)
        try:
            frame = RgbdFrame(
                stamp_ns=self._stamp_ns(color_frame),
                camera_name=self.names.camera_name,
                optical_frame=self.names.color_optical_frame,
                color=rectified_color(color, session.color_camera),
                color_camera=camera,
                depth_m=register_depth_to_color(
                    rectified_depth(depth_m, session.depth_camera),
                    rectified_camera(session.depth_camera),
                    camera,
                    session.color_from_depth,
                ),
                depth_camera=camera,
            )
        except FrameError as error:
            return RejectedFrame(stamp_ns, name, "size_mismatch", str(error))
        return SourceFrame(frame)

    def _stamp_ns(self, frame: Any) -> int:  # noqa: ANN401
        """Return the time of a frame in host time [ns]."""
        stamp_ns = round(float(frame.get_timestamp()) * 1e6)
        if frame.get_frame_timestamp_domain() != self._rs.timestamp_domain.hardware_clock:
            return stamp_ns
        # A clock that starts with the camera: the first frame says what is now.
        if self._hardware_offset_ns is None:
            self._hardware_offset_ns = time.time_ns() - stamp_ns
        return stamp_ns + self._hardware_offset_ns

    def _check_stall(self) -> None:
        try:
            present = self._find_device() is not None
        except RuntimeError:
            present = False
        silent_s = time.monotonic() - self._last_frame_s
        if not present:
            self._disconnect("it was unplugged")
        elif silent_s > self.configuration.stall_s:
            self._disconnect(f"no frame for {silent_s:.1f} s")

    def _disconnect(self, reason: str) -> None:
        self._stop_sensors()
        self._status = f"{self._label()} is lost ({reason}); reconnecting"
        self._retry_s = _FIRST_RETRY_S
        self._retry_at_s = time.monotonic()

    def _reconnect(self, timeout_s: float) -> None:
        """Try to open the camera when it is time to, else wait at most `timeout_s`."""
        wait_s = self._retry_at_s - time.monotonic()
        if wait_s > 0:
            time.sleep(min(wait_s, timeout_s))
            return
        try:
            self._session = self._open()
        except (SourceError, FrameError, PoseError, RuntimeError) as error:
            self._status = f"reconnecting, next attempt in {self._retry_s:.1f} s: {error}"
            self._retry_at_s = time.monotonic() + self._retry_s
            self._retry_s = min(2 * self._retry_s, self.configuration.longest_retry_s)
            return
        self._status = ""
        self.reconnections += 1
        self._last_frame_s = time.monotonic()

    def _stop_sensors(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        for sensor in session.sensors:
            for step in (sensor.stop, sensor.close):
                try:
                    step()
                except RuntimeError:
                    # An unplugged device refuses to stop; there is nothing left to stop.
                    continue


def _matching(
    sensor: Any,  # noqa: ANN401
    stream: Any,  # noqa: ANN401
    pixel_format: Any,  # noqa: ANN401
    size_px: tuple[int, int],
    rate_hz: int,
) -> Any:  # noqa: ANN401
    """Return the sensor's profile of a stream, format, size and rate, or None."""
    for profile in sensor.get_stream_profiles():
        if profile.stream_type() != stream or profile.format() != pixel_format:
            continue
        video = profile.as_video_stream_profile()
        if (video.width(), video.height()) == size_px and profile.fps() == rate_hz:
            return profile
    return None
