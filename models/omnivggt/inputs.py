"""Refusal of model inputs that would give wrong numbers, each with its rule and remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sensorium.models.omnivggt.configuration import OmniVGGTConfig


class CheckedInputs(NamedTuple):
    """Inputs that keep the rules, batched, and None where the model is not to read them."""

    images: Tensor
    extrinsics: Tensor | None
    intrinsics: Tensor | None
    camera_views: tuple[int, ...]
    depth: Tensor | None
    mask: Tensor | None
    depth_views: tuple[int, ...]
    output_views: tuple[int, ...] | None


def check_inputs(
    config: OmniVGGTConfig,
    images: Tensor,
    *,
    extrinsics: Tensor | None,
    intrinsics: Tensor | None,
    depth: Tensor | None,
    mask: Tensor | None,
    depth_views: Sequence[int] | None,
    camera_views: Sequence[int] | None,
    output_views: Sequence[int] | None,
) -> CheckedInputs:
    """Checks everything a call is given; see ``OmniVGGT.forward`` for the arguments.

    Returns:
        The inputs with a batch dimension.

    Raises:
        ValueError: An input breaks a rule; the text names it, its value, the rule and the remedy.
    """
    images = _check_images(images, config.patch_size)
    views = images.shape[1]
    if camera_views is None:
        camera_views = range(views) if extrinsics is not None else ()
    if depth_views is None:
        depth_views = range(views) if depth is not None else ()
    cameras = _check_views("camera_views", camera_views, views)
    depths = _check_views("depth_views", depth_views, views)
    outputs = None
    if output_views is not None:
        outputs = _check_views("output_views", output_views, views)
        if not outputs:
            raise ValueError(
                "output_views is empty; depth is predicted for at least one view: list the views "
                "wanted, or give None for all"
            )
    if cameras:
        extrinsics, intrinsics = _check_cameras(images, extrinsics, intrinsics, cameras)
    else:
        extrinsics = intrinsics = None
    if depths:
        depth, mask = _check_depth(images, depth, mask, depths)
    else:
        depth = mask = None
    return CheckedInputs(images, extrinsics, intrinsics, cameras, depth, mask, depths, outputs)


def _check_images(images: Tensor, patch_size: int) -> Tensor:
    if images.ndim == 4:
        images = images[None]
    if images.ndim != 5 or images.shape[2] != 3 or 0 in images.shape:
        raise ValueError(
            f"images have shape {tuple(images.shape)}; the rule is (B, S, 3, H, W) or (S, 3, H, W) "
            "with at least one view: stack the views and put the three RGB channels before H and W"
        )
    if not images.is_floating_point():
        raise ValueError(
            f"images have dtype {images.dtype}; the rule is floating point RGB in [0, 1]: convert "
            "and divide by 255"
        )
    height, width = images.shape[-2:]
    if height % patch_size or width % patch_size:
        raise ValueError(
            f"images are {height}x{width} (HxW); both sides must be multiples of {patch_size}: "
            "resize them with OmniVGGTProcessor"
        )
    if images.is_meta:
        return images
    largest = float(images.detach().abs().amax())
    if not largest <= _LARGEST_INTENSITY:
        raise ValueError(
            f"images hold intensities up to {largest}; the rule is finite RGB in [0, 1]: divide "
            "8-bit values by 255 and replace NaN"
        )
    return images


# Well above what resampling overshoots, well below 8-bit values.
_LARGEST_INTENSITY = 16.0


def _check_views(name: str, listed: Sequence[int], views: int) -> tuple[int, ...]:
    result = tuple(int(view) for view in listed)
    if len(set(result)) != len(result) or any(not 0 <= view < views for view in result):
        raise ValueError(
            f"{name}={list(result)} must name each view at most once, by an index in "
            f"0..{views - 1} (there are {views} views)"
        )
    return result


def _check_cameras(
    images: Tensor,
    extrinsics: Tensor | None,
    intrinsics: Tensor | None,
    views: tuple[int, ...],
) -> tuple[Tensor, Tensor]:
    if extrinsics is None or intrinsics is None:
        missing = "extrinsics" if extrinsics is None else "intrinsics"
        raise ValueError(
            f"camera_views={list(views)} but {missing} is None; a known camera needs both: give "
            f"{missing}, or drop the cameras with camera_views=[]"
        )
    batch, count = images.shape[:2]
    extrinsics = _batched(extrinsics, 4)
    if extrinsics.shape == (batch, count, 4, 4):
        raise ValueError(
            f"extrinsics have shape {tuple(extrinsics.shape)}; the rule is (B, S, 3, 4) camera "
            "from world: pass extrinsics[..., :3, :]"
        )
    intrinsics = _batched(intrinsics, 4)
    _check_shape("extrinsics", extrinsics, (batch, count, 3, 4), "camera from world")
    _check_shape("intrinsics", intrinsics, (batch, count, 3, 3), "pixels of the images")
    if images.is_meta:
        return extrinsics, intrinsics
    rows = list(views)
    if not bool(extrinsics[:, rows].isfinite().all()):
        raise ValueError(
            f"extrinsics hold NaN or infinity in views {rows}; they would spread to every output: "
            "list only views whose pose is known in camera_views"
        )
    focal = torch.stack([intrinsics[:, rows, 0, 0], intrinsics[:, rows, 1, 1]])
    if not bool(((focal > 0) & focal.isfinite()).all()):
        raise ValueError(
            f"intrinsics hold focal lengths from {float(focal.min())} to {float(focal.max())} px "
            f"in views {rows}; fx and fy must be positive and finite: pass the calibration, or "
            "list only views that have one in camera_views"
        )
    return extrinsics, intrinsics


def _check_depth(
    images: Tensor, depth: Tensor | None, mask: Tensor | None, views: tuple[int, ...]
) -> tuple[Tensor, Tensor | None]:
    if depth is None:
        raise ValueError(
            f"depth_views={list(views)} but depth is None; give depth, or depth_views=[]"
        )
    batch, count, _, height, width = images.shape
    depth = _batched(depth, 5)
    _check_shape("depth", depth, (batch, count, height, width, 1), "z-depth of the images' size")
    if not depth.is_floating_point():
        raise ValueError(
            f"depth has dtype {depth.dtype}; the rule is floating point: convert it, any unit does"
        )
    if mask is not None:
        mask = _batched(mask, 4)
        _check_shape("mask", mask, (batch, count, height, width), "valid where positive")
    if images.is_meta:
        return depth, mask
    rows = list(views)
    broken = int((~depth[:, rows].isfinite()).sum())
    if broken:
        raise ValueError(
            f"depth holds {broken} NaN or infinite pixels in views {rows}; even where the mask is "
            "0 they would spread to every output of every view: set them to 0 and the mask to 0 "
            "(OmniVGGTProcessor does)"
        )
    if mask is not None and not bool(mask[:, rows].isfinite().all()):
        raise ValueError("mask holds NaN or infinity; the rule is 1 for valid and 0 for invalid")
    return depth, mask


def _batched(x: Tensor, ndim: int) -> Tensor:
    return x[None] if x.ndim == ndim - 1 else x


def _check_shape(name: str, x: Tensor, shape: tuple[int, ...], meaning: str) -> None:
    if tuple(x.shape) != shape:
        raise ValueError(
            f"{name} has shape {tuple(x.shape)}; with these images the rule is {shape} ({meaning}):"
            " give one entry per view, also for views without (their values are not read)"
        )
