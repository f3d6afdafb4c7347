"""The real nodes, with a note of each frame: when it was sent, received and worked off.

Run: python watched_nodes.py NOTES.json --node rgbd_camera ROS_ARGUMENTS [--node geometry ...]
Like the container, for one node or several. NOTES.json is written when the process is stopped; its
times are of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sensorium.nodes.geometry
import sensorium.nodes.rgbd_camera
from sensorium.frames import RgbdFrame
from sensorium.geometry.backend import GeometryResult
from sensorium.nodes import container
from sensorium.ros.convert.header import stamp_from_time
from sensorium.ros.geometry_output import GeometryOutput
from sensorium.ros.rgbd_input import ReceivedFrame, RgbdInput
from sensorium.ros.rgbd_output import RgbdOutput

# Each entry begins with the frame's stamp [ns], followed by monotonic times [ns].
SENT: list[tuple[int, int, int]] = []  # stamp, before and after publishing
RECEIVED: list[tuple[int, int, bool]] = []  # stamp, when stored, whether it came in memory
PROCESSED: list[tuple[int, int]] = []  # stamp, after the geometry was published


class WatchedOutput(RgbdOutput):
    """Notes every frame that a camera publishes."""

    def publish(self, frame: RgbdFrame, color_apart: RgbdFrame | None = None) -> None:
        """Publish and note."""
        before_ns = time.monotonic_ns()
        super().publish(frame, color_apart)
        SENT.append((frame.stamp_ns, before_ns, time.monotonic_ns()))


class WatchedInput(RgbdInput):
    """Notes every frame that a node receives."""

    def __init__(
        self,
        node: Any,  # noqa: ANN401 - rclpy has no types
        topic: str,
        store: Callable[[str, ReceivedFrame], None],
        qos: Any,  # noqa: ANN401
    ) -> None:
        def note(topic: str, received: ReceivedFrame) -> None:
            now_ns = time.monotonic_ns()
            if isinstance(received, RgbdFrame):
                RECEIVED.append((received.stamp_ns, now_ns, True))
            else:
                RECEIVED.append((stamp_from_time(received.header.stamp), now_ns, False))
            store(topic, received)

        super().__init__(node, topic, note, qos)


class WatchedGeometryOutput(GeometryOutput):
    """Notes every frame that the geometry node has worked off."""

    def publish(self, result: GeometryResult) -> None:
        """Publish and note."""
        super().publish(result)
        PROCESSED.append((result.stamp_ns, time.monotonic_ns()))


def main() -> None:
    """Run the nodes with watched inputs and outputs until SIGINT or SIGTERM."""
    notes = Path(sys.argv[1])
    # What a node module imports by name is replaced there.
    for module, name, watched in (
        (sensorium.nodes.rgbd_camera, "RgbdOutput", WatchedOutput),
        (sensorium.nodes.geometry, "RgbdInput", WatchedInput),
        (sensorium.nodes.geometry, "GeometryOutput", WatchedGeometryOutput),
    ):
        if not hasattr(module, name):
            raise SystemExit(f"{module.__name__} has no {name}: mend {__file__}")
        setattr(module, name, watched)
    try:
        container.main(sys.argv[2:])
    finally:
        notes.write_text(
            json.dumps({"sent": SENT, "received": RECEIVED, "processed": PROCESSED}),
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
