"""The RealSense source on the library's own software device: frames, refusals, reconnection."""

import importlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from sensorium.rectification import _key, _maps
from sensorium.sources import RealsenseConfiguration, RejectedFrame, SourceError, SourceFrame
from sensorium.sources import realsense_library as library
from sensorium.sources.realsense import RealsenseSource

W, H = 64, 48
BASELINE_M = 0.03
CONFIGURATION = RealsenseConfiguration(
    color_width_px=W, color_height_px=H, depth_width_px=W, depth_height_px=H, stall_s=0.4
)


@pytest.fixture(scope="module")
def rs():
    try:
        return library.load_pyrealsense2()
    except SourceError as error:
        pytest.skip(str(error))


class SoftwareCamera:
    """A wall at 1.5 m seen by a depth and a colour camera side by side."""

    def __init__(self, rs, *, coefficients=(0.0,) * 5):
        self.rs = rs
        self.device = rs.software_device()
        self.device.register_info(rs.camera_info.serial_number, "software")
        self.sensors = {name: self.device.add_sensor(name) for name in ("Depth", "Color")}
        self.profiles = {
            "Depth": self._stream("Depth", rs.stream.depth, rs.format.z16, 2, 50.0, (0.0,) * 5),
            "Color": self._stream("Color", rs.stream.color, rs.format.rgb8, 3, 45.0, coefficients),
        }
        self.sensors["Depth"].add_read_only_option(rs.option.depth_units, 0.001)
        extrinsics = rs.extrinsics()
        extrinsics.rotation = [1, 0, 0, 0, 1, 0, 0, 0, 1]
        extrinsics.translation = [-BASELINE_M, 0, 0]
        self.profiles["Depth"].register_extrinsics_to(self.profiles["Color"], extrinsics)
        self.device.create_matcher(rs.matchers.default)
        self.plugged = True
        self.domain = rs.timestamp_domain.global_time
        self.streams = ("Depth", "Color")
        self._number = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    def _stream(self, sensor, kind, pixel_format, size, focal, coefficients):
        stream = self.rs.video_stream()
        stream.type, stream.index, stream.uid = kind, 0, size
        stream.width, stream.height, stream.fps, stream.bpp = W, H, 30, size
        stream.fmt = pixel_format
        intrinsics = self.rs.intrinsics()
        intrinsics.width, intrinsics.height = W, H
        intrinsics.fx = intrinsics.fy = focal
        intrinsics.ppx, intrinsics.ppy = 31.5, 23.5
        intrinsics.model = self.rs.distortion.inverse_brown_conrady
        intrinsics.coeffs = list(coefficients)
        stream.intrinsics = intrinsics
        return self.sensors[sensor].add_video_stream(stream).as_video_stream_profile()

    def find(self):
        return self.device if self.plugged else None

    def _feed(self):
        depth = np.full((H, W), 1500, np.uint16)
        depth[:, 40:44] = 0
        color = np.full((H, W, 3), (10, 150, 240), np.uint8)
        while not self._stop.wait(1 / 60):
            if not self.plugged:
                continue
            self._number += 1
            stamp = time.time() * 1e3
            if self.domain == self.rs.timestamp_domain.hardware_clock:
                stamp = self._number * 20.0
            for name, pixels in (("Depth", depth), ("Color", color)):
                if name not in self.streams:
                    continue
                frame = self.rs.software_video_frame()
                frame.pixels = pixels
                frame.bpp = 2 if name == "Depth" else 3
                frame.stride = W * frame.bpp
                frame.timestamp, frame.domain = stamp, self.domain
                frame.frame_number = self._number
                frame.profile = self.profiles[name]
                if name == "Depth":
                    frame.depth_units = 0.001
                self.sensors[name].on_video_frame(frame)

    def stop(self):
        self._stop.set()
        self._thread.join()


@pytest.fixture
def camera(rs):
    camera = SoftwareCamera(rs)
    yield camera
    camera.stop()


def next_frame(source, within_s=5.0):
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        result = source.read(0.1)
        if isinstance(result, SourceFrame):
            return result
    pytest.fail(f"no frame within {within_s} s; status: {source.status!r}")


def test_depth_is_registered_to_colour_and_stamped_with_host_time(camera):
    with RealsenseSource(CONFIGURATION, find_device=camera.find) as source:
        assert source.live and not source.finished and source.status == ""
        frame = next_frame(source).frame
        assert abs(frame.stamp_ns - time.time_ns()) < 2e9
        assert frame.color[0, 0].tolist() == [10, 150, 240]
        assert frame.depth_camera.K[0, 0] == 45.0
        assert np.nanmax(np.abs(frame.depth_m - 1.5)) < 1e-6
        # By hand: u_color = (u_depth - 31.5) * 45/50 + 31.5 - 45 * 0.03 / 1.5.
        hole = [(u - 31.5) * 0.9 + 31.5 - 0.9 for u in (40, 43)]
        middle = round(sum(hole) / 2)
        assert np.isnan(frame.depth_m[24, middle])
        assert np.isfinite(frame.depth_m[24, middle - 4]) and np.isfinite(
            frame.depth_m[24, middle + 5]
        )
        second = next_frame(source).frame
        assert second.stamp_ns > frame.stamp_ns
    assert source.finished and source.read(0.1) is None


def test_a_clock_that_starts_with_the_camera_is_moved_to_host_time(rs, camera):
    camera.domain = rs.timestamp_domain.hardware_clock
    with RealsenseSource(CONFIGURATION, find_device=camera.find) as source:
        first, second = (next_frame(source).frame.stamp_ns for _ in range(2))
        assert abs(first - time.time_ns()) < 2e9
        assert (second - first) % 20_000_000 == 0 and second > first


def test_an_unplugged_camera_is_reported_and_comes_back(camera):
    with RealsenseSource(CONFIGURATION, find_device=camera.find) as source:
        next_frame(source)
        camera.plugged = False
        end = time.monotonic() + 5
        while not source.status and time.monotonic() < end:
            source.read(0.05)
        assert "unplugged" in source.status or "no frame" in source.status
        for _ in range(8):
            assert source.read(0.1) is None
        assert "next attempt in" in source.status and "not connected" in source.status
        camera.plugged = True
        next_frame(source)
        assert source.status == "" and source.reconnections == 1


def test_half_a_pair_is_rejected_by_reason(camera):
    camera.streams = ("Depth",)
    with RealsenseSource(CONFIGURATION, find_device=camera.find) as source:
        results = [source.read(0.2) for _ in range(10)]
    rejected = [one for one in results if isinstance(one, RejectedFrame)]
    assert rejected and {one.reason for one in rejected} == {"color_missing"}


def test_a_missing_camera_and_a_missing_mode_are_refused_with_the_remedy(rs, camera):
    with pytest.raises(SourceError, match="'none-such' is not connected; plug it"):
        RealsenseSource(RealsenseConfiguration(serial="none-such"))
    with pytest.raises(SourceError, match="no color stream of 1280 x 48 px at 30 Hz"):
        RealsenseSource(
            RealsenseConfiguration(color_width_px=1280, color_height_px=48,
                                   depth_width_px=W, depth_height_px=H),
            find_device=camera.find,
        )  # fmt: skip


@pytest.mark.parametrize("model", ["brown_conrady", "inverse_brown_conrady"])
def test_the_lens_model_projects_as_the_librarys_own_function(rs, model):
    intrinsics = rs.intrinsics()
    intrinsics.width, intrinsics.height = 640, 480
    intrinsics.fx, intrinsics.fy, intrinsics.ppx, intrinsics.ppy = 610.0, 609.0, 321.0, 243.0
    intrinsics.model = getattr(rs.distortion, model)
    intrinsics.coeffs = [-0.056, 0.066, -0.0006, 0.0007, -0.021]
    camera = library.camera_of(intrinsics)
    source = _maps(_key(camera))[2]
    for row, column in ((20, 30), (240, 320), (100, 600), (470, 10)):
        point = [(column - 321.0) / 610.0, (row - 243.0) / 609.0, 1.0]
        expected = rs.rs2_project_point_to_pixel(intrinsics, point)
        assert np.abs(source[row, column] - expected).max() < 0.1


def test_an_unknown_lens_model_is_refused_by_name(rs):
    intrinsics = rs.intrinsics()
    intrinsics.width, intrinsics.height, intrinsics.fx, intrinsics.fy = 64, 48, 50.0, 50.0
    intrinsics.model = rs.distortion.ftheta
    intrinsics.coeffs = [0.1, 0.0, 0.0, 0.0, 0.0]
    with pytest.raises(SourceError, match="'ftheta', which is not known"):
        library.camera_of(intrinsics)


def test_a_missing_library_is_refused_with_the_command_to_install_it(monkeypatch):
    real = importlib.import_module

    def without(name, *rest):
        if name in ("pyrealsense2", "libusb_package"):
            raise ImportError(f"No module named '{name}'")
        return real(name, *rest)

    monkeypatch.setattr(library.importlib, "import_module", without)
    library.load_pyrealsense2.cache_clear()
    try:
        with pytest.raises(SourceError, match=r"pip install (libusb-package|pyrealsense2)"):
            RealsenseSource(CONFIGURATION)
        monkeypatch.setattr(library.ctypes.util, "find_library", lambda name: "libusb-1.0.so.0")
        with pytest.raises(SourceError, match="pip install pyrealsense2"):
            RealsenseSource(CONFIGURATION)
    finally:
        library.load_pyrealsense2.cache_clear()


def test_importing_the_sources_loads_no_camera_library():
    code = (
        "import sys, sensorium.sources;"
        "print([m for m in ('pyrealsense2', 'mujoco', 'rclpy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
