"""Points, normals and colours from a truncated signed distance field in voxel blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.geometry.blocks import SIDE, STRIDES, VOXELS, VoxelBlocks

_CHUNK = 2048
# Colour of points whose voxels never saw a colour image.
_UNSEEN_GRAY = 128.0


@dataclass(frozen=True, slots=True, eq=False)
class MapPoints:
    """An oriented, coloured point cloud in the map frame.

    Attributes:
        points_m: (N, 3) float32 [m].
        normals: (N, 3) float32 unit vectors that point into free space; NaN where the field around
            the point is flat.
        colors: (N, 3) uint8 RGB; grey 128 where no colour image was fused.
        weights: (N,) float32 accumulated weight of the weaker of the two voxels of the crossing.
        voxel_size_m: edge of the voxels they come from, the distance of neighbouring points [m].
    """

    points_m: NDArray[np.float32]
    normals: NDArray[np.float32]
    colors: NDArray[np.uint8]
    weights: NDArray[np.float32]
    voxel_size_m: float

    def __len__(self) -> int:
        return len(self.points_m)


def extract(blocks: VoxelBlocks, voxel_size_m: float, min_weight: float) -> MapPoints:
    """Return one point per pair of axis neighbours between which the field changes sign.

    The point lies where the linear interpolation of both values is zero. The normal is the gradient
    of the field: along the pair by its difference, across it by central differences at the nearer
    voxel.

    Args:
        blocks: the field.
        voxel_size_m: edge of a voxel [m].
        min_weight: voxels with less weight count as unobserved.
    """
    if blocks.count == 0:
        empty = np.zeros((0, 3), np.float32)
        none = np.zeros(0, np.float32)
        return MapPoints(empty, empty, empty.astype(np.uint8), none, voxel_size_m)
    parts = []
    for slots in torch.split(torch.arange(blocks.count, device=blocks.device), _CHUNK):
        field = _Neighbourhood(blocks, slots, min_weight)
        parts += [_crossings(field, axis, voxel_size_m) for axis in range(3)]
    points, normals, colors, weights = (
        torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)
    )
    return MapPoints(points, normals, colors, weights, voxel_size_m)


def sample(blocks: VoxelBlocks, points_m: Tensor, voxel_size_m: float, min_weight: float) -> Tensor:
    """Return (N,) float64 field values (-1 to 1) at (N, 3) float64 points, trilinear; NaN unknown.

    Args:
        blocks: the field.
        points_m: points in the map frame [m].
        voxel_size_m: edge of a voxel [m].
        min_weight: voxels with less weight count as unobserved.
    """
    grid = points_m / voxel_size_m - 0.5
    base = torch.floor(grid)
    fraction = grid - base
    value = torch.zeros(len(points_m), dtype=torch.float64, device=points_m.device)
    for corner in range(8):
        step = torch.tensor([(corner >> 2) & 1, (corner >> 1) & 1, corner & 1])
        step = step.to(points_m.device)
        voxel = base.long() + step
        slot = blocks.find(voxel >> 3)
        local = voxel & (SIDE - 1)
        at = local[:, 0] * STRIDES[0] + local[:, 1] * STRIDES[1] + local[:, 2]
        index = slot.clamp(min=0) * VOXELS + at
        known = (slot >= 0) & (blocks.weight.view(-1)[index] >= min_weight)
        known &= blocks.weight.view(-1)[index] > 0
        here = torch.where(known, blocks.tsdf.view(-1)[index].double(), torch.nan)
        value += here * torch.where(step.bool(), fraction, 1 - fraction).prod(dim=1)
    return value


def _crossings(
    field: _Neighbourhood, axis: int, voxel_size_m: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return points, normals, colours and weights of the sign changes along one axis."""
    weight = torch.minimum(field.weight, field.ahead(field.weight, axis))
    here, there = field.tsdf, field.ahead(field.tsdf, axis)
    crossing = ((here > 0) != (there > 0)) & (weight >= field.min_weight) & (weight > 0)
    row, x, y, z = torch.nonzero(crossing, as_tuple=True)
    local = torch.stack((x, y, z), dim=1)
    first, second = here[crossing], there[crossing]
    # One of the two is positive, the other not: the difference is never zero.
    fraction = first / (first - second)
    end = local.clone()
    end[:, axis] += 1
    near = torch.where((fraction < 0.5)[:, None], local, end)
    gradient = torch.stack(
        [second - first if k == axis else field.slope(row, near, k) for k in range(3)], dim=1
    )
    length = gradient.norm(dim=1, keepdim=True)
    normals = gradient / length.where(length > 0, torch.nan)
    first_color, second_color = field.color(row, local), field.color(row, end)
    first_color = torch.where(first_color.isnan(), second_color, first_color)
    second_color = torch.where(second_color.isnan(), first_color, second_color)
    color = torch.lerp(first_color, second_color, fraction[:, None]).nan_to_num(_UNSEEN_GRAY)
    position = local.double()
    position[:, axis] += fraction.double()
    position += field.origins[row] + 0.5
    points = (position * voxel_size_m).float()
    return points, normals, color.round().to(torch.uint8), weight[crossing]


class _Neighbourhood:
    """The voxels of a chunk of blocks and of the 26 blocks around each of them.

    Attributes:
        tsdf, weight: (n, 8, 8, 8) float32 of the chunk's own voxels.
        origins: (n, 3) int64, map coordinates of each block's first voxel [voxel].
        min_weight: voxels with less weight count as unobserved.
    """

    def __init__(self, blocks: VoxelBlocks, slots: Tensor, min_weight: float) -> None:
        self._tsdf, self._weight = blocks.tsdf.view(-1), blocks.weight.view(-1)
        self._color = blocks.color.view(-1, 3)
        self.min_weight = min_weight
        shape = (len(slots), SIDE, SIDE, SIDE)
        self.tsdf, self.weight = blocks.tsdf[slots].view(shape), blocks.weight[slots].view(shape)
        self.origins = blocks.coordinates[slots] * SIDE
        steps = torch.arange(-1, 2, device=slots.device)
        around = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), dim=-1)
        coordinates = blocks.coordinates[slots][:, None] + around.view(1, 27, 3)
        self._slots = blocks.find(coordinates.view(-1, 3)).view(-1, 27)

    def ahead(self, own: Tensor, axis: int) -> Tensor:
        """Return `own` (tsdf or weight) one voxel ahead along an axis; 0 where no block is."""
        stored = self._tsdf if own is self.tsdf else self._weight
        dim = axis + 1
        result = torch.empty_like(own)
        result.narrow(dim, 0, SIDE - 1).copy_(own.narrow(dim, 1, SIDE - 1))
        following = self._slots[:, 13 + (9, 3, 1)[axis]]
        face = stored.view(-1, SIDE, SIDE, SIDE).select(dim, 0)[following.clamp(min=0)]
        result.select(dim, SIDE - 1).copy_(face * (following >= 0)[:, None, None])
        return result

    def _index(self, row: Tensor, local: Tensor) -> tuple[Tensor, Tensor]:
        """Return flat voxel indices and whether the block exists; local may be -8 .. 15."""
        block = (local >> 3) + 1
        slot = self._slots[row, block[:, 0] * 9 + block[:, 1] * 3 + block[:, 2]]
        inside = local & (SIDE - 1)
        at = inside[:, 0] * STRIDES[0] + inside[:, 1] * STRIDES[1] + inside[:, 2]
        return slot.clamp(min=0) * VOXELS + at, slot >= 0

    def _value(self, row: Tensor, local: Tensor) -> Tensor:
        index, exists = self._index(row, local)
        weight = self._weight[index]
        known = exists & (weight >= self.min_weight) & (weight > 0)
        return torch.where(known, self._tsdf[index], torch.nan)

    def slope(self, row: Tensor, local: Tensor, axis: int) -> Tensor:
        """Return the difference per voxel: central, else one-sided, else 0 (nothing known)."""
        step = torch.zeros(3, dtype=torch.int64, device=local.device)
        step[axis] = 1
        before, after = self._value(row, local - step), self._value(row, local + step)
        middle = self._value(row, local)
        central = (after - before) / 2
        one_sided = torch.where(after.isnan(), middle - before, after - middle)
        return torch.where(central.isnan(), one_sided, central).nan_to_num(0.0)

    def color(self, row: Tensor, local: Tensor) -> Tensor:
        """Return (N, 3) float32 RGB 0 to 255; NaN where unseen."""
        index, exists = self._index(row, local)
        color = self._color[index].float()
        return torch.where(exists[:, None], color, torch.nan)
