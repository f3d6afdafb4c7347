"""RGB-D sources: each yields :class:`SourceFrame` through the one interface :class:`RgbdSource`.

The topics of a running driver are a source too, but they need ROS: `sensorium.nodes.rgbd_camera`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sensorium.configuration import parameter
from sensorium.sources.realsense import RealsenseConfiguration, RealsenseSource
from sensorium.sources.recording import RecordingSource
from sensorium.sources.recording_configuration import RecordingConfiguration
from sensorium.sources.rendered import RenderedConfiguration, RenderedSource
from sensorium.sources.source import (
    FrameNames,
    GroundTruth,
    RejectedFrame,
    RgbdSource,
    SourceError,
    SourceFrame,
    frames,
)

SOURCES = ("rendered", "recording", "realsense")


@dataclass(frozen=True)
class SourceConfiguration:
    """Which source, and the parameters of each."""

    source: str = parameter("rendered", "where the frames come from", choices=SOURCES)
    rendered: RenderedConfiguration = field(default_factory=RenderedConfiguration)
    recording: RecordingConfiguration = field(default_factory=RecordingConfiguration)
    realsense: RealsenseConfiguration = field(default_factory=RealsenseConfiguration)


def open_source(
    configuration: SourceConfiguration, names: FrameNames | None = None, start_ns: int = 0
) -> RgbdSource:
    """Open the source that a configuration names.

    Args:
        configuration: name and parameters of the source.
        names: names written into its frames.
        start_ns: stamp of the first frame of sources that have no clock of their own [ns].

    Raises:
        SourceError: the name is unknown, or the source itself refuses.
    """
    if configuration.source == "rendered":
        return RenderedSource(configuration.rendered, names, start_ns)
    if configuration.source == "recording":
        return RecordingSource(configuration.recording, names, start_ns)
    if configuration.source == "realsense":
        return RealsenseSource(configuration.realsense, names)
    raise SourceError(f"unknown source '{configuration.source}'; known are {', '.join(SOURCES)}")


__all__ = [
    "SOURCES", "FrameNames", "GroundTruth", "RealsenseConfiguration", "RecordingConfiguration",
    "RejectedFrame", "RenderedConfiguration", "RgbdSource", "SourceConfiguration", "SourceError",
    "SourceFrame", "frames", "open_source",
]  # fmt: skip
