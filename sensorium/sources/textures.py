"""Procedural solid textures, evaluated at points in the coordinates of the textured object.

A solid texture needs no unwrapping and no image: it is a function of the point, so the same spot of
an object has the same colour from every view.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Color = tuple[float, float, float]

PATTERNS = ("plain", "checkered", "striped", "speckled", "wooden")
_NOISE_SIZE = 96
# The shortest wave of the noise is about this many samples long.
_SAMPLES_PER_SPECKLE = 16


@dataclass(frozen=True, slots=True)
class Texture:
    """The surface colour of one part.

    Attributes:
        pattern: one of PATTERNS.
        first: main colour, RGB 0 to 255.
        second: colour of the other squares, stripes, speckles or rings.
        scale_m: side of a square, width of a stripe, distance of rings, size of speckles [m].
        phase: shift of the pattern in units of `scale_m`.
        direction: unit vector across the stripes, or along the grain of wood.
    """

    pattern: str
    first: Color
    second: Color = (255.0, 255.0, 255.0)
    scale_m: float = 0.1
    phase: tuple[float, float, float] = (0.31, 0.17, 0.43)
    direction: tuple[float, float, float] = (1.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            raise ValueError(f"texture pattern is {self.pattern!r}; known are {PATTERNS}")
        if self.scale_m <= 0:
            raise ValueError(f"texture scale is {self.scale_m:g} m; it must be positive")


def albedo(texture: Texture, points_m: Float32) -> Float32:
    """Return the colour of `texture` at points.

    Args:
        texture: the texture.
        points_m: (N, 3) float32 in the coordinates of the object [m].

    Returns:
        (N, 3) or, for a plain texture, (1, 3) float32 RGB, 0 to 255.
    """
    first = np.array(texture.first, np.float32)
    if texture.pattern == "plain":
        return first[None]
    second = np.array(texture.second, np.float32)
    weight = _second_weight(texture, points_m)
    result: Float32 = first + weight[:, None] * (second - first)
    return result


def _second_weight(texture: Texture, points_m: Float32) -> Float32:
    cells = points_m * np.float32(1 / texture.scale_m) + np.array(texture.phase, np.float32)
    if texture.pattern == "checkered":
        parity = np.floor(cells).astype(np.int32).sum(axis=1) & 1
        return np.asarray(parity, np.float32)
    if texture.pattern == "striped":
        across = np.floor(cells @ np.array(texture.direction, np.float32))
        return np.asarray(across.astype(np.int32) & 1, np.float32)
    if texture.pattern == "speckled":
        speckles = _noise(cells * np.float32(_SAMPLES_PER_SPECKLE))
        return np.asarray(np.clip(speckles * 1.2 + 0.4, 0, 1), np.float32)
    along = cells @ np.array(texture.direction, np.float32)
    squared = np.einsum("ij,ij->i", cells, cells) - along * along
    rings = np.sqrt(np.maximum(squared, 0)) + 0.6 * _noise(cells * np.float32(6))
    return np.asarray(np.abs(2 * (rings - np.floor(rings)) - 1), np.float32)


def _noise(positions: Float32) -> Float32:
    """Return the noise volume at (N, 3) positions in samples, nearest and periodic."""
    index = np.floor(positions).astype(np.int32) % _NOISE_SIZE
    flat = (index[:, 0] * _NOISE_SIZE + index[:, 1]) * _NOISE_SIZE + index[:, 2]
    return _noise_volume().take(flat)


@lru_cache(maxsize=1)
def _noise_volume() -> Float32:
    """Return a periodic volume of band-limited noise (flattened), zero mean, deviation 1."""
    white = np.random.default_rng(20240501).standard_normal((_NOISE_SIZE,) * 3)
    frequency = np.fft.fftfreq(_NOISE_SIZE)
    radius = np.sqrt(
        frequency[:, None, None] ** 2
        + frequency[None, :, None] ** 2
        + np.fft.rfftfreq(_NOISE_SIZE)[None, None, :] ** 2
    )
    # No waves longer than the volume's half: they would tint whole objects.
    band = np.exp(-((radius * _SAMPLES_PER_SPECKLE / 1.1) ** 2)) * (radius > 2 / _NOISE_SIZE)
    volume = np.fft.irfftn(np.fft.rfftn(white) * band, s=white.shape, axes=(0, 1, 2))
    return np.asarray(volume / volume.std(), np.float32).ravel()
