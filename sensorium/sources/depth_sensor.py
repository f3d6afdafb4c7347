"""Makes exact depth look like that of a structured-light or stereo camera: noise and holes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sensorium.configuration import parameter

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class DepthSensorOptions:
    """How a real sensor spoils depth; all off by default."""

    noise: float = parameter(
        0.0, "depth noise relative to a Kinect: 1 is 1.2 mm at 0.4 m and 14 mm at 3 m",
        minimum=0.0, maximum=10.0,
    )  # fmt: skip
    holes: float = parameter(
        0.0, "share of the pixels lost in random patches", minimum=0.0, maximum=0.9
    )
    edge_px: int = parameter(
        0, "width of the band without depth at the far side of depth edges [px]",
        minimum=0, maximum=20,
    )  # fmt: skip
    grazing_deg: float = parameter(
        90.0, "surfaces seen at a larger angle from their normal have no depth [deg]",
        minimum=30.0, maximum=90.0,
    )  # fmt: skip
    minimum_m: float = parameter(0.0, "nearer depth is invalid [m]", minimum=0.0)
    maximum_m: float = parameter(100.0, "farther depth is invalid [m]", minimum=0.1)


def measured_depth(
    depth_m: Float32,
    incidence: Float32 | None,
    options: DepthSensorOptions,
    random: np.random.Generator,
) -> Float32:
    """Return what a sensor would measure.

    The axial noise grows with the square of the distance (Nguyen, Izadi, Lovell: Modeling Kinect
    Sensor Noise, 3DIMPVT 2012, eq. 4: 1.2 mm + 1.9 mm/m^2 (z - 0.4 m)^2).

    Args:
        depth_m: (H, W) float32 exact depth [m], NaN where nothing is.
        incidence: (H, W) cosine between ray and surface normal; needed below 90 degrees only.
        options: what to do to it.
        random: source of chance; the same state gives the same measurement.

    Returns:
        (H, W) float32 [m], NaN where invalid.
    """
    result = depth_m.copy()
    if options.noise > 0:
        sigma = 0.0012 + 0.0019 * np.square(depth_m - np.float32(0.4))
        result += options.noise * sigma * random.standard_normal(depth_m.shape, dtype=np.float32)
    invalid = ~((result >= options.minimum_m) & (result <= options.maximum_m))
    if options.grazing_deg < 90 and incidence is not None:
        invalid |= incidence < np.cos(np.radians(options.grazing_deg))
    if options.edge_px > 0:
        invalid |= _beyond_edges(depth_m, options.edge_px)
    if options.holes > 0:
        invalid |= _patches(depth_m.shape, options.holes, random)
    result[invalid] = np.nan
    return result


def _beyond_edges(depth_m: Float32, width_px: int) -> NDArray[np.bool_]:
    """Return the pixels within `width_px` of something clearly nearer (5 % and 3 cm)."""
    near = np.nan_to_num(depth_m, nan=1e6)
    # A separable minimum filter: the nearest depth around each pixel.
    size = 2 * width_px + 1
    nearest = cv2.erode(near, np.ones((size, size), np.uint8))
    result: NDArray[np.bool_] = near - nearest > np.maximum(0.05 * nearest, 0.03)
    return result


def _patches(
    shape: tuple[int, ...], share: float, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Return smooth random patches that cover `share` of the image."""
    coarse = random.standard_normal((shape[0] // 24 + 3, shape[1] // 24 + 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    result: NDArray[np.bool_] = smooth < np.quantile(smooth, share)
    return result
