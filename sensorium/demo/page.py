"""report.html: everything a demonstration made on one page, without scripts or outside files."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sensorium.demo.signal_strip import strip_svg

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
       color: #1c2330; background: #fbfbfd; }
h1, h2 { font-weight: 600; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #d9dde5; }
pre { background: #f0f2f6; padding: 1rem; overflow-x: auto; font-size: 13px; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .3rem .8rem;
       border-bottom: 1px solid #e3e6ec; text-align: left; } .good { color: #11703a; }
.bad { color: #a3261d; } img { max-width: 100%; }
.film { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; } figcaption { font-size: 13px; color: #566; }
"""
_WIDTH_PX, _HEIGHT_PX = 640, 120


def write_page(
    path: Path, title: str, table: str, pictures: Sequence[str], loop: Mapping[str, Any] | None
) -> None:
    """Write the page.

    Args:
        path: the file; pictures are named relative to its folder.
        title: what was shown.
        table: the table of the terminal.
        pictures: file names of pictures of the map act; those that are missing are left out.
        loop: values of the closed loop (`ClosedLoopReport.values`), None without one.
    """
    parts = [f"<h1>{html.escape(title)}</h1>"]
    if loop is not None:
        parts += _closed_loop(loop, path.parent)
    parts.append("<h2>RGB-D to a metric map</h2>")
    parts += [
        f'<p><img src="{html.escape(name)}" alt="{html.escape(name)}"></p>'
        for name in pictures
        if (path.parent / name).exists()
    ]
    parts.append(f"<h2>The numbers</h2><pre>{html.escape(table)}</pre>")
    path.write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}'
        f"</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n",
        encoding="utf-8",
    )


def _closed_loop(values: Mapping[str, Any], folder: Path) -> list[str]:
    parts = ["<h2>Closed loop: the arm does as it is told</h2>", '<div class="film">']
    for number, episode in enumerate(values["episodes"]):
        film = f"closed_loop/episode_{number:02d}.gif"
        if (folder / film).exists():
            parts.append(
                f'<figure><img src="{film}" alt="film"><figcaption>'
                f"{html.escape(episode['instruction'])}</figcaption></figure>"
            )
        segments = f"closed_loop/segments_{number:02d}.png"
        if (folder / segments).exists():
            parts.append(
                f'<figure><img src="{segments}" alt="segments"><figcaption>segments, by name'
                "</figcaption></figure>"
            )
    parts.append("</div><table><tr><th>instruction</th><th>task</th><th>result</th>")
    parts.append("<th>arm's time</th><th>chunks</th><th>rejected</th></tr>")
    for episode in values["episodes"]:
        done = episode["success"]
        verdict = "done" if done else f"not done: {episode['message']}"
        parts.append(
            f"<tr><td>{html.escape(episode['instruction'])}</td><td>{html.escape(episode['task'])}"
            f'</td><td class="{"good" if done else "bad"}">{html.escape(verdict)}</td>'
            f"<td>{episode['steps'] / 10:.1f} s</td><td>{episode['chunks_published']}</td>"
            f"<td>{episode['chunks_rejected']}</td></tr>"
        )
    parts.append("</table>")
    felt = [episode for episode in values["episodes"] if episode.get("signals")]
    if felt:
        parts.append(
            "<h3>What the gripper felt: pressure on the fingers, below it the contact network's "
            "probabilities and, as a thin bar, the truth</h3>"
        )
        parts += [
            f"<figure>{strip_svg(episode['signals'])}<figcaption>"
            f"{html.escape(episode['instruction'])}</figcaption></figure>"
            for episode in felt
        ]
    parts.append("<h3>Time of the policy's network, chunk by chunk [ms]</h3>")
    parts.append(line_plot(values["inference_ms"]))
    return parts


def line_plot(values: Sequence[float]) -> str:
    """An SVG line of numbers, with its lowest and highest written beside it."""
    if not values:
        return ""
    low, high = min(0.0, *values), max(values)
    span = (high - low) or 1.0
    step = _WIDTH_PX / max(1, len(values) - 1)
    points = " ".join(
        f"{i * step:.1f},{_HEIGHT_PX - (value - low) / span * _HEIGHT_PX:.1f}"
        for i, value in enumerate(values)
    )
    return (
        f'<svg viewBox="-4 -14 {_WIDTH_PX + 60} {_HEIGHT_PX + 28}" width="{_WIDTH_PX + 60}" '
        f'role="img"><polyline points="{points}" fill="none" stroke="#2b6cb0" stroke-width="1.5"/>'
        f'<text x="{_WIDTH_PX + 6}" y="6" font-size="12">{high:.3g}</text>'
        f'<text x="{_WIDTH_PX + 6}" y="{_HEIGHT_PX}" font-size="12">{low:.3g}</text></svg>'
    )
