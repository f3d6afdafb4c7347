"""Fits a token reduction on the frames of a recording, through the backend that will use it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import islice

from sensorium.frames import RgbdFrame
from sensorium.geometry.backend import GeometryBackend
from sensorium.geometry.token_reduction import ReductionFit, ReductionRefused, TokenReduction
from sensorium.geometry.views import ViewRefused, ViewValidator
from sensorium.sources.bag import BagSource
from sensorium.sources.recording import RecordingSource
from sensorium.sources.source import RejectedFrame, SourceFrame, frames


@dataclass(frozen=True, slots=True)
class FittedReduction:
    """A reduction and what it was made from.

    Attributes:
        reduction: the reduction.
        frames: frames whose tokens were used.
        tokens: number of tokens.
        skipped: frames that gave no tokens.
    """

    reduction: TokenReduction
    frames: int
    tokens: int
    skipped: int


def fit_reduction(
    backend: GeometryBackend,
    source: BagSource | RecordingSource,
    *,
    channels: int,
    most_frames: int,
) -> FittedReduction:
    """Run frames, spread evenly over a recording, through a configured backend; fit its tokens.

    Args:
        backend: configured, without a reduction of its own.
        source: the recording.
        channels: components wanted.
        most_frames: frames used at most.

    Raises:
        ReductionRefused: no frame gives tokens, or they are too few for so many components.
    """
    layout = backend.token_layout
    fit = ReductionFit(layout.channels)
    validator = ViewValidator(backend.needs_depth)
    step = max(1, -(-len(source) // most_frames))
    used = skipped = 0
    for item in islice(frames(source), 0, None, step):
        view = _with_color(item)
        try:
            result = backend.add(validator.checked(view)).newest if view is not None else None
        except ViewRefused:
            result = None
        if result is None or result.tokens is None:
            skipped += 1
            continue
        fit.add(result.tokens.features)
        used += 1
    if not used:
        raise ReductionRefused(
            f"none of {skipped} frames gives tokens: the recording needs colour images"
        )
    reduction = fit.reduction(channels, layout.weights_sha256)
    return FittedReduction(reduction, used, fit.count, skipped)


def _with_color(item: SourceFrame | RejectedFrame) -> RgbdFrame | None:
    """The frame with colour; colour that is not registered to depth goes alone."""
    if isinstance(item, RejectedFrame):
        return None
    view = item.frame
    if view.color is None and item.color_apart is not None:
        view = item.color_apart
    # A recording may give its poses in frames of its own; tokens need none.
    return dataclasses.replace(view, world_frame="", world_from_camera=None)
