"""What the demonstration and its ROS process tell each other: a request, then events.

The request is one JSON argument of the process; each event is one JSON line of its output.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

_MARK = '{"event": '


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """What the session is to do.

    Attributes:
        nodes: fully qualified names in the order of activation; the last one is the source.
        geometry: name of the geometry node.
        camera: name of the rgbd_camera node, or "" when a bag holds RgbdFrame messages.
        player: name of the bag_player node, or "".
        recorder: name of the recorder node.
        rgbd_topic: topic of the frames.
        frames: frames after which the stream has ended or is ended.
        map_file: name for save_map, inside the geometry node's map.directory.
    """

    nodes: tuple[str, ...]
    geometry: str
    camera: str
    player: str
    recorder: str
    rgbd_topic: str
    frames: int
    map_file: str

    def to_json(self) -> str:
        """Return the request as one argument."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> SessionRequest:
        """Return the request of an argument."""
        values = json.loads(text)
        return cls(**{**values, "nodes": tuple(values["nodes"])})


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """What became of the frames: published = received + lost, received = all that follows.

    Attributes:
        published: frames that the camera (or the bag player) sent.
        received: frames that reached the geometry node.
        processed: frames whose points were published.
        superseded: frames replaced by a newer one before the geometry node was free.
        failed: frames on which the geometry node raised.
        rejected: frames that the geometry node refused, by reason.
        rejected_by_source: frames that the camera had and could not give, by reason.
        fused: frames in the map.
        rate_hz: frames that leave the geometry node per second, now.
        map_points: points of the map as last published; thinned where the map is large.
        latency_ms: work on a frame in the geometry node, p50 and p95 of the last 256 [ms].
        fuse_ms: fusing one frame, p50 and p95 of the last 256 [ms].
        recorded: messages in the recording.
        recording_dropped: messages that the recorder could not keep.
    """

    published: int = 0
    received: int = 0
    processed: int = 0
    superseded: int = 0
    failed: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    rejected_by_source: dict[str, int] = field(default_factory=dict)
    fused: int = 0
    rate_hz: float = 0.0
    map_points: int = 0
    latency_ms: tuple[float, float] | None = None
    fuse_ms: tuple[float, float] | None = None
    recorded: int = 0
    recording_dropped: int = 0

    @property
    def lost(self) -> int:
        """Frames that were sent and did not arrive."""
        return self.published - self.received


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """One line of the session's output.

    Attributes:
        kind: "phase", "progress", "warning", "done" or "failed".
        text: for people.
        counts: the counts so far ("progress", "done").
    """

    kind: str
    text: str = ""
    counts: StreamCounts | None = None

    def to_line(self) -> str:
        """Return the line, without its end."""
        counts = None if self.counts is None else asdict(self.counts)
        return json.dumps({"event": self.kind, "text": self.text, "counts": counts})

    @classmethod
    def from_line(cls, line: str) -> SessionEvent | None:
        """Return the event of a line; None when the line is something else (a log message)."""
        if not line.startswith(_MARK):
            return None
        values = json.loads(line)
        return cls(values["event"], values["text"], _counts(values["counts"]))


def _counts(values: dict[str, Any] | None) -> StreamCounts | None:
    if values is None:
        return None
    for name in ("latency_ms", "fuse_ms"):
        values[name] = None if values[name] is None else tuple(values[name])
    return StreamCounts(**values)


def counts_from_diagnostics(
    request: SessionRequest, values: Mapping[str, Mapping[str, str]], map_points: int
) -> StreamCounts:
    """Return the counts that nodes reported.

    Args:
        request: names the nodes.
        values: {name of the node: {key: value}} as received last; what is missing counts as 0.
        map_points: points of the map as published last.
    """
    geometry = values.get(request.geometry, {})
    recorder = values.get(request.recorder, {})
    camera = values.get(request.camera, {})
    if request.camera:
        published = _integer(camera, "published")
    else:
        player = values.get(request.player, {})
        published = _integer(player, f"published.{request.rgbd_topic}")
    return StreamCounts(
        published=published,
        received=_integer(geometry, "received"),
        processed=_integer(geometry, "processed"),
        superseded=_integer(geometry, "superseded"),
        failed=_integer(geometry, "failed"),
        rejected=_reasons(geometry),
        rejected_by_source=_reasons(camera),
        fused=_integer(geometry, "map.fused"),
        rate_hz=float(geometry.get("rate_hz", 0.0)),
        map_points=map_points,
        latency_ms=_percentiles(geometry, "latency"),
        fuse_ms=_percentiles(geometry, "map.fuse"),
        recorded=_integer(recorder, "written"),
        recording_dropped=_integer(recorder, "dropped"),
    )


def _integer(values: Mapping[str, str], key: str) -> int:
    return int(float(values.get(key, 0)))


def _reasons(values: Mapping[str, str]) -> dict[str, int]:
    prefix = "rejected."
    return {
        key.removeprefix(prefix): int(value)
        for key, value in values.items()
        if key.startswith(prefix)
    }


def _percentiles(values: Mapping[str, str], key: str) -> tuple[float, float] | None:
    if f"{key}_p50_ms" not in values:
        return None
    return float(values[f"{key}_p50_ms"]), float(values[f"{key}_p95_ms"])
