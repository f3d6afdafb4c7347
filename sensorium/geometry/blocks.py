"""Sparse storage of voxel blocks with a bounded count, on the CPU or a CUDA device.

A block is a cube of 8 x 8 x 8 voxels. Blocks lie densely in a few large tensors (one row per block,
the row number is the *slot*) and are found by their integer coordinates, packed into one 63-bit
key, in a sorted list of keys: one `searchsorted` finds many blocks at once on every device, where a
hash table with probing would need a kernel of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

SIDE = 8
VOXELS = SIDE**3
# Voxel (x, y, z) of a block is row x * 64 + y * 8 + z of its storage.
STRIDES = (SIDE * SIDE, SIDE, 1)

_BITS = 21
# Block coordinates from -COORDINATE_LIMIT to COORDINATE_LIMIT - 1 can be packed.
COORDINATE_LIMIT = 1 << (_BITS - 1)
_FIRST_CAPACITY = 1024


class VoxelBlocks:
    """Voxel blocks by coordinate; the least recently seen ones give way when the bound is reached.

    Attributes:
        tsdf: (capacity, 512) float32, truncated signed distance divided by the truncation, -1 to 1,
            positive in front of the surface.
        weight: (capacity, 512) float32, accumulated weight; 0 is unobserved.
        color: (capacity, 512, 3) float16 RGB 0 to 255; NaN where no colour was seen.
        coordinates: (capacity, 3) int64 block coordinates.
        last_seen: (capacity,) int64, number of the frame that saw the block last.
        count: blocks in use; they are the slots 0 .. count - 1.
        evicted: blocks that gave way to newer ones since the last reset.
        dropped: blocks that found no place, because one frame alone needed more than the bound.
    """

    def __init__(self, max_blocks: int, device: torch.device) -> None:
        """Make an empty store of at most `max_blocks` blocks; memory grows with use."""
        self.max_blocks = max_blocks
        self.device = device
        self.reset()

    def reset(self) -> None:
        """Forget every block and counter and free the memory."""
        self.count = 0
        self.evicted = 0
        self.dropped = 0
        self._make_storage(min(_FIRST_CAPACITY, self.max_blocks))
        self._rebuild_index()

    def _make_storage(self, capacity: int) -> None:
        device = self.device
        self.tsdf = torch.zeros((capacity, VOXELS), device=device)
        self.weight = torch.zeros((capacity, VOXELS), device=device)
        self.color = torch.full(
            (capacity, VOXELS, 3), torch.nan, dtype=torch.float16, device=device
        )
        self.coordinates = torch.zeros((capacity, 3), dtype=torch.int64, device=device)
        self.last_seen = torch.zeros(capacity, dtype=torch.int64, device=device)

    @property
    def capacity(self) -> int:
        """Blocks for which memory is held now."""
        return int(self.tsdf.shape[0])

    @property
    def memory_bytes(self) -> int:
        """Memory of the storage and the index [byte]."""
        tensors = (
            self.tsdf, self.weight, self.color, self.coordinates, self.last_seen,
            self._sorted_keys, self._sorted_slots,
        )  # fmt: skip
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def find(self, coordinates: Tensor) -> Tensor:
        """Return the slots (N,) int64 of blocks at (N, 3) int64 coordinates; -1 where absent."""
        keys = pack(coordinates)
        if self.count == 0:
            return torch.full_like(keys, -1)
        position = torch.searchsorted(self._sorted_keys, keys).clamp_(max=self.count - 1)
        slots = self._sorted_slots[position]
        slots[self._sorted_keys[position] != keys] = -1
        return slots

    def allocate(self, coordinates: Tensor, frame_number: int) -> Tensor:
        """Make sure that blocks exist and mark them as seen by a frame.

        Args:
            coordinates: (N, 3) int64, without duplicates.
            frame_number: grows by one per frame; blocks seen by this frame are never evicted by it.

        Returns:
            Slots (M,) int64 of the blocks, M < N only where `dropped` counted the rest.
        """
        slots = self.find(coordinates)
        self.last_seen[slots[slots >= 0]] = frame_number
        new = coordinates[slots < 0]
        if len(new) == 0:
            return slots
        fresh = self._make_room(len(new), frame_number)
        self.dropped += len(new) - len(fresh)
        self.tsdf[fresh] = 0
        self.weight[fresh] = 0
        self.color[fresh] = torch.nan
        self.coordinates[fresh] = new[: len(fresh)]
        self.last_seen[fresh] = frame_number
        self._rebuild_index()
        return torch.cat((slots[slots >= 0], fresh))

    def _make_room(self, wanted: int, frame_number: int) -> Tensor:
        """Return at most `wanted` slots for new blocks: unused ones first, then evicted ones."""
        target = min(self.count + wanted, self.max_blocks)
        if target > self.capacity:
            self._grow(min(max(target, 2 * self.capacity), self.max_blocks))
        unused = torch.arange(self.count, target, device=self.device)
        short = wanted - len(unused)
        seen = self.last_seen[: self.count]
        self.count = target
        if short == 0:
            return unused
        oldest = torch.argsort(seen, stable=True)[:short]
        oldest = oldest[seen[oldest] < frame_number]
        self.evicted += len(oldest)
        return torch.cat((unused, oldest))

    def _grow(self, capacity: int) -> None:
        old = (self.tsdf, self.weight, self.color, self.coordinates, self.last_seen)
        self._make_storage(capacity)
        new = (self.tsdf, self.weight, self.color, self.coordinates, self.last_seen)
        for source, destination in zip(old, new, strict=True):
            destination[: self.count] = source[: self.count]

    def _rebuild_index(self) -> None:
        keys = pack(self.coordinates[: self.count])
        self._sorted_keys, self._sorted_slots = torch.sort(keys)


def pack(coordinates: Tensor) -> Tensor:
    """Return keys (N,) int64 of block coordinates (N, 3) within +-COORDINATE_LIMIT."""
    shifted = coordinates + COORDINATE_LIMIT
    return (shifted[:, 0] << (2 * _BITS)) | (shifted[:, 1] << _BITS) | shifted[:, 2]


def unpack(keys: Tensor) -> Tensor:
    """Return block coordinates (N, 3) int64 of keys (N,): the inverse of :func:`pack`."""
    mask = (1 << _BITS) - 1
    parts = (keys >> (2 * _BITS), (keys >> _BITS) & mask, keys & mask)
    return torch.stack(parts, dim=1) - COORDINATE_LIMIT
