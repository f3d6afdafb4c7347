"""The force signal of an episode of the closed loop and what a network makes of it."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_WIDTH_PX, _FORCE_PX, _CLASS_PX, _TRUTH_PX, _GAP_PX = 640, 80, 50, 8, 6
_COLORS = ("#e3e6ec", "#e69f36", "#2b6cb0", "#7a4f9a")


@dataclass
class SignalStrip:
    """One episode; times count from its beginning.

    Attributes:
        force_s: times of ``force_n`` [s].
        force_n: pressure on both fingers together, the largest of 20 ms [N].
        classes: names of the network's classes.
        estimate_s: times of the valid estimates: the newest sample of each window [s].
        scores: one row per estimate, one probability per class.
        truth: what the simulator knows at that time, index of a class; -1 where it is not known.
    """

    force_s: list[float]
    force_n: list[float]
    classes: list[str] = field(default_factory=list)
    estimate_s: list[float] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    truth: list[int] = field(default_factory=list)


def signals_line(strips: Sequence[Mapping[str, Any]]) -> str:
    """One line for the terminal; "" without estimates."""
    answers = [
        (strip["classes"][max(range(len(row)), key=row.__getitem__)], truth, strip["classes"])
        for strip in strips
        for row, truth in zip(strip["scores"], strip["truth"], strict=True)
    ]
    known = [name == classes[truth] for name, truth, classes in answers if truth >= 0]
    if not known:
        return ""
    seen = {name: sum(answer == name for answer, *_ in answers) for name in answers[0][2]}
    parts = ", ".join(f"{name} {count}" for name, count in seen.items())
    return (
        f"  contact network (estimates): {parts}; "
        f"{100 * sum(known) / len(known):.0f} % as the simulator knows it"
    )


def strip_svg(strip: Mapping[str, Any]) -> str:
    """The force as a line, the classes' probabilities as bands below it, the truth under them."""
    times, forces = strip["force_s"], strip["force_n"]
    end_s = max([*times, *strip["estimate_s"], 1e-9])
    high = max(1.0, *forces) if forces else 1.0
    points = " ".join(
        f"{_WIDTH_PX * t / end_s:.1f},{_FORCE_PX * (1 - max(f, 0.0) / high):.1f}"
        for t, f in zip(times, forces, strict=True)
    )
    parts = [
        f'<polyline points="{points}" fill="none" stroke="#1c2330" stroke-width="1.2"/>',
        _text(_WIDTH_PX + 6, 8, f"{high:.3g} N"),
        _text(_WIDTH_PX + 6, _FORCE_PX, f"0 N, {end_s:.1f} s"),
    ]
    top = _FORCE_PX + _GAP_PX
    begin_s = 0.0
    for time_s, row, truth in zip(
        strip["estimate_s"], strip["scores"], strip["truth"], strict=True
    ):
        left, right = (_WIDTH_PX * t / end_s for t in (begin_s, time_s))
        if begin_s == 0.0:
            left = max(0.0, right - _WIDTH_PX * 0.1 / end_s)
        below = top + _CLASS_PX
        for index, share in enumerate(row):
            below -= share * _CLASS_PX
            parts.append(_box(left, below, right - left, share * _CLASS_PX, index))
        if truth >= 0:
            parts.append(_box(left, top + _CLASS_PX + 2, right - left, _TRUTH_PX, truth))
        begin_s = time_s
    legend = top + 10
    for index, name in enumerate(strip["classes"]):
        parts.append(_box(_WIDTH_PX + 6, legend + 14 * index - 8, 8, 8, index))
        parts.append(_text(_WIDTH_PX + 18, legend + 14 * index, name))
    height = top + _CLASS_PX + 2 + _TRUTH_PX
    return (
        f'<svg viewBox="-4 -6 {_WIDTH_PX + 100} {height + 12}" width="{_WIDTH_PX + 100}" '
        f'role="img">{"".join(parts)}</svg>'
    )


def _box(left: float, top: float, width: float, height: float, index: int) -> str:
    color = _COLORS[index % len(_COLORS)]
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(width, 0):.1f}" '
        f'height="{max(height, 0):.1f}" fill="{color}"/>'
    )


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x}" y="{y}" font-size="11">{html.escape(text)}</text>'
