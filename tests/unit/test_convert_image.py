"""sensor_msgs/Image: every accepted layout is read, every other one is refused with its numbers."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

Image = pytest.importorskip("sensor_msgs.msg").Image

from sensorium.ros.convert import ConversionError
from sensorium.ros.convert.header import stamp_from_time
from sensorium.ros.convert.image import (
    color_from_image,
    depth_from_image,
    image_from_color,
    image_from_depth,
    image_from_labels,
    labels_from_image,
)

SIZES = st.tuples(st.integers(1, 17), st.integers(1, 37))
STAMPS = st.integers(0, 2**31 * 10**9 - 1)


def message_of(array, encoding, padding=0, big_endian=False):
    """An Image built byte by byte, independently of the converters."""
    height, width = array.shape[:2]
    stored = array.astype(array.dtype.newbyteorder(">" if big_endian else "<"))
    rows = [stored[row].tobytes() + b"\xa5" * padding for row in range(height)]
    message = Image(height=height, width=width, encoding=encoding, is_bigendian=int(big_endian))
    message.step = len(rows[0])
    message.data.frombytes(b"".join(rows))
    return message


@given(hnp.arrays(np.uint8, SIZES.map(lambda s: (*s, 3))), STAMPS)
@settings(max_examples=50, deadline=None)
def test_colour_makes_the_round_trip(color, stamp_ns):
    message = image_from_color(color, stamp_ns, "wrist_optical")
    assert message.encoding == "rgb8"
    assert (message.height, message.width) == color.shape[:2]
    assert message.step == 3 * color.shape[1]
    assert message.data.tobytes() == color.tobytes()
    assert message.header.frame_id == "wrist_optical"
    assert stamp_from_time(message.header.stamp) == stamp_ns
    np.testing.assert_array_equal(color_from_image(message), color)


@given(
    hnp.arrays(np.float32, SIZES, elements=st.floats(2**-10, 60, width=32) | st.just(np.nan)),
    st.integers(0, 5),
    st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_depth_in_metres_is_read_from_any_layout(depth_m, padding, big_endian):
    message = message_of(depth_m, "32FC1", padding, big_endian)
    read = depth_from_image(message)
    assert read.dtype == np.float32
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, depth_m)


@given(hnp.arrays(np.uint16, SIZES), st.integers(0, 5), st.booleans())
@settings(max_examples=50, deadline=None)
def test_depth_in_millimetres_is_read_from_any_layout(depth_mm, padding, big_endian):
    read = depth_from_image(message_of(depth_mm, "16UC1", padding, big_endian))
    expected = (depth_mm.astype(np.float64) / 1000).astype(np.float32)
    expected[depth_mm == 0] = np.nan
    np.testing.assert_array_equal(read, expected)


def test_every_millimetre_value_makes_the_round_trip():
    depth_mm = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    depth_m = depth_from_image(message_of(depth_mm, "16UC1"))
    written = image_from_depth(depth_m, 0, "camera", encoding="16UC1")
    assert written.data.tobytes() == depth_mm.tobytes()


def test_what_is_no_distance_becomes_zero_millimetres():
    depth_m = np.array(
        [[np.nan, np.inf, -np.inf, -1.0, 0.0, -0.0, 65.5356, 1e30, 0.0004, 65.535, 1.2344, 1.2346]],
        dtype=np.float32,
    )
    message = image_from_depth(depth_m, 0, "camera", encoding="16UC1")
    values = np.frombuffer(message.data, np.uint16).tolist()
    assert values == [0] * 9 + [65535, 1234, 1235]


def test_what_is_no_distance_becomes_nan_metres_and_the_message_keeps_its_bytes():
    depth_m = np.array([[np.nan, np.inf, -np.inf, -1.0, 0.0, 2.5]], dtype=np.float32)
    message = message_of(depth_m, "32FC1")
    before = message.data.tobytes()
    read = depth_from_image(message)
    assert np.isnan(read[0, :5]).all()
    assert read[0, 5] == np.float32(2.5)
    assert message.data.tobytes() == before


def test_depth_without_any_valid_pixel_is_all_nan():
    for values in (np.full((3, 4), np.nan, np.float32), np.zeros((3, 4), np.float32)):
        assert np.isnan(depth_from_image(message_of(values, "32FC1"))).all()


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [("rgb8", (0, 1, 2)), ("bgr8", (2, 1, 0)), ("rgba8", (0, 1, 2, 3)), ("bgra8", (2, 1, 0, 3))],
)
def test_colour_encodings_are_read_as_rgb(encoding, order, padding):
    rng = np.random.default_rng(1)
    rgba = rng.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    read = color_from_image(message_of(np.ascontiguousarray(rgba[..., order]), encoding, padding))
    np.testing.assert_array_equal(read, rgba[..., :3])
    assert read.flags.c_contiguous


def test_grey_is_read_as_rgb():
    grey = np.arange(35, dtype=np.uint8).reshape(5, 7)
    np.testing.assert_array_equal(
        color_from_image(message_of(grey, "mono8", 2)), np.repeat(grey[..., None], 3, axis=2)
    )


def test_reading_rgb8_and_metres_shares_the_memory_of_the_message():
    color = image_from_color(np.zeros((4, 5, 3), np.uint8), 0, "camera")
    depth = image_from_depth(np.ones((4, 5), np.float32), 0, "camera")
    assert np.shares_memory(color_from_image(color), np.frombuffer(color.data, np.uint8))
    assert np.shares_memory(depth_from_image(depth), np.frombuffer(depth.data, np.uint8))


@given(
    st.sampled_from([np.uint8, np.uint16, np.int32]).flatmap(lambda d: hnp.arrays(d, SIZES)),
    st.booleans(),
    st.integers(0, 5),
)
@settings(max_examples=50, deadline=None)
def test_labels_make_the_round_trip(labels, big_endian, padding):
    message = image_from_labels(labels, 7, "camera")
    encoding = {1: "mono8", 2: "mono16", 4: "32SC1"}[labels.itemsize]
    assert message.encoding == encoding
    assert message.is_bigendian == (sys.byteorder == "big")
    for stored in (message, message_of(labels, encoding, padding, big_endian)):
        read = labels_from_image(stored)
        assert read.dtype == labels.dtype
        np.testing.assert_array_equal(read, labels)


def test_tensors_are_written_like_arrays():
    color = torch.arange(60, dtype=torch.uint8).reshape(4, 5, 3)
    depth = torch.linspace(0.5, 4, 20, requires_grad=True).reshape(4, 5)
    assert image_from_color(color, 0, "c").data.tobytes() == color.numpy().tobytes()
    assert image_from_depth(depth, 0, "c").data.tobytes() == depth.detach().numpy().tobytes()
    half = depth.detach().to(torch.bfloat16)
    np.testing.assert_array_equal(
        depth_from_image(image_from_depth(half, 0, "c")), half.float().numpy()
    )


def test_views_that_are_not_contiguous_are_written_in_their_order():
    color = np.arange(120, dtype=np.uint8).reshape(4, 10, 3)[::-1, ::2, ::-1]
    np.testing.assert_array_equal(color_from_image(image_from_color(color, 0, "c")), color)


@pytest.mark.parametrize("read", [color_from_image, depth_from_image, labels_from_image])
@pytest.mark.parametrize("encoding", ["yuv422_yuy2", "bayer_rggb8", "64FC1", ""])
def test_other_encodings_are_refused_by_name(read, encoding):
    message = message_of(np.zeros((2, 3), np.uint8), encoding)
    with pytest.raises(ConversionError, match=rf"'{encoding}'.*allowed: "):
        read(message)


def test_colour_is_no_depth_and_depth_is_no_colour():
    with pytest.raises(ConversionError, match="'rgb8' is no depth image"):
        depth_from_image(image_from_color(np.zeros((2, 2, 3), np.uint8), 0, "c"))
    with pytest.raises(ConversionError, match="'32FC1' is no colour image"):
        color_from_image(image_from_depth(np.ones((2, 2), np.float32), 0, "c"))


def test_truncated_data_is_refused_with_its_numbers():
    message = message_of(np.zeros((4, 5, 3), np.uint8), "rgb8")
    message.data = message.data[:-1]
    with pytest.raises(ConversionError, match=r"59 bytes but step \* height is 15 \* 4 = 60"):
        color_from_image(message)


def test_a_step_below_a_row_is_refused_with_its_numbers():
    message = message_of(np.zeros((4, 5), np.uint16), "16UC1")
    message.step = 9
    with pytest.raises(ConversionError, match="step is 9 bytes but a row of 5 px 16UC1 has 10"):
        depth_from_image(message)


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ConversionError, match="0 x 0 px"):
        color_from_image(Image(encoding="rgb8"))


@pytest.mark.parametrize(
    ("write", "array", "text"),
    [
        (image_from_color, np.zeros((4, 5, 3), np.float32), "float32"),
        (image_from_color, np.zeros((3, 4, 5), np.uint8), "channels last"),
        (image_from_depth, np.zeros((4, 5), np.uint16), "uint16"),
        (image_from_depth, np.zeros((4, 5, 1), np.float32), r"\(4, 5, 1\)"),
        (image_from_labels, np.zeros((4, 5), np.int64), "int64"),
    ],
)
def test_arrays_of_the_wrong_kind_are_refused(write, array, text):
    with pytest.raises(ConversionError, match=text):
        write(array, 0, "camera")


def test_an_unknown_depth_encoding_is_refused_when_writing():
    with pytest.raises(ConversionError, match="'mono16' is unknown; allowed: 32FC1, 16UC1"):
        image_from_depth(np.ones((2, 2), np.float32), 0, "camera", encoding="mono16")
