"""sensor_msgs/CameraInfo: intrinsics of the image as published, or a refusal that says why."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

CameraInfo = pytest.importorskip("sensor_msgs.msg").CameraInfo

from sensorium.frames import CameraModel, pinhole
from sensorium.ros.convert import ConversionError
from sensorium.ros.convert.camera_info import (
    camera_from_info,
    info_from_camera,
    rectified_camera_from_info,
)
from sensorium.ros.convert.header import stamp_from_time

FOCAL = st.floats(1, 5000)
MODELS = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}


def info(**changes):
    message = info_from_camera(pinhole(640, 480, (525.0, 520.0), (319.0, 241.0)), 0, "camera")
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@given(
    st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    st.tuples(FOCAL, FOCAL),
    st.sampled_from(sorted(MODELS)),
    st.lists(st.floats(-1, 1), min_size=8, max_size=8).filter(all),
    st.integers(0, 2**60),
)
@settings(max_examples=50, deadline=None)
def test_a_camera_makes_the_round_trip(size, focal_px, model, coefficients, stamp_ns):
    (width, height), (fx, fy) = size, focal_px
    K = np.array(((fx, 0, width / 3), (0, fy, height / 3), (0, 0, 1)))
    distortion = tuple(coefficients[: MODELS[model]])
    camera = CameraModel(width, height, K, model, distortion)
    message = info_from_camera(camera, stamp_ns, "wrist_optical")
    assert stamp_from_time(message.header.stamp) == stamp_ns
    assert message.header.frame_id == "wrist_optical"
    read = camera_from_info(message)
    np.testing.assert_array_equal(read.K, K)
    assert (read.width_px, read.height_px) == (width, height)
    assert (read.distortion_model, read.distortion) == (model, distortion)


def test_a_rectified_camera_makes_the_round_trip_and_has_a_projection():
    camera = pinhole(640, 480, (525.0, 520.0), (319.0, 241.0))
    message = info_from_camera(camera, 0, "camera")
    assert message.distortion_model == "plumb_bob"
    assert list(message.d) == [0.0] * 5
    np.testing.assert_array_equal(message.p.reshape(3, 4), np.c_[camera.K, np.zeros(3)])
    np.testing.assert_array_equal(message.r.reshape(3, 3), np.eye(3))
    assert camera_from_info(message).same_geometry(camera)


def test_an_uncalibrated_camera_is_refused():
    with pytest.raises(ConversionError, match=r"K\[0\] is 0"):
        camera_from_info(CameraInfo(width=640, height=480))


def test_a_camera_without_a_size_is_refused():
    with pytest.raises(ConversionError, match="0 x 480 px"):
        camera_from_info(info(width=0))


def test_an_unknown_distortion_model_is_refused_by_name():
    with pytest.raises(ConversionError, match="'fisheye_kb8' is unknown; allowed: plumb_bob"):
        camera_from_info(info(distortion_model="fisheye_kb8"))


@pytest.mark.parametrize(
    ("model", "count"), [("plumb_bob", 8), ("rational_polynomial", 5), ("equidistant", 5), ("", 5)]
)
def test_coefficients_that_do_not_fit_their_model_are_refused(model, count):
    with pytest.raises(ConversionError, match=f"'{model}' comes with {count} coefficients"):
        camera_from_info(info(distortion_model=model, d=[0.1] * count))


def test_coefficients_that_are_not_finite_are_refused():
    with pytest.raises(ConversionError, match="non-finite"):
        camera_from_info(info(d=[float("nan")] * 5))


@pytest.mark.parametrize("d", [[], [0.0] * 5])
def test_distortion_without_effect_counts_as_rectified(d):
    camera = camera_from_info(info(d=d))
    assert camera.is_rectified
    assert camera.distortion_model == ""


def test_a_region_of_interest_moves_the_centre():
    message = info()
    message.roi.x_offset, message.roi.y_offset = 100, 50
    message.roi.width, message.roi.height = 320, 240
    camera = camera_from_info(message)
    assert (camera.width_px, camera.height_px) == (320, 240)
    np.testing.assert_allclose(camera.K[:2, 2], (219, 191))
    np.testing.assert_allclose(np.diag(camera.K), (525, 520, 1))


def test_a_region_of_interest_outside_the_sensor_is_refused():
    message = info()
    message.roi.x_offset, message.roi.width = 400, 320
    with pytest.raises(ConversionError, match=r"320 x 480 px at \(400, 0\)"):
        camera_from_info(message)


def test_binning_maps_the_same_rays_to_the_averaged_pixels():
    message = info(binning_x=2, binning_y=4)
    message.roi.x_offset, message.roi.width = 10, 600
    camera = camera_from_info(message)
    assert (camera.width_px, camera.height_px) == (300, 120)
    ray = np.array((0.2, -0.1, 1.0))
    full = np.array(((525, 0, 319), (0, 520, 241), (0, 0, 1.0))) @ ray
    binned = camera.K @ ray
    # Binned pixel u averages full pixels 2u + 10 and 2u + 11, rows 4v to 4v + 3.
    np.testing.assert_allclose(binned[0] * 2 + 10.5, full[0])
    np.testing.assert_allclose(binned[1] * 4 + 1.5, full[1])


def test_binning_that_leaves_no_pixel_is_refused():
    with pytest.raises(ConversionError, match="binning is 1000 x 1"):
        camera_from_info(info(binning_x=1000))


def test_the_rectified_image_has_the_camera_of_the_projection():
    message = info(distortion_model="plumb_bob", d=[0.1, 0.0, 0.0, 0.0, 0.0])
    message.p[:] = (400, 0, 300, -40, 0, 410, 200, 0, 0, 0, 1, 0)
    camera = rectified_camera_from_info(message)
    assert camera.is_rectified
    np.testing.assert_array_equal(camera.K, ((400, 0, 300), (0, 410, 200), (0, 0, 1)))


def test_a_calibration_without_projection_has_no_rectified_camera():
    message = info()
    message.p[:] = 0
    with pytest.raises(ConversionError, match=r"P\[0\] is 0"):
        rectified_camera_from_info(message)


def test_numbers_that_make_no_camera_are_refused():
    message = info()
    message.k[4] = -1
    with pytest.raises(ConversionError, match="focal lengths"):
        camera_from_info(message)
