"""The one interface of RGB-D sources, what they yield and how they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sensorium.frames import RgbdFrame

if TYPE_CHECKING:
    from sensorium.sources.scene import Scene


Closable = TypeVar("Closable", bound="ClosedOnExit")


class SourceError(ValueError):
    """A source that cannot be opened; the text names the file or device and the remedy."""


@dataclass(frozen=True, slots=True)
class FrameNames:
    """The names that a source writes into its frames.

    Attributes:
        camera_name: unique on the robot.
        color_optical_frame: frame id of colour, and of depth registered to it.
        depth_optical_frame: frame id of depth that is not registered to colour.
        world_frame: fixed frame of the poses.
    """

    camera_name: str = "camera"
    color_optical_frame: str = "camera_color_optical_frame"
    depth_optical_frame: str = "camera_depth_optical_frame"
    world_frame: str = "map"


@dataclass(frozen=True, slots=True, eq=False)
class GroundTruth:
    """What only a renderer knows about a frame.

    Attributes:
        depth_m: (H, W) float32 exact depth [m]; NaN where nothing is.
        class_ids: (H, W) uint8 index into `sensorium.sources.scene.CLASS_NAMES`; 0 is nothing.
        instance_ids: (H, W) uint16; 0 for floor, walls, ceiling and nothing.
        scene: the objects by instance id, with names, attributes and oriented boxes.
    """

    depth_m: NDArray[np.float32]
    class_ids: NDArray[np.uint8]
    instance_ids: NDArray[np.uint16]
    scene: Scene


@dataclass(frozen=True, slots=True, eq=False)
class SourceFrame:
    """One accepted frame.

    Attributes:
        frame: depth and colour on one pixel grid, or depth alone.
        color_apart: the colour image in its own frame when it could not be put on the grid of the
            depth; its camera is None when the intrinsics are unknown.
        apart_reason: why colour and depth are apart; "" when they are not.
        truth: ground truth of a rendered frame.
    """

    frame: RgbdFrame
    color_apart: RgbdFrame | None = None
    apart_reason: str = ""
    truth: GroundTruth | None = None


@dataclass(frozen=True, slots=True)
class RejectedFrame:
    """A frame that the source had and could not give.

    Attributes:
        stamp_ns: its time, or None when not even that is known.
        name: which frame, e.g. its file.
        reason: short and countable: "pose_missing", "pose_invalid", "color_unreadable",
            "depth_unreadable", "depth_missing", "color_missing", "size_mismatch".
        detail: the whole sentence for the log.
    """

    stamp_ns: int | None
    name: str
    reason: str
    detail: str


class ClosedOnExit:
    """Makes a class with ``close()`` a context manager."""

    def close(self) -> None:
        """Release what is held; may be called twice."""
        raise NotImplementedError

    def __enter__(self: Closable) -> Closable:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class RgbdSource(Protocol):
    """A camera, recording or renderer. A context manager; opened when constructed.

    `live` sources pace themselves and stamp with the time of the host; the others return at once
    and whoever reads them keeps time by the stamps.
    """

    @property
    def live(self) -> bool:
        """True when frames arrive by themselves."""

    @property
    def finished(self) -> bool:
        """True when no further frame will come."""

    @property
    def status(self) -> str:
        """Why no frames come, in words ("reconnecting ..."); "" when all is well."""

    def read(self, timeout_s: float) -> SourceFrame | RejectedFrame | None:
        """Return the next frame, a rejected frame, or None after `timeout_s` or when finished.

        What a frame or a device does wrong is returned or shown in `status`, never raised.
        """

    def close(self) -> None:
        """Release files and devices; may be called twice."""

    def __enter__(self) -> RgbdSource: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def frames(source: RgbdSource, timeout_s: float = 1.0) -> Iterator[SourceFrame | RejectedFrame]:
    """Yield every frame of a source, accepted or rejected, until it is finished."""
    while not source.finished:
        result = source.read(timeout_s)
        if result is not None:
            yield result
