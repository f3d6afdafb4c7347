"""How well holes in measured depth are filled, beside fillings that need no model."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from sensorium.geometry.completion import complete_depth, on_camera_image
from sensorium.geometry.evaluation_metrics import absolute_relative_error
from sensorium.geometry.evaluation_views import EvaluationGroup, EvaluationView
from sensorium.models.omnivggt import OmniVGGT
from sensorium.models.omnivggt.processor import OmniVGGTProcessor

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

HIDDEN_SHARE = 0.25
# Sides of the hidden blocks in an image 640 px wide.
LEAST_BLOCK_PX, LARGEST_BLOCK_PX = 32, 96

_INPAINTING_RADIUS_PX = 5.0


@dataclass(frozen=True)
class CompletionErrors:
    """AbsRel in metres, without any alignment; of the last view of a group.

    Attributes:
        filled: In the hidden blocks: as ``complete_depth`` fills them, with colour and model.
        without_model: There: the same with a flat model, so by colour alone.
        nearest: There: the nearest measured pixel.
        telea: There: cv2.inpaint, Telea's fast marching.
        navier_stokes: There: cv2.inpaint, Navier-Stokes.
        refined: Everywhere truth is known, nothing hidden: measured, and the model in the holes.
        refined_share: Share of the image that has depth then; ``measured_share``: before.
    """

    filled: float
    without_model: float
    nearest: float
    telea: float
    navier_stokes: float
    refined: float
    refined_share: float
    measured_share: float


def completion_errors(
    model: OmniVGGT,
    group: EvaluationGroup,
    processor: OmniVGGTProcessor,
    random: np.random.Generator,
) -> CompletionErrors:
    """Hides blocks of the measured depth of every view, fills them and compares with the truth.

    Blocks of 32 to 96 px (of an image 640 px wide) hide a quarter of each image. The model is given
    images and what is left of the depth, no cameras.
    """
    last = group.views[-1]
    hidden = [hidden_blocks(view.measured_depth_m.shape, random) for view in group.views]
    left = [
        np.where(mask, np.float32(np.nan), view.measured_depth_m)
        for view, mask in zip(group.views, hidden, strict=True)
    ]
    filled = refined_depth(model, group.views, left, processor)
    measured = [view.measured_depth_m for view in group.views]
    refined = refined_depth(model, group.views, measured, processor)
    scored = hidden[-1] & np.isfinite(last.true_depth_m)
    holes = ~np.isfinite(left[-1])
    flat = np.ones_like(left[-1])

    def error(depth_m: Float32, where: Bool) -> float:
        where = where & np.isfinite(depth_m)
        return absolute_relative_error(
            depth_m[where].astype(np.float64), last.true_depth_m[where].astype(np.float64)
        )

    return CompletionErrors(
        error(filled, scored),
        error(complete_depth(left[-1], flat, flat, last.color)[0], scored),
        error(nearest_filling(left[-1]), scored),
        error(inpainted(left[-1], holes, cv2.INPAINT_TELEA), scored),
        error(inpainted(left[-1], holes, cv2.INPAINT_NS), scored),
        error(refined, np.isfinite(last.true_depth_m)),
        float(np.isfinite(refined).mean()),
        float(np.isfinite(measured[-1]).mean()),
    )


def refined_depth(
    model: OmniVGGT,
    views: tuple[EvaluationView, ...],
    measured_depth_m: list[Float32],
    processor: OmniVGGTProcessor,
) -> Float32:
    """Refined depth (H, W) of the last view, all views seen together with their depth."""
    device = next(model.parameters()).device
    prepared = [
        processor(torch.from_numpy(view.color), torch.from_numpy(view.K), torch.from_numpy(depth))
        for view, depth in zip(views, measured_depth_m, strict=True)
    ]
    depth = torch.stack([view.depth_m for view in prepared if view.depth_m is not None])
    with torch.inference_mode():
        result = model(
            images=torch.stack([view.image for view in prepared]).to(device),
            depth=depth[..., None].to(device),
            output_views=[len(views) - 1],
            with_points=False,
        )
    box = prepared[-1].source_box
    size = measured_depth_m[-1].shape
    model_depth, confidence = (
        on_camera_image(values.float().cpu().numpy(), (size[0], size[1]), box)
        for values in (result["depth"][0, 0, ..., 0], result["depth_conf"][0, 0])
    )
    return complete_depth(measured_depth_m[-1], model_depth, confidence, views[-1].color)[0]


def hidden_blocks(shape: tuple[int, ...], random: np.random.Generator) -> Bool:
    """Draws blocks, partly outside of the image, until they hide ``HIDDEN_SHARE`` of it."""
    height, width = shape
    hidden = np.zeros((height, width), np.bool_)
    least = max(1, round(LEAST_BLOCK_PX * width / 640))
    largest = max(least + 1, round(LARGEST_BLOCK_PX * width / 640))
    while hidden.mean() < HIDDEN_SHARE:
        rows, columns = random.integers(least, largest + 1, 2)
        top, left = random.integers(1 - rows, height), random.integers(1 - columns, width)
        hidden[max(0, top) : top + rows, max(0, left) : left + columns] = True
    return hidden


def nearest_filling(depth_m: Float32) -> Float32:
    """Gives every pixel without depth that of the nearest pixel with depth."""
    holes = ~np.isfinite(depth_m)
    if holes.all():
        return depth_m
    _, labels = cv2.distanceTransformWithLabels(
        holes.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    # Every known pixel has a label of its own.
    value_of = np.zeros(int(labels.max()) + 1, np.float32)
    value_of[labels[~holes]] = depth_m[~holes]
    result: Float32 = value_of[labels]
    return result


def inpainted(depth_m: Float32, holes: Bool, method: int) -> Float32:
    """Fills holes with cv2.inpaint, on 16-bit integers over the range of the depth.

    On float images OpenCV's Telea gives values far off; on 16 bits it works, with steps below a
    millimetre.
    """
    if holes.all():
        return depth_m
    unit_m = float(depth_m[~holes].max()) / 65535
    known = np.where(holes, 0, np.nan_to_num(depth_m) / unit_m).round().astype(np.uint16)
    filled = cv2.inpaint(known, holes.astype(np.uint8), _INPAINTING_RADIUS_PX, method)
    result: Float32 = filled.astype(np.float32) * np.float32(unit_m)
    return result
