"""Colour pictures into a node: of RGB-D frames, images or compressed images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image

from sensorium.frames import FrameError
from sensorium.ros.convert.compressed import color_from_compressed
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.header import stamp_from_time
from sensorium.ros.convert.image import color_from_image
from sensorium.ros.diagnostics import Status
from sensorium.ros.inputs import MonitoredSubscription
from sensorium.ros.rgbd_input import RgbdInput, as_frame
from sensorium.ros.stamps import StampGuard, StampVerdict

COLOR_INPUTS = ("rgbd_frame", "image", "compressed_image")


class PictureRefused(ValueError):  # noqa: N818 - an answer, not a fault
    """A message without a usable picture.

    Attributes:
        reason: short stable word for the count.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, eq=False)
class Picture:
    """One colour picture.

    Attributes:
        stamp_ns: of the message [ns].
        frame_id: of the message.
        color: (H, W, 3) uint8 RGB.
    """

    stamp_ns: int
    frame_id: str
    color: npt.NDArray[np.uint8]


class ColorInput(Protocol):
    """An open input of pictures."""

    topic: str

    @property
    def received(self) -> int:
        """Messages received."""

    @property
    def lost(self) -> int:
        """Messages that the transport lost."""

    def close(self) -> None:
        """Stop receiving."""

    def describe(self, status: Status, key: str) -> None:
        """Add counts and rate to a status."""

    def explain(self) -> str:
        """Say in one sentence what is known about this input."""


def open_color_input(
    node: Node, kind: str, topic: str, store: Callable[[Any], None], qos: QoSProfile
) -> ColorInput:
    """Subscribe to pictures.

    Args:
        node: the node.
        kind: one of COLOR_INPUTS.
        topic: topic name, relative or absolute.
        store: called with what was received; must only store. ``PictureReader`` reads it.
        qos: profile of the subscription.
    """
    if kind == "rgbd_frame":
        return RgbdInput(node, topic, lambda _topic, received: store(received), qos)
    message_type = Image if kind == "image" else CompressedImage
    return MonitoredSubscription(node, message_type, topic, store, qos)


class PictureReader:
    """Reads what an input received, in order of stamps.

    Attributes:
        clock_restarts: how often stamps went back by so much that the clock must have started anew.
    """

    def __init__(self) -> None:
        self._guard = StampGuard()
        self.clock_restarts = 0

    def read(self, received: Any) -> Picture:  # noqa: ANN401 - messages have no types for mypy
        """Return the picture of an RGB-D frame, an Image or a CompressedImage.

        Raises:
            PictureRefused: the message has no colour, another encoding, a broken layout, or a stamp
                that is not newer than the one before.
        """
        try:
            picture = _picture(received)
        except (ConversionError, FrameError) as error:
            raise PictureRefused("unusable", str(error)) from error
        verdict = self._guard.check(picture.stamp_ns)
        if verdict is StampVerdict.REJECT:
            raise PictureRefused(
                "stamp_not_newer",
                f"stamp {picture.stamp_ns} ns is not newer than the one before; the driver must "
                "stamp each picture",
            )
        self.clock_restarts += verdict is StampVerdict.RESTART
        return picture


def _picture(received: Any) -> Picture:  # noqa: ANN401
    if isinstance(received, Image | CompressedImage):
        read = color_from_image if isinstance(received, Image) else color_from_compressed
        stamp_ns = stamp_from_time(received.header.stamp)
        return Picture(stamp_ns, received.header.frame_id, read(received))
    frame = as_frame(received)
    if frame.color is None:
        raise PictureRefused(
            "no_color", f"the frame of camera '{frame.camera_name}' has no colour; switch it on"
        )
    return Picture(frame.stamp_ns, frame.optical_frame, frame.color)
