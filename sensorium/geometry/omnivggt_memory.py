"""How much memory an OmniVGGT window takes before it is taken, and what happens when it is gone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sensorium.models.omnivggt import OmniVGGT, OmniVGGTConfig

# Tensors of one window's size that are alive at once, beside the layers kept: tokens before and
# after a block, queries, keys and values by view and joined, attention by head and merged.
_LIVE_TOKEN_TENSORS = 12
# Allocators, convolution workspaces and GEMM buffers, as a fraction of the activations.
_OVERHEAD = 0.3


class GeometryMemoryError(RuntimeError):
    """The device ran out of memory; the window has been emptied, the model is still there."""


def weight_bytes(model: OmniVGGT) -> int:
    """Bytes of all parameters."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


def activation_bytes(
    config: OmniVGGTConfig,
    image_size: tuple[int, int],
    *,
    views: int,
    dense_views: int,
    with_points: bool,
    views_per_chunk: int = 1,
) -> int:
    """Estimates the peak beyond the weights for one window in float32.

    Args:
        config: Dimensions of the model.
        image_size: (H, W) in pixels.
        views: Views in the window, all with image tokens kept.
        dense_views: Views whose depth is predicted.
        with_points: Whether points are predicted too.
        views_per_chunk: Views that go through a dense head at once (1 on a CPU, 8 on a GPU).

    Returns:
        Bytes. Larger than what was measured on a CPU (benchmarks/geometry_model.py).
    """
    height, width = image_size
    patches = (height // config.patch_size) * (width // config.patch_size)
    token_row = 4 * config.embed_dim
    window = views * (patches + config.patch_start) * token_row
    kept_layers = 2 * len({*config.dpt_layers, config.depth - 1})
    kept = views * patches * token_row + kept_layers * window
    hidden = 2 * int(config.mlp_ratio) * (patches + config.patch_start) * token_row
    attention = _LIVE_TOKEN_TENSORS * window + hidden
    # The finest maps of a dense head: fused at eight times the patch grid, then at image size.
    fused = 64 * patches * (2 * config.dpt_features + config.dpt_features // 2)
    full = height * width * (config.dpt_features + 2 * 32)
    chunk = min(views_per_chunk, max(1, dense_views))
    heads = 4 * chunk * max(fused, full)
    outputs = 4 * dense_views * height * width * (2 + (4 if with_points else 0)) * 2
    return int((kept + max(attention, heads) + outputs) * (1 + _OVERHEAD))


def check_budget(
    model: OmniVGGT,
    image_size: tuple[int, int],
    *,
    views: int,
    dense_views: int,
    with_points: bool,
    budget_bytes: int,
) -> int:
    """Returns the bytes that weights and one window take, if the budget allows.

    Args:
        model: The model on its device.
        image_size: (H, W) in pixels.
        views: Views in the window.
        dense_views: Views whose depth is predicted.
        with_points: Whether points are predicted too.
        budget_bytes: The most that may be taken; 0 for no limit.

    Raises:
        ValueError: It would take more; the text says how many views would fit.
    """
    on_cpu = next(model.parameters()).device == torch.device("cpu")

    def needed(count: int) -> int:
        return weight_bytes(model) + activation_bytes(
            model.config,
            image_size,
            views=count,
            dense_views=min(dense_views, count),
            with_points=with_points,
            views_per_chunk=1 if on_cpu else 8,
        )

    if budget_bytes == 0 or needed(views) <= budget_bytes:
        return needed(views)
    fitting = max((count for count in range(1, views) if needed(count) <= budget_bytes), default=0)
    remedy = (
        f"lower the capacity to {fitting} or the image size"
        if fitting
        else "no capacity fits: use a smaller image or model, or raise the budget"
    )
    mebibyte = 1 << 20
    raise ValueError(
        f"a window of {views} views of {image_size[0]}x{image_size[1]} (HxW) needs about "
        f"{needed(views) / mebibyte:.0f} MiB with the weights, the budget is "
        f"{budget_bytes / mebibyte:.0f} MiB: {remedy}"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """True when an error of torch, NumPy or Python says that memory ran out."""
    # On a CPU torch raises a plain RuntimeError.
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def peak_bytes(device: torch.device) -> int:
    """Peak memory of this process: on a GPU what torch allocated, else resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def memory_errors(doing: str, remedy: str) -> Iterator[None]:
    """Turns every way of running out of memory into one error.

    Args:
        doing: What was being done, with its size.
        remedy: What the user can lower.

    Raises:
        GeometryMemoryError: Memory ran out inside.
    """
    try:
        yield
    except GeometryMemoryError:
        raise
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise GeometryMemoryError(f"out of memory {doing}: {remedy} ({error})") from error
