"""A bounded map fused from depth images: a truncated signed distance field in sparse voxel blocks.

The method is the published one: projective signed distances averaged with weights (Curless and
Levoy, SIGGRAPH 1996; KinectFusion, Newcombe et al., ISMAR 2011) in blocks that exist only near
surfaces (Niessner et al., SIGGRAPH Asia 2013).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.configuration import parameter
from sensorium.frames import CameraModel
from sensorium.geometry import surface
from sensorium.geometry.blocks import COORDINATE_LIMIT, SIDE, VOXELS, VoxelBlocks, pack, unpack
from sensorium.geometry.surface import MapPoints
from sensorium.geometry.tensors import to_tensor
from sensorium.poses import inverse, validated_pose

# Voxels nearer to the camera than this are never updated [m].
_NEAR_M = 0.02
# Depth of an invalid pixel: so far behind every voxel that no voxel is updated by it.
_NO_DEPTH = -1e6
_COARSE_CELL_PX = 32
# Blocks per step: on the CPU what fits the cache, on a GPU what fills it.
_CPU_CHUNK = 96
_CUDA_CHUNK = 8192


class FusionError(ValueError):
    """Input that cannot be fused; the text names the rule and the remedy."""


@dataclass(frozen=True, slots=True)
class FusionConfiguration:
    """How the fused map is kept."""

    voxel_size_m: float = parameter(0.02, "Edge of a voxel [m].", minimum=0.001, maximum=1.0)
    truncation_voxels: float = parameter(
        4.0, "Signed distances are kept up to this many voxels from a surface.", minimum=2.0,
        maximum=16.0,
    )  # fmt: skip
    max_blocks: int = parameter(
        16384, "Bound of the map in blocks of 8 x 8 x 8 voxels (7.2 kB each); beyond it the least "
        "recently seen blocks are evicted.", minimum=64, maximum=1_000_000,
    )  # fmt: skip
    max_weight: float = parameter(
        64.0, "Cap of a voxel's accumulated weight in frames: lower forgets faster.", minimum=1.0,
        maximum=10_000.0,
    )  # fmt: skip
    min_weight: float = parameter(
        0.5, "Weight from which a voxel counts as observed when points are extracted; a frame "
        "adds its confidence, at most 1.", minimum=0.0, maximum=10_000.0, read_only=False,
    )  # fmt: skip


class FusedMap:
    """A truncated signed distance field (TSDF) in one fixed frame.

    Positive distances are in front of surfaces. Free space in front of a measured depth carves:
    voxels of existing blocks there move towards +1, so that what was removed from the scene leaves
    the map. Not thread-safe: one owner integrates and extracts.
    """

    def __init__(
        self, configuration: FusionConfiguration, device: str | torch.device = "cpu"
    ) -> None:
        """Make an empty map on a torch device."""
        self.configuration = configuration
        self.device = torch.device(device)
        self.blocks = VoxelBlocks(configuration.max_blocks, self.device)
        self.frames = 0
        steps = torch.arange(SIDE, dtype=torch.float64)
        grid = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), dim=-1)
        self._voxel_centres_m = (grid.reshape(VOXELS, 3) + 0.5) * configuration.voxel_size_m
        self._chunk = _CPU_CHUNK if self.device.type == "cpu" else _CUDA_CHUNK

    @property
    def block_size_m(self) -> float:
        """Edge of a block [m]."""
        return SIDE * self.configuration.voxel_size_m

    @property
    def truncation_m(self) -> float:
        """Distance from a surface up to which signed distances are kept [m]."""
        return self.configuration.truncation_voxels * self.configuration.voxel_size_m

    @property
    def evicted_blocks(self) -> int:
        """Blocks that gave way to newer ones since the last reset."""
        return self.blocks.evicted

    @property
    def dropped_blocks(self) -> int:
        """Blocks that found no place because single frames needed more than `max_blocks`."""
        return self.blocks.dropped

    @property
    def memory_bytes(self) -> int:
        """Memory held by the map [byte]."""
        return self.blocks.memory_bytes

    def reset(self) -> None:
        """Forget everything, counters included."""
        self.blocks.reset()
        self.frames = 0

    def integrate(
        self,
        depth_m: NDArray[np.float32],
        camera: CameraModel,
        world_from_camera: NDArray[np.float64],
        color: NDArray[np.uint8] | None = None,
        weight: float | NDArray[np.float32] = 1.0,
    ) -> None:
        """Fuse one depth image.

        Args:
            depth_m: (H, W) float32 along the optical z axis [m]; NaN, infinite, zero or negative is
                invalid and neither adds nor carves.
            camera: rectified camera of `depth_m`.
            world_from_camera: (4, 4) pose of the optical frame in the map frame.
            color: (H, W, 3) uint8 RGB on the same pixel grid, or None.
            weight: weight of the whole image, or (H, W) float32 per pixel (for example a
                confidence); at most 1 is meant, 0 leaves the pixel out.

        Raises:
            FusionError: sizes differ, the camera is distorted, or the view lies outside the range
                that block coordinates can express.
            PoseError: the pose is not rigid.
        """
        pose = validated_pose(world_from_camera, "world_from_camera")
        _check_image(depth_m, camera, color, weight)
        depth = to_tensor(depth_m, self.device)
        usable = (depth > 0) & (depth < torch.inf)
        if isinstance(weight, np.ndarray):
            pixel_weight = to_tensor(weight, self.device)
            usable &= pixel_weight > 0
        depth = torch.where(usable, depth, _NO_DEPTH)
        self.frames += 1
        near_surface = self._blocks_along_rays(depth, camera, pose)
        slots = self.blocks.allocate(near_surface, self.frames)
        slots = torch.cat((slots, self._other_visible_blocks(depth, camera, pose)))
        self.blocks.last_seen[slots] = self.frames
        image = _PaddedImage(
            depth,
            None if isinstance(weight, float | int) else pixel_weight,
            float(weight) if isinstance(weight, float | int) else 1.0,
            None if color is None else to_tensor(color, self.device),
        )
        # Sorted slots make the reads and writes of the storage run forward in memory.
        for part in torch.split(torch.sort(slots).values, self._chunk):
            self._update(part, image, camera, pose)

    def _blocks_along_rays(
        self, depth: Tensor, camera: CameraModel, pose: NDArray[np.float64]
    ) -> Tensor:
        """Return coordinates (N, 3) of the blocks within the truncation of measured points."""
        deepest = float(depth.max())
        if deepest <= 0:
            return torch.zeros((0, 3), dtype=torch.int64, device=self.device)
        # Neighbouring samples land at most half a block apart at the deepest pixel.
        stride = int(0.5 * self.block_size_m * min(camera.K[0, 0], camera.K[1, 1]) / deepest)
        stride = max(1, min(stride, 8))
        sampled = depth[stride // 2 :: stride, stride // 2 :: stride]
        rows, columns = torch.nonzero(sampled > 0, as_tuple=True)
        z = sampled[rows, columns].double()
        v = (rows * stride + stride // 2).double()
        u = (columns * stride + stride // 2).double()
        x = u - camera.K[0, 2] - (v - camera.K[1, 2]) * camera.K[0, 1] / camera.K[1, 1]
        rays = torch.stack(
            (x / camera.K[0, 0], (v - camera.K[1, 2]) / camera.K[1, 1], torch.ones_like(z)), dim=1
        )
        count = int(np.ceil(2 * self.truncation_m / (0.5 * self.block_size_m))) + 1
        steps = torch.linspace(
            -self.truncation_m, self.truncation_m, count, dtype=torch.float64, device=self.device
        )
        along = (z[:, None] + steps).clamp(min=_NEAR_M)
        points = (rays[:, None, :] * along[..., None]).reshape(-1, 3)
        rotation, translation = self._tensor(pose[:3, :3]), self._tensor(pose[:3, 3])
        cells = torch.floor((points @ rotation.T + translation) / self.block_size_m)
        # Neighbours and margins of a block must be expressible too.
        if len(cells) and float(cells.abs().max()) > COORDINATE_LIMIT - 4:
            limit_m = COORDINATE_LIMIT * self.block_size_m
            raise FusionError(
                f"the view reaches beyond {limit_m:.0f} m from the map origin, the range at "
                f"voxel_size_m = {self.configuration.voxel_size_m:g}: check the pose and depth "
                "unit, or choose a nearer map_frame"
            )
        return unpack(torch.unique(pack(cells.long())))

    def _other_visible_blocks(
        self, depth: Tensor, camera: CameraModel, pose: NDArray[np.float64]
    ) -> Tensor:
        """Return slots of blocks not yet seen by this frame that lie in its measured free space."""
        count = self.blocks.count
        slots = torch.nonzero(self.blocks.last_seen[:count] < self.frames)[:, 0]
        if len(slots) == 0:
            return slots
        centres = (self.blocks.coordinates[slots].double() + 0.5) * self.block_size_m
        camera_from_world = inverse(pose)
        rotation = self._tensor(camera_from_world[:3, :3])
        points = centres @ rotation.T + self._tensor(camera_from_world[:3, 3])
        pixels = points @ self._tensor(camera.K).T
        z = pixels[:, 2]
        radius = 0.5 * np.sqrt(3) * self.block_size_m
        ahead = z > -radius
        safe_z = z.clamp(min=_NEAR_M)
        margin = radius * max(camera.K[0, 0], camera.K[1, 1]) / safe_z
        u, v = pixels[:, 0] / safe_z, pixels[:, 1] / safe_z
        inside = (u > -margin) & (u < camera.width_px + margin)
        inside &= (v > -margin) & (v < camera.height_px + margin)
        # The deepest measurement around the block's centre: what hides behind it is not carved.
        cell = _COARSE_CELL_PX
        deepest = torch.nn.functional.max_pool2d(depth[None], cell, ceil_mode=True)
        deepest = torch.nn.functional.max_pool2d(deepest, 3, stride=1, padding=1)[0]
        row = torch.div(v, cell, rounding_mode="floor").clamp(0, deepest.shape[0] - 1).long()
        column = torch.div(u, cell, rounding_mode="floor").clamp(0, deepest.shape[1] - 1).long()
        in_front = z - radius < deepest[row, column] + self.truncation_m
        return slots[ahead & inside & in_front]

    def _update(
        self, slots: Tensor, image: _PaddedImage, camera: CameraModel, pose: NDArray[np.float64]
    ) -> None:
        """Average the image's signed distances into all voxels of the blocks in `slots`."""
        blocks = self.blocks
        # In float64 up to the camera, so that maps far from the origin keep their precision.
        camera_from_world = inverse(pose)
        rotation = self._tensor(camera_from_world[:3, :3])
        origins = blocks.coordinates[slots].double() * self.block_size_m
        origins = origins @ rotation.T + self._tensor(camera_from_world[:3, 3])
        offsets = self._voxel_centres_m.to(self.device) @ rotation.T
        # floor(M @ point / z) is the padded image's pixel: one for the border, a half to round.
        M = camera.K.copy()
        M[:2, 2] += 1.5
        projection = self._tensor(M)
        origins, offsets = (origins @ projection.T).float(), (offsets @ projection.T).float()
        z = origins[:, 2:] + offsets[:, 2]
        inverse_z = z.reciprocal()
        u = (origins[:, :1] + offsets[:, 0]).mul_(inverse_z)
        v = (origins[:, 1:2] + offsets[:, 1]).mul_(inverse_z)
        u.clamp_(0, image.width - 1)
        v.clamp_(0, image.height - 1)
        pixel = v.long().mul_(image.width).add_(u.long())
        pixel.mul_(z > _NEAR_M)
        distance = image.depth.take(pixel).sub_(z)
        observed = distance > -self.truncation_m
        added = observed * image.scale
        if image.weight is not None:
            added *= image.weight.take(pixel)
        distance.div_(self.truncation_m).clamp_(-1, 1)
        tsdf, weight = blocks.tsdf[slots], blocks.weight[slots]
        total = weight + added
        share = added.div_(total.clamp(min=1e-9))
        tsdf.addcmul_(distance.sub_(tsdf), share)
        blocks.tsdf[slots] = tsdf
        blocks.weight[slots] = total.clamp_(max=self.configuration.max_weight)
        if image.color is not None:
            near = observed & (tsdf < 1) & (share > 0)
            self._update_color(slots, near, pixel, share, image.color)

    def _update_color(
        self, slots: Tensor, near: Tensor, pixel: Tensor, share: Tensor, color: Tensor
    ) -> None:
        row, voxel = torch.nonzero(near, as_tuple=True)
        stored = self.blocks.color
        target = slots[row] * VOXELS + voxel
        flat = stored.view(-1, 3)
        seen = color[pixel[row, voxel]].float()
        old = flat[target].float()
        old = torch.where(old.isnan(), seen, old)
        flat[target] = torch.lerp(old, seen, share[row, voxel][:, None]).half()

    def _tensor(self, array: NDArray[np.float64]) -> Tensor:
        return to_tensor(array, self.device)

    def points(self) -> MapPoints:
        """Return the surface: points at the zero crossings with normals and colours."""
        return surface.extract(
            self.blocks, self.configuration.voxel_size_m, self.configuration.min_weight
        )

    def signed_distance_m(self, points_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (N,) signed distances [m] at (N, 3) points, by trilinear interpolation.

        Positive in front of surfaces, at most the truncation; NaN where one of the eight voxels
        around the point was not observed.
        """
        values = surface.sample(
            self.blocks, torch.as_tensor(points_m, device=self.device).double(),
            self.configuration.voxel_size_m, self.configuration.min_weight,
        )  # fmt: skip
        result: NDArray[np.float64] = (values * self.truncation_m).cpu().numpy()
        return result


class _PaddedImage:
    """Flat depth, weight and colour with a border of one pixel that updates nothing."""

    def __init__(
        self, depth: Tensor, weight: Tensor | None, scale: float, color: Tensor | None
    ) -> None:
        self.height, self.width = depth.shape[0] + 2, depth.shape[1] + 2
        self.depth = _padded(depth, _NO_DEPTH)
        self.weight = None if weight is None else _padded(weight, 0.0)
        self.scale = scale
        self.color = None
        if color is not None:
            bordered = color.new_zeros((self.height, self.width, 3))
            bordered[1:-1, 1:-1] = color
            self.color = bordered.view(-1, 3)


def _padded(image: Tensor, value: float) -> Tensor:
    return torch.nn.functional.pad(image, (1, 1, 1, 1), value=value).flatten()


def _check_image(
    depth_m: NDArray[np.float32],
    camera: CameraModel,
    color: NDArray[np.uint8] | None,
    weight: float | NDArray[np.float32],
) -> None:
    expected = (camera.height_px, camera.width_px)
    sizes = [("depth_m", depth_m.shape)]
    if color is not None:
        sizes.append(("color", color.shape[:2]))
    if isinstance(weight, np.ndarray):
        sizes.append(("weight", weight.shape))
    for name, shape in sizes:
        if shape != expected:
            raise FusionError(
                f"{name} has shape {shape} but its camera has {expected}: "
                "give the camera of this image (CameraModel.resized)"
            )
    if not camera.is_rectified:
        raise FusionError(
            f"the camera is distorted ({camera.distortion_model}): rectify the depth image first"
        )
