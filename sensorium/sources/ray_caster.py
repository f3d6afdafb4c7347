"""Casts the rays of a pinhole camera into a scene: exact depth, masks and a lit image, without GL.

Every part is intersected only inside the image rectangle that its box projects to, in closed form
(`intersections`), and the nearest hit wins. Colour is evaluated once per pixel, at the hit point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.frames import CameraModel, FrameError
from sensorium.poses import inverse, validated_pose
from sensorium.sources import intersections
from sensorium.sources.scene import CLASS_NAMES, Light, Scene, box_corners
from sensorium.sources.textures import Texture, albedo

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_NEAR_M = 1e-3
_FACES = 6
_ROUND = frozenset(("ellipsoid", "cylinder", "capsule", "cup", "bowl"))


@dataclass(frozen=True, slots=True, eq=False)
class RenderedView:
    """What one camera sees.

    Attributes:
        color: (H, W, 3) uint8 RGB.
        depth_m: (H, W) float32 along the optical axis [m]; NaN where nothing is.
        normals: (H, W, 3) float32 unit normals in the world, 0 where nothing is; None unless asked.
        class_ids: (H, W) uint8 index into scene.CLASS_NAMES.
        instance_ids: (H, W) uint16 instance id of the object; 0 for the room and for nothing.
    """

    color: NDArray[np.uint8]
    depth_m: Float32
    normals: Float32 | None
    class_ids: NDArray[np.uint8]
    instance_ids: NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False)
class _Surface:
    """One part, or one face of the room, as the caster sees it."""

    shape: str
    size_m: tuple[float, float, float]
    wall_m: float
    world_from_part: Float64
    texture: Texture
    corners_m: Float64


class RayCaster:
    """Casts views of one scene with one camera.

    Args:
        scene: what is seen; it does not change.
        camera: a rectified camera.

    Attributes:
        rays: (H, W, 3) float32 through the pixel centres in camera coordinates, z = 1.

    Raises:
        FrameError: the camera has distortion, or the scene more than 65000 surfaces.
    """

    def __init__(self, scene: Scene, camera: CameraModel) -> None:
        if not camera.is_rectified:
            raise FrameError(
                f"the ray caster has no lens model, the camera has {camera.distortion_model!r}; "
                "render with a rectified camera"
            )
        self.scene = scene
        self.camera = camera
        self._surfaces, self._class_of, self._instance_of = _surfaces(scene)
        K = camera.K
        # Rays through pixel centres, camera z = 1.
        self._v = (np.arange(camera.height_px) - K[1, 2]) / K[1, 1]
        self._u = (np.arange(camera.width_px) - K[0, 2]) / K[0, 0]
        self._skew = K[0, 1] / K[0, 0]
        rays = np.ones((camera.height_px, camera.width_px, 3), np.float32)
        rays[..., 0] = self._u - self._skew * self._v[:, None]
        rays[..., 1] = self._v[:, None]
        self.rays = rays
        self._flat_rays = rays.reshape(-1, 3)

    def render(self, world_from_camera: Float64, with_normals: bool = False) -> RenderedView:
        """Return what the camera sees from a pose.

        Args:
            world_from_camera: (4, 4) pose of the optical frame; inside the room, outside of things.
            with_normals: also return the normals.

        Raises:
            PoseError: the pose is not rigid.
            FrameError: the camera is outside of the room.
        """
        pose = validated_pose(world_from_camera, "world_from_camera")
        height, width = self.camera.height_px, self.camera.width_px
        depth = np.full((height, width), np.inf, np.float32)
        # Surface 0 is nothing, 1 to 6 the faces of the room, then the parts.
        hits = np.zeros((height, width), np.uint16)
        if self.scene.room is not None:
            self._cast_room(pose, depth, hits)
        camera_from_world = inverse(pose)
        rectangles: dict[int, tuple[slice, slice]] = {}
        for number in range(1 + _FACES, len(self._surfaces)):
            surface = self._surfaces[number]
            assert surface is not None  # noqa: S101 - only room faces can be absent
            rectangle = self._rectangle(surface.corners_m, camera_from_world)
            if rectangle is None:
                continue
            rectangles[number] = rectangle
            origin, direction = self._local_rays(
                surface, pose, rectangle, np.float64 if surface.shape in _ROUND else np.float32
            )
            near = intersections.SOLIDS[surface.shape](
                origin, direction, surface.size_m, surface.wall_m
            )
            nearer = near < depth[rectangle]
            np.copyto(depth[rectangle], near, where=nearer, casting="same_kind")
            hits[rectangle][nearer] = number
        color, normals = self._shade(pose, depth, hits, rectangles, with_normals)
        depth[hits == 0] = np.nan
        return RenderedView(color, depth, normals, self._class_of[hits], self._instance_of[hits])

    def _cast_room(self, pose: Float64, depth: Float32, hits: NDArray[np.uint16]) -> None:
        face = self._surfaces[1]
        assert face is not None  # noqa: S101 - a room has six faces
        full = (slice(0, depth.shape[0]), slice(0, depth.shape[1]))
        origin, direction = self._local_rays(face, pose, full, np.float32)
        if (np.abs(origin) >= face.size_m).any():
            raise FrameError(
                f"the camera at {pose[:3, 3].round(3).tolist()} m is outside of the room"
            )
        depth[:], faces = intersections.room(origin, direction, face.size_m)
        hits[:] = faces + 1

    def _rectangle(
        self, corners_m: Float64, camera_from_world: Float64
    ) -> tuple[slice, slice] | None:
        """Return the rows and columns that a part can cover, None when it is out of view."""
        corners = corners_m @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
        height, width = self.camera.height_px, self.camera.width_px
        if (corners[:, 2] <= _NEAR_M).all():
            return None
        if (corners[:, 2] <= _NEAR_M).any():
            return slice(0, height), slice(0, width)
        pixels = corners @ self.camera.K.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        left, top = np.floor(pixels.min(axis=0)).astype(int)
        right, bottom = np.ceil(pixels.max(axis=0)).astype(int) + 1
        rows = slice(max(top, 0), min(bottom, height))
        columns = slice(max(left, 0), min(right, width))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return None
        return rows, columns

    def _local_rays(
        self,
        surface: _Surface,
        pose: Float64,
        rectangle: tuple[slice, slice],
        dtype: type[np.floating],
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return the origin (3,) and the directions (3, rows, columns) in part coordinates."""
        rotation = surface.world_from_part[:3, :3].T
        origin = rotation @ (pose[:3, 3] - surface.world_from_part[:3, 3])
        axes = rotation @ pose[:3, :3]
        v = self._v[rectangle[0]]
        along_rows = axes[:, 1:2] * v + axes[:, 2:3] - axes[:, 0:1] * self._skew * v
        along_columns = axes[:, 0:1] * self._u[rectangle[1]]
        direction = along_rows.astype(dtype)[:, :, None] + along_columns.astype(dtype)[:, None, :]
        direction[direction == 0] = 1e-12
        return origin.astype(dtype), direction

    def _shade(
        self,
        pose: Float64,
        depth: Float32,
        hits: NDArray[np.uint16],
        rectangles: dict[int, tuple[slice, slice]],
        with_normals: bool,
    ) -> tuple[NDArray[np.uint8], Float32 | None]:
        height, width = hits.shape
        color = np.zeros((height * width, 3), np.uint8)
        normals = np.zeros((height * width, 3), np.float32) if with_normals else None
        flat_depth = depth.reshape(-1)
        for number, surface in enumerate(self._surfaces):
            if surface is None or (number > _FACES and number not in rectangles):
                continue
            pixels = _pixels_of(hits, number, rectangles.get(number))
            if not len(pixels):
                continue
            rotation = surface.world_from_part[:3, :3]
            part_from_camera = (rotation.T @ pose[:3, :3]).astype(np.float32)
            origin = rotation.T @ (pose[:3, 3] - surface.world_from_part[:3, 3])
            points = self._flat_rays.take(pixels, axis=0) @ part_from_camera.T
            points *= flat_depth.take(pixels)[:, None]
            points += origin.astype(np.float32)
            if number <= _FACES:
                axis, positive = divmod(number - 1, 2)
                normal = np.zeros((1, 3), np.float32)
                normal[0, axis] = -1.0 if positive else 1.0
            else:
                normal = intersections.normals(
                    surface.shape, points, surface.size_m, surface.wall_m
                )
                normal = normal @ rotation.T.astype(np.float32)
            lit = albedo(surface.texture, points) * _brightness(self.scene.light, normal)[:, None]
            color[pixels] = np.minimum(lit, 255, out=lit).astype(np.uint8)
            if normals is not None:
                normals[pixels] = normal
        lit_normals = None if normals is None else normals.reshape(height, width, 3)
        return color.reshape(height, width, 3), lit_normals


def _pixels_of(
    hits: NDArray[np.uint16], number: int, rectangle: tuple[slice, slice] | None
) -> NDArray[np.intp]:
    """Return the flat indices of the pixels that show a surface; None looks everywhere."""
    if rectangle is None:
        return np.flatnonzero(hits == number)
    rows, columns = rectangle
    inside = np.flatnonzero(hits[rectangle] == number)
    row, column = np.divmod(inside, columns.stop - columns.start)
    pixels: NDArray[np.intp] = (row + rows.start) * hits.shape[1] + column + columns.start
    return pixels


def _brightness(light: Light, normals: Float32) -> Float32:
    result = np.full(len(normals), light.ambient, np.float32)
    for direction, strength in zip(light.directions, light.strengths, strict=True):
        facing = normals @ np.array(direction, np.float32)
        result += np.float32(strength) * np.maximum(facing, 0)
    return result


def _surfaces(
    scene: Scene,
) -> tuple[list[_Surface | None], NDArray[np.uint8], NDArray[np.uint16]]:
    """Return every surface by number, and the class and instance id of each."""
    surfaces: list[_Surface | None] = [None] * (1 + _FACES)
    classes = [0] * (1 + _FACES)
    instances = [0] * (1 + _FACES)
    if scene.room is not None:
        room = scene.room
        half = tuple(extent / 2 for extent in room.size_m)
        center = np.eye(4)
        center[2, 3] = half[2]
        for face, texture in enumerate((*room.walls, room.floor, room.ceiling)):
            surfaces[1 + face] = _Surface(
                "room", (half[0], half[1], half[2]), 0.0, center, texture, np.empty((0, 3))
            )
            name = "wall" if face < 4 else ("floor", "ceiling")[face - 4]
            classes[1 + face] = CLASS_NAMES.index(name)
    for thing in scene.objects:
        for part in thing.parts:
            world_from_part = thing.world_from_object @ part.object_from_part
            surfaces.append(
                _Surface(
                    part.shape,
                    part.size_m,
                    part.wall_m,
                    world_from_part,
                    part.texture,
                    box_corners(*part.bounds_m(), world_from_part),
                )
            )
            classes.append(thing.class_id)
            instances.append(thing.instance_id)
    if len(surfaces) > 65000:
        raise FrameError(f"the scene has {len(surfaces)} surfaces; at most 65000 are numbered")
    return surfaces, np.array(classes, np.uint8), np.array(instances, np.uint16)
