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
_SMOOTHING_PX = 5
_COARSEST_PX = 4
_SWEEPS = 8
# Detail is what a box of this share of the width averages away: about the size of a hole.
_DETAIL_SHARE = 0.1
# The colour guide works on images of these widths; colours this far apart (of 1) part surfaces.
_GUIDED_WIDTHS_PX = (40, 80, 160)
_GUIDED_SWEEPS = 40
_COLOR_STEP = 0.08


def complete_depth(
    measured_depth_m: Float32,
    model_depth: Float32,
    model_confidence: Float32,
    color: NDArray[np.uint8] | None = None,
) -> tuple[Float32, Bool]:
    """Fills the holes of measured depth, with as much of a model's depth as measurements confirm.

    Two continuations of the measured depth into the holes are blended. One needs no model: inverse
    depth as a membrane over the hole (harmonic), which continues planes exactly, because inverse
    depth is linear in the image on a plane; with ``color`` the membrane tears where colours change.
    The other adds the model's own shape inside of the hole to it, fitted to the borders, whatever
    the unit and the slow drift of the model's depth. The share of the model is the slope times the
    squared correlation of its detail with that of the measurements, where there are any: a perfect
    model decides alone, a useless one has no say.

    A measurement is kept as it is, unless it is an outlier: it differs by more than 25 % from its
    surroundings, from the model and from all but at most one of its neighbours; then it is
    replaced like a hole.

    Args:
        measured_depth_m: (H, W) float32 z-depth [m]; NaN, infinite, zero or negative: invalid.
        model_depth: (H, W) z-depth of a model on the same pixels, in any unit; NaN, infinite, zero
            or negative: the model says nothing.
        model_confidence: (H, W), at least 0; relative weight of each pixel when the model's detail
            is compared with that of the measurements. NaN counts as 0.
        color: (H, W, 3) uint8 RGB on the same pixels, or None.

    Returns:
        depth_m (H, W) float32 [m] and is_filled (H, W) bool, true where the depth is not measured.
        NaN where there is neither a measurement nor a model. With fewer than
        ``LEAST_MEASURED_PX`` pixels that have both, the model's unit stays unknown: nothing is
        filled.

    Raises:
        ValueError: the arrays differ in shape or are no images.
    """
    _check(measured_depth_m, model_depth, model_confidence, color)
    measured, is_measured = _cleaned(measured_depth_m)
    model, is_modelled = _cleaned(model_depth)
    depth: Float32 = np.where(is_measured, measured, np.float32(np.nan))
    both = is_measured & is_modelled
    if both.sum() < LEAST_MEASURED_PX:
        return depth, np.zeros(depth.shape, np.bool_)
    log_model = np.log(np.where(is_modelled, model, 1)).astype(np.float32)
    log_measured = np.log(np.where(is_measured, measured, 1)).astype(np.float32)
    outlier = _outliers(measured, is_measured, log_measured - log_model, both)
    is_filled: Bool = is_modelled & (~is_measured | outlier)
    if not is_filled.any():
        return depth, is_filled
    known = both & ~outlier
    confidence = np.nan_to_num(np.asarray(model_confidence, np.float32), nan=0.0, posinf=1e6)
    share = _confirmed(log_model, log_measured, known, confidence)
    weight = known.astype(np.float32)
    inverse = continued(
        np.where(known, 1 / np.where(known, measured, 1), 0).astype(np.float32), weight
    )
    if color is not None and share < 1:
        inverse += np.float32(1 - share) * _torn_at_colors(inverse, known, color)
    if share > 0:
        around = continued(np.where(known, np.exp(-log_model), 0).astype(np.float32), weight)
        inverse *= np.exp(-np.float32(share) * (log_model + np.log(around)))
    depth[is_filled] = 1 / inverse[is_filled]
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


def _confirmed(
    log_model: Float32, log_measured: Float32, known: Bool, confidence: Float32
) -> float:
    """Share of the model's detail that measurements confirm: slope times squared correlation."""
    side = 2 * (round(_DETAIL_SHARE * known.shape[1]) // 2) + 1
    weight = known.astype(np.float32)
    total = np.maximum(cv2.blur(weight, (side, side)), 1e-6)
    model, measured = (
        (values - cv2.blur(values * weight, (side, side)) / total)[known].astype(np.float64)
        for values in (log_model, log_measured)
    )
    weights = confidence[known].astype(np.float64) + 1e-3
    common = float((weights * model * measured).sum())
    own, true = float((weights * model**2).sum()), float((weights * measured**2).sum())
    # Below a thousandth there is no detail to compare.
    if common <= 0 or min(own, true) < 1e-6 * weights.sum():
        return 0.0
    return min(1.0, common / own) * min(1.0, common**2 / (own * true))


def _torn_at_colors(inverse: Float32, known: Bool, color: NDArray[np.uint8]) -> Float32:
    """What changes when the membrane hardly conducts where colours change; 0 where known."""
    height, width = inverse.shape
    change = np.zeros_like(inverse)
    for level_width in _GUIDED_WIDTHS_PX:
        size = (min(width, level_width), max(1, height * min(width, level_width) // width))
        small, held = (
            cv2.resize(values, size, interpolation=cv2.INTER_AREA)
            for values in (inverse, known.astype(np.float32))
        )
        guide = cv2.resize(color, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        start = small + cv2.resize(change, size, interpolation=cv2.INTER_LINEAR)
        change = _torn(np.where(held > 0.5, small, start), held > 0.5, guide) - small
    change = cv2.resize(change, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(known, np.float32(0), change)


def _torn(values: Float32, held: Bool, guide: Float32) -> Float32:
    """Relaxes what is not held towards its neighbours of like colour."""
    across, down = (
        np.exp(-np.square(np.diff(guide, axis=axis)).sum(axis=2) / (2 * _COLOR_STEP**2)) + 1e-3
        for axis in (1, 0)
    )
    total = np.zeros_like(values)
    for flow, view in ((across, total), (down.T, total.T)):
        view[:, 1:] += flow
        view[:, :-1] += flow
    torn = values
    for _ in range(_GUIDED_SWEEPS):
        around = np.zeros_like(values)
        for flow, view, now in ((across, around, torn), (down.T, around.T, torn.T)):
            view[:, 1:] += flow * now[:, :-1]
            view[:, :-1] += flow * now[:, 1:]
        torn = np.where(held, values, around / total)
    return torn


def _outliers(measured: Float32, is_measured: Bool, log_ratio: Float32, both: Bool) -> Bool:
    """Lone measurements that neither their surroundings nor the model agree with."""
    side = (2 * _SMOOTHING_PX + 1,) * 2
    parts = ((measured, is_measured), (log_ratio, both))
    mean, mean_ratio = (
        cv2.blur(values * where, side) / np.maximum(cv2.blur(where.astype(np.float32), side), 1e-6)
        for values, where in parts
    )
    odd = both & (np.abs(log_ratio - mean_ratio) > _OUTLIER_LOG)
    odd &= np.abs(np.log(np.where(odd, measured / np.maximum(mean, 1e-6), 1))) > _OUTLIER_LOG
    return _stands_alone(measured, odd)


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


def _check(
    measured: Float32, model: Float32, confidence: Float32, color: NDArray[np.uint8] | None
) -> None:
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
    if color is not None and (color.shape != (*measured.shape, 3) or color.dtype != np.uint8):
        raise ValueError(
            f"color is {color.dtype} {color.shape}; the rule is uint8 {(*measured.shape, 3)}, the "
            "pixels of measured_depth_m"
        )
