"""A cloud and the segmentation of the same picture to one view, and back to a labelled cloud."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image, PointCloud2, PointField
from sensorium_ros.msg import Segments

from sensorium.objects.labelled_view import (
    LabelledView,
    SeenSegment,
    on_grid,
    segment_indices,
)
from sensorium.ros.convert.buffers import append_bytes
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.header import stamp_from_time
from sensorium.ros.convert.image import labels_from_image
from sensorium.ros.convert.pointcloud import points_from_cloud, records_from_cloud

_FIELDS = {"x": "<f4", "y": "<f4", "z": "<f4", "label": "<u4", "instance": "<u4", "score": "<f4"}
_DATATYPES = {"<f4": PointField.FLOAT32, "<u4": PointField.UINT32}


def view_from_messages(
    cloud: PointCloud2, panoptic: Image, confidence: Image, segments: Segments
) -> LabelledView:
    """Return the points of a picture with their segments, on the grid of the cloud.

    Images of another size show the same field of view; each point takes the nearest pixel.

    Args:
        cloud: organised, in the optical frame [m].
        panoptic: 32SC1, class << 16 | instance, 0 where unlabelled.
        confidence: mono8, 0 to 255.
        segments: what the panoptic values mean.

    Raises:
        ConversionError: the cloud is not organised, frames differ, or a layout is broken.
    """
    if cloud.height < 2:
        raise ConversionError(
            f"the cloud has {cloud.height} x {cloud.width} points; it must be organised as the "
            "picture is (height > 1)"
        )
    for message, name in ((panoptic, "panoptic"), (confidence, "confidence")):
        if (message.height, message.width) != (segments.height, segments.width):
            raise ConversionError(
                f"~/{name} is {message.width} x {message.height} px but the segments are of a "
                f"picture of {segments.width} x {segments.height} px"
            )
    points = np.asarray(points_from_cloud(cloud), np.float32)
    found = tuple(
        SeenSegment(
            panoptic_id=segment.panoptic_id,
            class_id=segment.class_id,
            name=segment.name,
            is_thing=segment.is_thing,
            score=segment.score,
            embedding=np.array(segment.embedding, np.float32) if segment.embedding else None,
        )
        for segment in segments.segments
    )
    labels = on_grid(labels_from_image(panoptic), cloud.height, cloud.width)
    scores = on_grid(labels_from_image(confidence), cloud.height, cloud.width)
    return LabelledView(
        stamp_ns=stamp_from_time(cloud.header.stamp),
        points_m=points,
        segment=segment_indices(labels.astype(np.int32), found),
        confidence=scores.astype(np.float32) / np.float32(255),
        segments=found,
        class_names=tuple(segments.class_names),
        vocabulary_version=segments.vocabulary_version,
    )


def cloud_from_view(view: LabelledView, original: PointCloud2) -> PointCloud2:
    """Return the organised cloud with fields x, y, z, rgb (as given), label, instance, score.

    Label (class) and instance are uint32; where unlabelled they are 65535 and 0. Score is 0 to 1.

    Args:
        view: made of `original`.
        original: the cloud whose colours, header and shape are taken.
    """
    formats = dict(_FIELDS)
    records = records_from_cloud(original)
    colors: Any = None
    if "rgb" in (records.dtype.names or ()) and records["rgb"].dtype.itemsize == 4:
        # Packed colours are bits: they are copied, never converted.
        colors = records["rgb"]
        names = ["x", "y", "z", "rgb", "label", "instance", "score"]
        formats = {name: formats.get(name, "<f4") for name in names}
    height, width = view.segment.shape
    table: NDArray[Any] = np.zeros((height, width), np.dtype(list(formats.items())))
    for axis, name in enumerate("xyz"):
        table[name] = view.points_m[..., axis]
    if colors is not None:
        bits = np.ascontiguousarray(colors).view(">u4" if original.is_bigendian else "<u4")
        table["rgb"].view("<u4")[...] = bits
    table["label"], table["instance"] = view.labels, view.instances
    table["score"] = view.confidence
    message = PointCloud2(
        header=original.header,
        height=height,
        width=width,
        fields=[
            PointField(name=name, offset=4 * i, datatype=_DATATYPES[form], count=1)
            for i, (name, form) in enumerate(formats.items())
        ],
        is_bigendian=False,
        point_step=table.itemsize,
        row_step=table.itemsize * width,
        is_dense=original.is_dense,
    )
    append_bytes(message.data, table)
    return message
