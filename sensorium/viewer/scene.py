"""The three-dimensional part of the page: clouds, cameras with their images, boxes with names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sensorium.frames import CameraModel
from sensorium.poses import Float64, quaternion_from_pose

# Wide enough to recognise things, small enough for ten a second.
_IMAGE_WIDTH_PX = 320
_JPEG_QUALITY = 70
_LINES_PER_FRUSTUM = 0.02
_POINT_M = 0.01
_LONGEST_NAME = 60
_MOST_BOXES = 200


@dataclass(frozen=True, slots=True, eq=False)
class NamedBox:
    """A known object.

    Attributes:
        id: stays the same for as long as the object is known.
        name: its class.
        score: probability of the class, 0 to 1.
        world_from_object: (4, 4) pose of the box's centre.
        size_m: edge lengths along its own axes [m].
        color: RGB, 0 to 255.
    """

    id: int
    name: str
    score: float
    world_from_object: Float64
    size_m: tuple[float, float, float]
    color: tuple[int, int, int]


class Scene:
    """What stands in the page's scene; every method replaces what it showed before.

    Args:
        page: a viser server.
        frustum_m: size of the cameras [m].
    """

    def __init__(self, page: Any, frustum_m: float = 0.25) -> None:  # noqa: ANN401 - viser is optional
        self._page = page
        self._frustum_m = frustum_m
        self._clouds: dict[str, Any] = {}
        self._cameras: dict[str, Any] = {}
        self._boxes: list[tuple[Any, Any]] = []
        scene = page.scene
        scene.set_up_direction("+z")
        scene.configure_default_lights(enabled=False)
        # Without an environment map a page opens seconds earlier on a machine without a GPU; the
        # ambient light then keeps boxes from being black.
        scene.configure_environment_map(hdri=None)
        scene.add_light_ambient("/light", intensity=3.0)
        scene.add_grid(
            "/grid", width=10.0, height=10.0, cell_size=0.5, cell_color=(50, 52, 56),
            section_color=(75, 78, 84),
        )  # fmt: skip
        scene.add_frame("/axes", axes_length=0.3, axes_radius=0.008)

    def look(self, from_m: Sequence[float], at_m: Sequence[float]) -> None:
        """Set where a newly opened page looks from and at [m]."""
        self._page.initial_camera.position = tuple(from_m)
        self._page.initial_camera.look_at = tuple(at_m)

    def show_cloud(
        self,
        name: str,
        points_m: NDArray[np.float32],
        colors: NDArray[np.uint8],
        world_from_cloud: Float64,
    ) -> None:
        """Show a cloud.

        Args:
            name: tells the clouds of several cameras apart.
            points_m: (N, 3) in the cloud's frame [m].
            colors: (N, 3) uint8 RGB.
            world_from_cloud: (4, 4).
        """
        cloud = self._clouds.get(name)
        with self._page.atomic():
            if cloud is None:
                cloud = self._clouds[name] = self._page.scene.add_point_cloud(
                    f"/clouds/{_node(name)}", points_m, colors, point_size=_POINT_M,
                    precision="float32", point_shading="flat",
                )  # fmt: skip
            else:
                cloud.points, cloud.colors = points_m, colors
            _place(cloud, world_from_cloud)

    def show_camera(
        self,
        name: str,
        camera: CameraModel,
        world_from_camera: Float64,
        image: NDArray[np.uint8] | None,
    ) -> None:
        """Show a camera as a frustum that carries its image.

        Args:
            name: name of the camera.
            camera: its intrinsics.
            world_from_camera: (4, 4).
            image: (H, W, 3) uint8 RGB, or None.
        """
        if image is not None and image.shape[1] > _IMAGE_WIDTH_PX:
            height_px = round(image.shape[0] * _IMAGE_WIDTH_PX / image.shape[1])
            image = np.asarray(
                cv2.resize(image, (_IMAGE_WIDTH_PX, height_px), interpolation=cv2.INTER_AREA),
                np.uint8,
            )
        frustum = self._cameras.get(name)
        with self._page.atomic():
            if frustum is None:
                frustum = self._cameras[name] = self._page.scene.add_camera_frustum(
                    f"/cameras/{_node(name)}",
                    fov=2 * math.atan2(camera.height_px / 2, camera.K[1, 1]),
                    aspect=camera.width_px / camera.height_px,
                    scale=self._frustum_m, thickness=_LINES_PER_FRUSTUM * self._frustum_m,
                    color=(240, 200, 60), image=image,
                    format="jpeg", jpeg_quality=_JPEG_QUALITY, cast_shadow=False,
                )  # fmt: skip
                self._page.scene.add_label(f"/cameras/{_node(name)}/name", name[:_LONGEST_NAME])
            elif image is not None:
                frustum.image = image
            _place(frustum, world_from_camera)

    def show_boxes(self, boxes: Sequence[NamedBox]) -> None:
        """Show up to 200 objects with their names; those that are no longer known disappear."""
        shown = sorted(boxes, key=lambda box: box.id)[:_MOST_BOXES]
        with self._page.atomic():
            # Nodes are used again: viser remembers every node that ever was until a page opens.
            while len(self._boxes) < len(shown):
                self._boxes.append(self._new_box(len(self._boxes)))
            for index, (wire, label) in enumerate(self._boxes):
                wire.visible = label.visible = index < len(shown)
                if index < len(shown):
                    box = shown[index]
                    wire.dimensions, wire.color = box.size_m, box.color
                    label.text = f"{box.name[:_LONGEST_NAME]} {box.score:.2f}"
                    label.position = (0.0, 0.0, box.size_m[2] / 2)
                    _place(wire, box.world_from_object)

    def _new_box(self, index: int) -> tuple[Any, Any]:
        wire = self._page.scene.add_box(
            f"/objects/{index}", wireframe=True, cast_shadow=False, receive_shadow=False
        )
        return wire, self._page.scene.add_label(f"/objects/{index}/name", "")


def _place(node: Any, world_from_node: Float64) -> None:  # noqa: ANN401
    x, y, z, w = quaternion_from_pose(world_from_node)
    node.wxyz = (w, x, y, z)
    node.position = world_from_node[:3, 3]


def _node(name: str) -> str:
    """A name as one step of a path in the scene's tree."""
    return name.replace("/", "_") or "_"
