"""sensor_msgs/PointCloud2: written as RViz reads it, read in any layout."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

sensor_msgs = pytest.importorskip("sensor_msgs.msg")

from sensorium.ros.convert import ConversionError
from sensorium.ros.convert.header import stamp_from_time
from sensorium.ros.convert.pointcloud import (
    cloud_from_points,
    colors_from_cloud,
    field_from_cloud,
    points_from_cloud,
)

PointCloud2, PointField = sensor_msgs.PointCloud2, sensor_msgs.PointField
SHAPES = st.one_of(st.tuples(st.integers(0, 20)), st.tuples(st.integers(2, 7), st.integers(1, 9)))
FLOATS = st.floats(-100, 100, width=32) | st.just(np.nan)


@st.composite
def clouds(draw):
    shape = draw(SHAPES)
    channels = draw(st.integers(1, 20))
    return (
        draw(hnp.arrays(np.float32, (*shape, 3), elements=FLOATS)),
        draw(st.none() | hnp.arrays(np.uint8, (*shape, 3))),
        draw(st.none() | hnp.arrays(np.float32, shape, elements=FLOATS)),
        draw(st.none() | hnp.arrays(np.float32, (*shape, channels), elements=FLOATS)),
    )


@given(clouds(), st.integers(0, 2**60))
@settings(max_examples=100, deadline=None)
def test_clouds_make_the_round_trip(cloud, stamp_ns):
    points, colors, confidence, features = cloud
    message = cloud_from_points(
        points, stamp_ns, "wrist_optical", colors=colors, confidence=confidence, features=features
    )
    assert stamp_from_time(message.header.stamp) == stamp_ns
    assert message.header.frame_id == "wrist_optical"
    assert message.is_dense == bool(np.isfinite(points).all())
    assert len(message.data) == message.row_step * message.height
    np.testing.assert_array_equal(points_from_cloud(message), points)
    names = [field.name for field in message.fields]
    expected = ["x", "y", "z"]
    if colors is not None:
        expected.append("rgb")
        np.testing.assert_array_equal(colors_from_cloud(message), colors)
    if confidence is not None:
        expected.append("confidence")
        np.testing.assert_array_equal(field_from_cloud(message, "confidence"), confidence)
    if features is not None:
        expected.append("feature")
        read = field_from_cloud(message, "feature").reshape(features.shape)
        np.testing.assert_array_equal(read, features)
        assert message.fields[-1].count == features.shape[-1]
    assert names == expected


def test_an_organised_cloud_keeps_its_rows():
    message = cloud_from_points(np.zeros((4, 6, 3), np.float32), 0, "camera")
    assert (message.height, message.width) == (4, 6)
    assert (message.point_step, message.row_step) == (12, 72)
    assert [field.offset for field in message.fields] == [0, 4, 8]


def test_colour_is_packed_as_rviz_unpacks_it():
    message = cloud_from_points(
        np.zeros((1, 3)), 0, "camera", colors=np.array([[0x12, 0x34, 0x56]], np.uint8)
    )
    (rgb,) = (field for field in message.fields if field.name == "rgb")
    assert rgb.datatype == PointField.FLOAT32
    assert int(np.frombuffer(message.data, np.uint32)[3]) == 0x00123456


def foreign_cloud(order, row_padding=0):
    """A cloud of a driver: float64 position out of order, gaps, uint16 ring, packed rgba."""
    dtype = np.dtype(
        {
            "names": ["z", "ring", "x", "y", "rgba", "normal"],
            "formats": [f"{order}f8", f"{order}u2", f"{order}f4", f"{order}f8", f"{order}u4",
                        (f"{order}f4", 3)],
            "offsets": [0, 9, 12, 17, 28, 32],
            "itemsize": 47,
        }
    )  # fmt: skip
    rng = np.random.default_rng(2)
    records = np.zeros((3, 5), dtype)
    for name in ("x", "y", "z", "normal"):
        records[name] = rng.normal(size=records[name].shape)
    records["ring"] = np.arange(15).reshape(3, 5)
    records["rgba"] = 0xFF102030
    kinds = {"f8": PointField.FLOAT64, "f4": PointField.FLOAT32, "u2": PointField.UINT16,
             "u4": PointField.UINT32}  # fmt: skip
    message = PointCloud2(height=3, width=5, point_step=47, is_bigendian=order == ">")
    for name in dtype.names:
        base, offset = dtype.fields[name]
        count = base.shape[0] if base.shape else 1
        message.fields.append(
            PointField(name=name, offset=offset, datatype=kinds[base.base.str[1:]], count=count)
        )
    message.row_step = 5 * 47 + row_padding
    message.data.frombytes(b"".join(row.tobytes() + bytes(row_padding) for row in records))
    return message, records


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("row_padding", [0, 7])
def test_any_offsets_types_and_byte_orders_are_read(order, row_padding):
    message, records = foreign_cloud(order, row_padding)
    points = points_from_cloud(message)
    assert points.dtype == np.float64
    np.testing.assert_array_equal(
        points, np.stack([records[name] for name in "xyz"], axis=-1).astype(np.float64)
    )
    np.testing.assert_array_equal(field_from_cloud(message, "ring"), records["ring"])
    np.testing.assert_array_equal(field_from_cloud(message, "normal"), records["normal"])
    assert field_from_cloud(message, "normal").dtype.isnative
    assert (colors_from_cloud(message) == (0x10, 0x20, 0x30)).all()


def test_reading_points_that_follow_each_other_shares_the_memory_of_the_message():
    message = cloud_from_points(
        np.ones((4, 6, 3), np.float32), 0, "camera", confidence=np.ones((4, 6))
    )
    points = points_from_cloud(message)
    assert np.shares_memory(points, np.frombuffer(message.data, np.uint8))


def test_tensors_are_written_like_arrays():
    points = torch.randn(5, 3)
    features = torch.randn(5, 4)
    message = cloud_from_points(points, 0, "camera", features=features)
    np.testing.assert_array_equal(points_from_cloud(message), points.numpy())
    np.testing.assert_array_equal(field_from_cloud(message, "feature"), features.numpy())


def test_a_missing_field_is_refused_with_those_that_exist():
    message = cloud_from_points(np.zeros((2, 3)), 0, "camera")
    with pytest.raises(ConversionError, match="no field 'intensity'; it has x, y, z"):
        field_from_cloud(message, "intensity")


def test_a_truncated_cloud_is_refused_with_its_numbers():
    message = cloud_from_points(np.zeros((4, 6, 3), np.float32), 0, "camera")
    message.data = message.data[:-1]
    with pytest.raises(ConversionError, match="287 bytes but 4 rows of 72 bytes are 288"):
        points_from_cloud(message)


def test_a_field_beyond_the_point_is_refused():
    message = cloud_from_points(np.zeros((2, 3)), 0, "camera")
    message.fields[2].offset = 9
    with pytest.raises(ConversionError, match="'z' ends at byte 13 but point_step is 12"):
        points_from_cloud(message)


def test_rows_that_overlap_are_refused():
    message = cloud_from_points(np.zeros((4, 6, 3), np.float32), 0, "camera")
    message.row_step = 71
    with pytest.raises(ConversionError, match="row_step is 71"):
        points_from_cloud(message)


def test_an_unknown_field_type_is_refused():
    message = cloud_from_points(np.zeros((2, 3)), 0, "camera")
    message.fields[0].datatype = 77
    with pytest.raises(ConversionError, match="unknown datatype 77"):
        points_from_cloud(message)


def test_two_fields_of_one_name_are_refused():
    message = cloud_from_points(np.zeros((2, 3)), 0, "camera")
    message.fields[1].name = "x"
    with pytest.raises(ConversionError, match="make no layout"):
        points_from_cloud(message)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"points_m": np.zeros((4, 2))}, r"\(4, 2\)"),
        ({"points_m": np.zeros((4, 3), int)}, "floating point"),
        ({"colors": np.zeros((5, 3), np.uint8)}, "colors are uint8"),
        ({"colors": np.zeros((4, 3))}, "colors are float64"),
        ({"confidence": np.zeros((4, 1))}, "confidence is"),
        ({"features": np.zeros(4)}, "features are"),
        ({"features": np.zeros((4, 0))}, "features are"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arguments, text):
    with pytest.raises(ConversionError, match=text):
        cloud_from_points(**{"points_m": np.zeros((4, 3)), **arguments}, stamp_ns=0, frame_id="c")
