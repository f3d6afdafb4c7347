"""Panels of lines over time as a PNG picture, drawn with OpenCV."""

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
        lines: values by name, one per time.
    """

    title: str
    lines: Mapping[str, Sequence[float]]


def write_plot(path: Path, times_s: Sequence[float], panels: Sequence[Panel]) -> None:
    """Write the panels one below the other over a common axis of time [s].

    Raises:
        OSError: the file cannot be written.
    """
    picture = np.full((_HEIGHT * len(panels), _WIDTH, 3), 255, np.uint8)
    for index, panel in enumerate(panels):
        _draw(picture[index * _HEIGHT : (index + 1) * _HEIGHT], np.array(times_s), panel)
    if not cv2.imwrite(str(path), picture):
        raise OSError(f"{path} cannot be written")


def _draw(picture: Any, times_s: Any, panel: Panel) -> None:  # noqa: ANN401 - arrays
    top, bottom, left, right = _TOP, _HEIGHT - 30, _MARGIN, _WIDTH - 20
    values = np.concatenate([np.array(line, float) for line in panel.lines.values()])
    # From zero: a small wobble must not look like growth.
    highest = max(float(np.nanmax(values)), 1e-9) * 1.1
    longest = max(float(times_s[-1]), 1e-9)

    def place(time_s: Any, value: Any) -> Any:  # noqa: ANN401
        x = left + np.array(time_s) / longest * (right - left)
        y = bottom - np.array(value) / highest * (bottom - top)
        return np.stack(np.broadcast_arrays(x, y), axis=-1).round().astype(np.int32)

    for tick in range(_TICKS + 1):
        part = tick / _TICKS
        (_, y), (x, _) = place(0, part * highest), place(part * longest, 0)
        cv2.line(picture, (left, int(y)), (right, int(y)), _GREY, 1)
        _text(picture, f"{part * highest:.4g}", (8, int(y) + 4))
        _text(picture, f"{part * longest:.0f} s", (int(x) - 15, bottom + 18))
    _text(picture, panel.title, (left, 22), scale=0.55)
    for index, (name, line) in enumerate(panel.lines.items()):
        color = _COLORS[index % len(_COLORS)]
        cv2.polylines(picture, [place(times_s, line)], False, color, 2, cv2.LINE_AA)
        _text(picture, name, (left + 380 + 180 * index, 22), color)


def _text(
    picture: Any,  # noqa: ANN401
    text: str,
    place: tuple[int, int],
    color: tuple[int, int, int] = (40, 40, 40),
    scale: float = 0.42,
) -> None:
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)
