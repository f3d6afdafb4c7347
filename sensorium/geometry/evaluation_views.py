"""What geometry is evaluated on: groups of neighbouring views with truth, rendered or recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.frames import RgbdFrame, pinhole
from sensorium.geometry.evaluation_scenes import (
    NEAREST_M,
    TRAINING_SEEDS,
    drawn_focal,
    drawn_poses,
    drawn_scene,
)
from sensorium.sources import RecordingConfiguration, SourceFrame
from sensorium.sources import frames as frames_of
from sensorium.sources.depth_sensor import DepthSensorOptions, measured_depth
from sensorium.sources.ray_caster import RayCaster
from sensorium.sources.recording import RecordingSource

WIDTH_PX, HEIGHT_PX = 640, 480

# A good structured-light camera: Kinect noise, shadows at edges, no depth at grazing angles.
SENSOR = DepthSensorOptions(noise=1.0, holes=0.05, edge_px=2, grazing_deg=80.0, maximum_m=8.0)


class EvaluationError(ValueError):
    """Data that cannot be evaluated on; the text gives rule and remedy."""


@dataclass(frozen=True, eq=False)
class EvaluationView:
    """One view with what was measured and what is true.

    Attributes:
        color: (H, W, 3) uint8 RGB.
        K: (3, 3) float64 [px].
        world_from_camera: (4, 4) float64.
        measured_depth_m: (H, W) float32 [m], NaN where invalid.
        true_depth_m: (H, W) float32 [m], NaN where unknown. Of a recording: what was measured.
    """

    color: NDArray[np.uint8]
    K: NDArray[np.float64]
    world_from_camera: NDArray[np.float64]
    measured_depth_m: NDArray[np.float32]
    true_depth_m: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class EvaluationGroup:
    """Neighbouring views, seen by the model together; ``name`` says where they come from."""

    name: str
    views: tuple[EvaluationView, ...]


def rendered_group(seed: int, views: int) -> EvaluationGroup | None:
    """Renders the views of one held-out room.

    Args:
        seed: Not one of ``TRAINING_SEEDS``.
        views: Number of views.

    Returns:
        The group, or None when one of the drawn cameras stands in something.

    Raises:
        EvaluationError: training may have seen this seed.
    """
    if seed in TRAINING_SEEDS:
        raise EvaluationError(
            f"seed {seed} lies in {TRAINING_SEEDS}, the rooms of training; evaluate on others"
        )
    random = np.random.default_rng((seed, 0xE7A1))
    scene = drawn_scene(seed)
    camera = pinhole(WIDTH_PX, HEIGHT_PX, drawn_focal(random) * WIDTH_PX)
    caster = RayCaster(scene, camera)
    result = []
    for pose in drawn_poses(scene, seed, views, random):
        view = caster.render(pose, with_normals=True)
        if not np.nanmin(view.depth_m) > NEAREST_M or view.normals is None:
            return None
        normals = view.normals @ pose[:3, :3].astype(np.float32)
        cosine = -np.einsum("ijk,ijk->ij", normals, caster.rays)
        cosine /= np.linalg.norm(caster.rays, axis=2)
        measured = measured_depth(view.depth_m, cosine, SENSOR, random)
        result.append(EvaluationView(view.color, camera.K, pose, measured, view.depth_m))
    return EvaluationGroup(f"room {seed}", tuple(result))


def rendered_groups(count: int, views: int, first_seed: int = 0) -> Iterator[EvaluationGroup]:
    """Yields ``count`` held-out rooms with seeds from ``first_seed`` on."""
    seed = first_seed
    while count > 0:
        group = rendered_group(seed, views)
        seed += 1
        if group is not None:
            count -= 1
            yield group


def recorded_groups(
    configuration: RecordingConfiguration, views: int, step: int, limit: int
) -> Iterator[EvaluationGroup]:
    """Yields groups of a recording: every ``step``-th usable frame, group after group.

    Truth is what the depth camera measured: errors of the sensor and of the registration of depth
    to colour count against the model.

    Args:
        configuration: The folder.
        views: Views of a group.
        step: 1 takes every frame.
        limit: Most groups.

    Raises:
        EvaluationError: colour is not on the pixel grid of the depth, or too few frames.
        SourceError: the folder is refused.
    """
    kept: list[EvaluationView] = []
    usable = groups = 0
    with RecordingSource(configuration) as source:
        for item in frames_of(source):
            if not isinstance(item, SourceFrame):
                continue
            if item.color_apart is not None:
                raise EvaluationError(
                    f"colour and depth of '{configuration.folder}' are apart "
                    f"({item.apart_reason}); give --color-intrinsics (and --color-from-depth "
                    "where the cameras are not in one place)"
                )
            usable += 1
            if (usable - 1) % step == 0:
                kept.append(_recorded(item.frame))
            if len(kept) == views:
                yield EvaluationGroup(f"frames to {usable - 1}", tuple(kept))
                kept, groups = [], groups + 1
            if groups == limit:
                return
    if groups == 0:
        raise EvaluationError(
            f"'{configuration.folder}' has {usable} usable frames; {views * step} are needed: "
            "lower --views or --step"
        )


def _recorded(frame: RgbdFrame) -> EvaluationView:
    camera = frame.camera
    if frame.color is None or frame.depth_m is None or camera is None:
        raise EvaluationError("a frame lacks colour, depth or intrinsics; all three are needed")
    if frame.world_from_camera is None:
        raise EvaluationError("a frame has no pose; poses are part of what is evaluated")
    return EvaluationView(
        frame.color, camera.K, frame.world_from_camera, frame.depth_m, frame.depth_m
    )
