"""Panels of lines over a common axis as a PNG picture, drawn with OpenCV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

_WIDTH, _HEIGHT, _MARGIN, _TOP = 1000, 260, 80, 40
_COLORS = ((180, 90, 20), (40, 110, 220), (60, 150, 60), (150, 60, 150), (40, 40, 40))  # BGR
_GREY = (200, 200, 200)
_TICKS = 5


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: quantity and unit.
        lines: values by name, one per place on the axis; NaN where there is none.
    """

    title: str
    lines: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Axis:
    """The horizontal axis, from 0.

    Attributes:
        values: places of the lines' points, rising.
        ticks: text by place.
    """

    values: Sequence[float]
    ticks: Mapping[float, str]


def time_axis(times_s: Sequence[float]) -> Axis:
    """An axis of times [s]."""
    longest = max(float(times_s[-1]), 1e-9)
    places = (longest * tick / _TICKS for tick in range(_TICKS + 1))
    return Axis(times_s, {place: f"{place:.0f} s" for place in places})


def write_plot(path: Path, axis: Axis, panels: Sequence[Panel]) -> None:
    """Write the panels one below the other.

    Raises:
        OSError: the file cannot be written.
    """
    picture = np.full((_HEIGHT * len(panels), _WIDTH, 3), 255, np.uint8)
    for index, panel in enumerate(panels):
        _draw(picture[index * _HEIGHT : (index + 1) * _HEIGHT], axis, panel)
    if not cv2.imwrite(str(path), picture):
        raise OSError(f"{path} cannot be written")


def _draw(picture: Any, axis: Axis, panel: Panel) -> None:  # noqa: ANN401 - arrays
    top, bottom, left, right = _TOP, _HEIGHT - 30, _MARGIN, _WIDTH - 20
    values = np.concatenate([np.array(line, float) for line in panel.lines.values()])
    # From zero: a small wobble must not look like growth.
    highest = max(float(np.nanmax(values)), 1e-9) * 1.1
    longest = max(float(axis.values[-1]), 1e-9)

    def place(along: Any, value: Any) -> Any:  # noqa: ANN401
        x = left + np.array(along) / longest * (right - left)
        y = bottom - np.array(value) / highest * (bottom - top)
        return np.stack(np.broadcast_arrays(x, y), axis=-1).round().astype(np.int32)

    for tick in range(_TICKS + 1):
        value = tick / _TICKS * highest
        _, y = place(0, value)
        cv2.line(picture, (left, int(y)), (right, int(y)), _GREY, 1)
        _text(picture, f"{value:.4g}", (8, int(y) + 4))
    for along, text in axis.ticks.items():
        x, _ = place(along, 0)
        _text(picture, text, (int(x) - 15, bottom + 18))
    _text(picture, panel.title, (left, 22), scale=0.55)
    names_from = left + max(380, 9 * len(panel.title))
    apart = min(180, (right - names_from) // len(panel.lines))
    for index, (name, line) in enumerate(panel.lines.items()):
        color = _COLORS[index % len(_COLORS)]
        known = np.isfinite(np.array(line, float))
        points = place(np.array(axis.values)[known], np.array(line, float)[known])
        cv2.polylines(picture, [points], False, color, 2, cv2.LINE_AA)
        _text(picture, name, (names_from + apart * index, 22), color)


def _text(
    picture: Any,  # noqa: ANN401
    text: str,
    place: tuple[int, int],
    color: tuple[int, int, int] = (40, 40, 40),
    scale: float = 0.42,
) -> None:
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)
