"""The rendered source: a random furnished room seen by a camera that walks around its table."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sensorium.configuration import parameter
from sensorium.frames import RgbdFrame, pinhole
from sensorium.sources.depth_sensor import DepthSensorOptions, measured_depth
from sensorium.sources.random_scene import SceneOptions, random_scene
from sensorium.sources.ray_caster import RayCaster, RenderedView
from sensorium.sources.source import ClosedOnExit, FrameNames, GroundTruth, SourceFrame
from sensorium.sources.trajectory import Orbit


@dataclass(frozen=True)
class RenderedConfiguration:
    """Parameters of the rendered source."""

    seed: int = parameter(0, "draws the room, its objects and the walk", minimum=0)
    width_px: int = parameter(640, "image width [px]", minimum=16, maximum=4096)
    height_px: int = parameter(480, "image height [px]", minimum=16, maximum=4096)
    focal_px: float = parameter(525.0, "focal length [px]", minimum=1.0)
    rate_hz: float = parameter(30.0, "frames per second of the stamps [Hz]",
                               minimum=0.01, maximum=1000.0)  # fmt: skip
    frames: int = parameter(0, "number of frames; 0 never ends", minimum=0)
    turn_s: float = parameter(20.0, "time of one walk around the table [s]", minimum=0.1)
    scene: SceneOptions = field(default_factory=SceneOptions)
    sensor: DepthSensorOptions = field(default_factory=DepthSensorOptions)


class RenderedSource(ClosedOnExit):
    """Renders one frame per read; frame i is the same in every run of the same configuration.

    Args:
        configuration: what is rendered.
        names: names written into the frames.
        start_ns: stamp of the first frame [ns].

    Raises:
        SourceError: the scene options are contradictory.
    """

    live = False
    status = ""

    def __init__(
        self,
        configuration: RenderedConfiguration,
        names: FrameNames | None = None,
        start_ns: int = 0,
    ) -> None:
        self.configuration = configuration
        self.names = names or FrameNames()
        self.scene = random_scene(configuration.seed, configuration.scene)
        self.camera = pinhole(
            configuration.width_px, configuration.height_px, configuration.focal_px
        )
        self._caster = RayCaster(self.scene, self.camera)
        self._orbit = Orbit(self.scene, configuration.seed)
        self._start_ns = start_ns
        self._next = 0
        self._closed = False

    @property
    def finished(self) -> bool:
        """True when the configured number of frames was read, or after close()."""
        count = self.configuration.frames
        return self._closed or (count > 0 and self._next >= count)

    def read(self, timeout_s: float = 0.0) -> SourceFrame | None:
        """Return the next frame, or None when finished; never waits."""
        del timeout_s
        if self.finished:
            return None
        frame = self.frame(self._next)
        self._next += 1
        return frame

    def frame(self, index: int) -> SourceFrame:
        """Return frame `index` of the walk."""
        configuration = self.configuration
        time_s = index / configuration.rate_hz
        pose = self._orbit.pose(time_s / configuration.turn_s)
        grazing = configuration.sensor.grazing_deg < 90
        view = self._caster.render(pose, with_normals=grazing)
        random = np.random.default_rng((configuration.seed, index, 0xDE97))
        incidence = _incidence(view, pose, self._caster.rays) if grazing else None
        frame = RgbdFrame(
            stamp_ns=self._start_ns + round(index * 1e9 / configuration.rate_hz),
            camera_name=self.names.camera_name,
            optical_frame=self.names.color_optical_frame,
            color=view.color,
            color_camera=self.camera,
            depth_m=measured_depth(view.depth_m, incidence, configuration.sensor, random),
            depth_camera=self.camera,
            world_frame=self.names.world_frame,
            world_from_camera=pose,
        )
        truth = GroundTruth(view.depth_m, view.class_ids, view.instance_ids, self.scene)
        return SourceFrame(frame, truth=truth)

    def close(self) -> None:
        """End the sequence."""
        self._closed = True


def _incidence(
    view: RenderedView, world_from_camera: NDArray[np.float64], rays: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return (H, W) cosines between the rays and the surfaces that they meet."""
    assert view.normals is not None  # noqa: S101 - asked for by the caller
    in_camera = view.normals @ world_from_camera[:3, :3].astype(np.float32)
    cosine = -np.einsum("ijk,ijk->ij", in_camera, rays)
    result: NDArray[np.float32] = cosine / np.linalg.norm(rays, axis=2)
    return result
