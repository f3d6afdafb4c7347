"""sensor_msgs/CompressedImage: colour and depth as image_transport_plugins write them."""

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

CompressedImage = pytest.importorskip("sensor_msgs.msg").CompressedImage

from sensorium.ros.convert import ConversionError
from sensorium.ros.convert.compressed import (
    color_from_compressed,
    compressed_from_color,
    compressed_from_depth,
    depth_from_compressed,
)
from sensorium.ros.convert.header import stamp_from_time

SIZES = st.tuples(st.integers(1, 12), st.integers(1, 12))


def message_of(text, data):
    message = CompressedImage(format=text)
    message.data.frombytes(data)
    return message


def png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


def smooth_color():
    y, x = np.mgrid[0:48, 0:64]
    return np.stack((4 * x, 5 * y, 255 - 4 * x), axis=-1).astype(np.uint8)


@given(hnp.arrays(np.uint8, SIZES.map(lambda s: (*s, 3))), st.integers(0, 2**60))
@settings(max_examples=25, deadline=None)
def test_png_colour_makes_the_round_trip(color, stamp_ns):
    message = compressed_from_color(color, stamp_ns, "wrist_optical", codec="png")
    np.testing.assert_array_equal(color_from_compressed(message), color)
    assert stamp_from_time(message.header.stamp) == stamp_ns
    assert message.header.frame_id == "wrist_optical"


def test_jpeg_colour_is_close_and_its_channels_keep_their_places():
    color = smooth_color()
    message = compressed_from_color(color, 0, "camera")
    assert message.format == "rgb8; jpeg compressed bgr8"
    error = color_from_compressed(message).astype(int) - color
    assert np.abs(error).mean() < 3


@pytest.mark.parametrize(
    "text",
    ["png", "rgb8; png compressed bgr8", "bgr8; png compressed bgr8", "bgr8; png compressed"],
)
def test_a_standard_file_is_read_as_rgb_whatever_the_camera_encoding(text):
    color = smooth_color()
    message = message_of(text, png(color[..., ::-1]))
    np.testing.assert_array_equal(color_from_compressed(message), color)


def test_a_file_that_was_compressed_as_rgb_has_its_channels_swapped_back():
    color = smooth_color()
    message = message_of("rgb8; png compressed rgb8", png(color))
    np.testing.assert_array_equal(color_from_compressed(message), color)


def test_grey_is_repeated_over_the_channels():
    grey = smooth_color()[..., 0]
    for text in ("png", "mono8; png compressed"):
        read = color_from_compressed(message_of(text, png(grey)))
        np.testing.assert_array_equal(read, np.repeat(grey[..., None], 3, axis=2))


@given(hnp.arrays(np.uint16, SIZES))
@settings(max_examples=25, deadline=None)
def test_millimetre_depth_makes_the_round_trip(depth_mm):
    depth_m = depth_mm.astype(np.float32) / np.float32(1000)
    depth_m[depth_mm == 0] = np.nan
    message = compressed_from_depth(depth_m, 0, "camera")
    assert message.format == "16UC1; compressedDepth png"
    np.testing.assert_array_equal(depth_from_compressed(message), depth_m)


@given(hnp.arrays(np.float32, SIZES, elements=st.floats(0.15625, 9.875, width=32)))
@settings(max_examples=25, deadline=None)
def test_metre_depth_makes_the_round_trip_within_its_quantisation(depth_m):
    message = compressed_from_depth(depth_m, 0, "camera", encoding="32FC1")
    assert message.format == "32FC1; compressedDepth png"
    read = depth_from_compressed(message)
    # One step of inverse depth at distance d is d^2 / A, with A = 100 * 101.
    assert (np.abs(read - depth_m) <= depth_m.astype(np.float64) ** 2 / 10100 * 1.02 + 1e-5).all()


def test_quantised_depth_follows_the_published_formula():
    values = np.array([[0, 1, 500, 65535]], dtype=np.uint16)
    message = message_of(
        "32FC1; compressedDepth png", struct.pack("<iff", 1, 10100.0, -1009.0) + png(values)
    )
    np.testing.assert_allclose(
        depth_from_compressed(message),
        [[np.nan, 10100 / 1010, 10100 / 1509, 10100 / 66544]],
        rtol=1e-6,
    )


def test_metre_depth_that_does_not_fit_is_invalid():
    depth_m = np.array([[np.nan, np.inf, -1, 0, 0.1, 10.0, 11.0, 0.2]], dtype=np.float32)
    read = depth_from_compressed(compressed_from_depth(depth_m, 0, "camera", encoding="32FC1"))
    assert np.isfinite(read).tolist() == [[False] * 7 + [True]]


@pytest.mark.parametrize("text", ["16UC1; compressedDepth", "16UC1; compressedDepth png"])
def test_older_and_newer_format_texts_are_read_and_the_header_is_skipped(text):
    values = np.array([[0, 1234]], dtype=np.uint16)
    message = message_of(text, b"\xff" * 12 + png(values))
    np.testing.assert_array_equal(
        depth_from_compressed(message), np.array([[np.nan, 1.234]], np.float32)
    )


def test_plain_png_of_millimetres_is_depth():
    message = message_of("16UC1; png compressed ", png(np.array([[2000]], np.uint16)))
    assert depth_from_compressed(message).tolist() == [[2.0]]


def test_rvl_is_refused_by_name():
    message = message_of("16UC1; compressedDepth rvl", bytes(100))
    with pytest.raises(ConversionError, match="RVL"):
        depth_from_compressed(message)


@pytest.mark.parametrize(
    "text", ["webp", "16UC1; compressedDepth png", "", "rgb16; png compressed", "h264"]
)
def test_other_colour_formats_are_refused_by_name(text):
    with pytest.raises(ConversionError, match=f"'{text}'"):
        color_from_compressed(message_of(text, bytes(100)))


@pytest.mark.parametrize("text", ["jpeg", "rgb8; jpeg compressed bgr8", "32FC1; png compressed"])
def test_other_depth_formats_are_refused_by_name(text):
    with pytest.raises(ConversionError, match=f"'{text}'"):
        depth_from_compressed(message_of(text, bytes(100)))


@pytest.mark.parametrize("codec", ["jpeg", "png"])
@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_truncated_file_is_refused(codec, keep):
    message = compressed_from_color(smooth_color(), 0, "camera", codec=codec)
    size = int(keep * len(message.data)) if keep < 1 else keep
    message.data = message.data[:size]
    with pytest.raises(ConversionError, match=f"{size} bytes"):
        color_from_compressed(message)


def test_jpeg_padded_with_zeros_is_read():
    message = compressed_from_color(smooth_color(), 0, "camera")
    plain = color_from_compressed(message)
    message.data.frombytes(bytes(100_000))
    np.testing.assert_array_equal(color_from_compressed(message), plain)


def test_a_broken_file_with_a_valid_end_is_refused():
    message = message_of("png", b"no png at all" + b"IEND\xaeB`\x82")
    with pytest.raises(ConversionError, match="cannot be decoded"):
        color_from_compressed(message)


def test_depth_without_its_header_is_refused():
    with pytest.raises(ConversionError, match="12 bytes"):
        depth_from_compressed(message_of("32FC1; compressedDepth png", bytes(12)))


def test_an_8_bit_picture_is_no_depth():
    message = message_of("16UC1; png compressed", png(np.zeros((2, 2), np.uint8)))
    with pytest.raises(ConversionError, match="16-bit"):
        depth_from_compressed(message)
