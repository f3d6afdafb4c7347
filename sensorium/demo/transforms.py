"""Poses of a camera from the transforms in a recording, for frames that carry none."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import numpy as np

from sensorium.poses import Float64, interpolate, inverse, pose_from_quaternion

# A transform older or newer than this says nothing about a frame.
_LONGEST_GAP_NS = 500_000_000


class RecordedTransforms:
    """The transforms of a recording, added in any order, then looked up."""

    def __init__(self) -> None:
        # child -> (parent, is static, {stamp: parent_from_child})
        self._edges: dict[str, tuple[str, bool, dict[int, Float64]]] = {}

    def add(self, message: Any, is_static: bool) -> None:  # noqa: ANN401 - made at run time
        """Add the transforms of a decoded tf2_msgs/TFMessage."""
        for stamped in message.transforms:
            t, q = stamped.transform.translation, stamped.transform.rotation
            pose = pose_from_quaternion((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))
            stamp = stamped.header.stamp
            parent = stamped.header.frame_id
            edge = self._edges.setdefault(stamped.child_frame_id, (parent, is_static, {}))
            edge[2][stamp.sec * 1_000_000_000 + stamp.nanosec] = pose

    def pose(self, fixed_frame: str, frame: str, stamp_ns: int) -> Float64 | None:
        """Return fixed_from_frame (4, 4) at a time, or None when it is not known."""
        to_fixed, to_frame = (self._from_root(name, stamp_ns) for name in (fixed_frame, frame))
        if to_fixed is None or to_frame is None or to_fixed[0] != to_frame[0]:
            return None
        return inverse(to_fixed[1]) @ to_frame[1]

    def _from_root(self, frame: str, stamp_ns: int) -> tuple[str, Float64] | None:
        """Return the root above a frame and root_from_frame."""
        pose = np.eye(4)
        seen = {frame}
        while frame in self._edges:
            parent, is_static, poses = self._edges[frame]
            step = _at(poses, is_static, stamp_ns)
            if step is None or parent in seen:
                return None
            pose = step @ pose
            frame = parent
            seen.add(frame)
        return frame, pose


def _at(poses: dict[int, Float64], is_static: bool, stamp_ns: int) -> Float64 | None:
    if stamp_ns in poses:
        return poses[stamp_ns]
    stamps = sorted(poses)
    if is_static:
        return poses[stamps[-1]]
    after = bisect_left(stamps, stamp_ns)
    if after == 0 or after == len(stamps):
        return None
    first, second = stamps[after - 1], stamps[after]
    if second - first > _LONGEST_GAP_NS:
        return None
    return interpolate(poses[first], poses[second], (stamp_ns - first) / (second - first))
