"""The pose of a frame in the map: from the frame itself, or from TF at the frame's stamp."""

from __future__ import annotations

import dataclasses

from sensorium.frames import RgbdFrame
from sensorium.ros.tf import TransformBuffer


def with_pose_in(
    frame: RgbdFrame, map_frame: str, transforms: TransformBuffer, timeout_s: float
) -> RgbdFrame:
    """Return the frame with its pose in `map_frame`.

    A pose that came with the frame wins over TF; one in another fixed frame is carried over by TF.

    Args:
        frame: the frame.
        map_frame: fixed frame wanted.
        transforms: where transforms are looked up, at the frame's own stamp.
        timeout_s: how long to wait for transforms that are under way [s].

    Raises:
        TransformError: the pose is not known; the text says which link is missing.
    """
    given = frame.world_from_camera
    if given is not None and frame.world_frame == map_frame:
        return frame
    source = frame.optical_frame if given is None else frame.world_frame
    found = transforms.lookup(map_frame, source, frame.stamp_ns, timeout_s)
    pose = found if given is None else found @ given
    return dataclasses.replace(frame, world_frame=map_frame, world_from_camera=pose)


def without_pose(frame: RgbdFrame) -> RgbdFrame:
    """Return the frame without a pose."""
    return dataclasses.replace(frame, world_frame="", world_from_camera=None)
