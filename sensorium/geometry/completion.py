"""Depth completion: the sensor's depth where it has one, elsewhere the model's, fitted to it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

# Fewer measurements than this say too little about the scale of the model's depth.
LEAST_MEASURED_PX = 16

# A measurement is dropped when it differs by this factor from its neighbours and from the model.
_OUTLIER_LOG = float(np.log(1.25))
# A thin wire has two neighbours like itself, the corner of a thing three.
_LEAST_ALIKE = 2
# A ratio further than this from the image's median is an edge that the model puts elsewhere.
_RATIO_LOG = float(np.log(2.0))
_SMOOTHING_PX = 5
_COARSEST_PX = 4
_SWEEPS = 8


def complete_depth(
    measured_depth_m: Float32, model_depth: Float32, model_confidence: Float32
) -> tuple[Float32, Bool]:
    """Fills the holes of measured depth with a model's depth.

    The ratio of both is known where there is a measurement and is continued smoothly over the
    holes (as a membrane: harmonic), so that what is filled meets its borders whatever the unit and
    the slow drift of the model's depth. The ratio is model over measured: where the model is flat
    this continues planes exactly, because inverse depth is linear in the image on a plane.

    A measurement is kept as it is, unless it is an outlier: it differs by more than 25 % from the
    fitted model and from all but at most one of its neighbours; then it is replaced like a hole.

    Args:
        measured_depth_m: (H, W) float32 z-depth [m]; NaN, infinite, zero or negative: invalid.
        model_depth: (H, W) z-depth of a model on the same pixels, in any unit; NaN, infinite, zero
            or negative: the model says nothing.
        model_confidence: (H, W), at least 0; relative weight of the model's depth against that of
            its neighbours when both are compared with measurements. NaN counts as 0.

    Returns:
        depth_m (H, W) float32 [m] and is_filled (H, W) bool, true where the depth is the model's.
        NaN where there is neither a measurement nor a model. With fewer than
        ``LEAST_MEASURED_PX`` pixels that have both, the model's unit stays unknown: nothing is
        filled.

    Raises:
        ValueError: the arrays differ in shape or are no images.
    """
    _check(measured_depth_m, model_depth, model_confidence)
    measured, is_measured = _cleaned(measured_depth_m)
    model, is_modelled = _cleaned(model_depth)
    both = is_measured & is_modelled
    depth: Float32 = np.where(is_measured, measured, np.float32(np.nan))
    nothing: Bool = np.zeros(measured.shape, np.bool_)
    if both.sum() < LEAST_MEASURED_PX:
        return depth, nothing
    confidence = np.nan_to_num(np.asarray(model_confidence, np.float32), nan=0.0, posinf=1e6)
    ratio = np.where(both, model / np.where(both, measured, 1), 1).astype(np.float32)
    typical = float(np.median(ratio[both]))
    log_ratio = np.abs(np.log(np.where(both, ratio / typical, 1)))
    weight = np.where(both & (log_ratio < _RATIO_LOG), confidence + np.float32(1e-3), 0)
    if not weight.any():
        return depth, nothing
    fitted = model / continued(ratio, weight.astype(np.float32))
    outlier = both & (np.abs(np.log(np.where(both, fitted / depth, 1))) > _OUTLIER_LOG)
    outlier = _stands_alone(measured, outlier)
    is_filled: Bool = is_modelled & (~is_measured | outlier)
    depth[is_filled] = fitted[is_filled]
    return depth, is_filled


def on_camera_image(
    values: Float32, image_size: tuple[int, int], box: tuple[int, int, int, int]
) -> Float32:
    """Enlarges a map of the model to the pixels of the camera image.

    Args:
        values: (h, w) float32, finite.
        image_size: (H, W) of the camera image.
        box: (left, top, width, height) of the part of the camera image that the map shows
            (``PreparedView.source_box``).

    Returns:
        (H, W) float32, linear between the map's pixels; NaN outside of the box.
    """
    left, top, width, height = box
    result = np.full(image_size, np.nan, np.float32)
    result[top : top + height, left : left + width] = cv2.resize(
        np.asarray(values, np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    return result


def continued(values: Float32, weight: Float32) -> Float32:
    """Continues an image smoothly from where it is known (weight above 0) to where it is not.

    Known pixels are averaged over a few pixels first, which takes off noise. Coarse to fine; on
    every level the unknown pixels are relaxed towards the mean of their four neighbours.

    Args:
        values: (H, W) float32, finite.
        weight: (H, W) float32, at least 0 and somewhere above 0.

    Returns:
        (H, W) float32, finite everywhere.
    """
    kernel = (_SMOOTHING_PX, _SMOOTHING_PX)
    total = cv2.GaussianBlur(weight, kernel, 0, borderType=cv2.BORDER_REFLECT)
    smooth = cv2.GaussianBlur(values * weight, kernel, 0, borderType=cv2.BORDER_REFLECT)
    known = weight > 0
    smooth = np.where(known, smooth / np.maximum(total, 1e-12), 0).astype(np.float32)
    return _filled(smooth, known)


def _filled(values: Float32, known: Bool) -> Float32:
    height, width = values.shape
    if known.all():
        return values
    if min(height, width) <= _COARSEST_PX:
        result = np.where(known, values, values[known].mean() if known.any() else 1)
        return _relaxed(result.astype(np.float32), known, 4 * _SWEEPS)
    size = ((width + 1) // 2, (height + 1) // 2)
    share = cv2.resize(known.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(np.where(known, values, 0), size, interpolation=cv2.INTER_AREA)
    coarse_known = share > 0
    coarse = np.where(coarse_known, total / np.maximum(share, 1e-6), 0).astype(np.float32)
    guess = cv2.resize(_filled(coarse, coarse_known), (width, height))
    return _relaxed(np.where(known, values, guess).astype(np.float32), known, _SWEEPS)


def _relaxed(values: Float32, known: Bool, sweeps: int) -> Float32:
    kernel = np.array(((0, 1, 0), (1, 0, 1), (0, 1, 0)), np.float32) / 4
    for _ in range(sweeps):
        around = cv2.filter2D(values, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        values = np.where(known, values, around)
    return values


def _stands_alone(measured: Float32, candidates: Bool) -> Bool:
    """True for candidates that fewer than two of their eight neighbours agree with."""
    rows, columns = np.nonzero(candidates)
    padded = np.pad(measured, 1)
    own = measured[rows, columns]
    alike = np.zeros(len(rows), np.int64)
    for down in range(3):
        for right in range(3):
            other = padded[rows + down, columns + right]
            alike += np.abs(np.log(np.maximum(other, 1e-6) / own)) < _OUTLIER_LOG
    result = np.zeros_like(candidates)
    # Each agrees with itself.
    result[rows, columns] = alike - 1 < _LEAST_ALIKE
    return result


def _cleaned(depth: Float32) -> tuple[Float32, Bool]:
    """Depth with 0 where it is invalid, and where it is valid."""
    depth = np.asarray(depth, np.float32)
    valid: Bool = (depth > 0) & (depth < np.inf)
    return np.where(valid, depth, np.float32(0)), valid


def _check(measured: Float32, model: Float32, confidence: Float32) -> None:
    shapes = {"measured_depth_m": measured, "model_depth": model, "model_confidence": confidence}
    if measured.ndim != 2 or 0 in measured.shape:
        raise ValueError(
            f"measured_depth_m has shape {measured.shape}; the rule is an image (H, W), one depth "
            "per pixel"
        )
    for name, array in shapes.items():
        if array.shape != measured.shape:
            raise ValueError(
                f"{name} has shape {array.shape} and measured_depth_m {measured.shape}; the rule "
                "is one pixel grid: resize the model's maps to the camera image first"
            )
