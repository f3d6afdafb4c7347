"""The gripper's forces on the page of the demonstration and in its table."""

import re
from dataclasses import asdict

from sensorium.demo.page import write_page
from sensorium.demo.signal_strip import SignalStrip, signals_line, strip_svg

STRIP = SignalStrip(
    force_s=[0.1, 0.2, 0.3, 0.4],
    force_n=[0.0, 0.0, 20.0, 30.0],
    classes=["free", "contact", "holding"],
    estimate_s=[0.3, 0.4],
    scores=[[0.9, 0.05, 0.05], [0.0, 0.25, 0.75]],
    truth=[0, 1],
)
EPISODE = {
    "instruction": "lift the <red> block", "task": "pick_red", "success": True, "steps": 4,
    "message": "", "chunks_published": 2, "chunks_rejected": 0,
}  # fmt: skip


def test_the_line_counts_the_answers_and_compares_them_with_the_truth():
    line = signals_line([asdict(STRIP), asdict(STRIP)])
    assert "free 2, contact 0, holding 2" in line
    assert "50 %" in line
    assert signals_line([]) == ""
    assert signals_line([asdict(SignalStrip([0.1], [0.0]))]) == ""


def test_bands_are_as_high_as_the_probabilities():
    heights = [float(h) for h in re.findall(r'height="([0-9.]+)" fill', strip_svg(asdict(STRIP)))]
    first, second = heights[:4], heights[4:8]
    assert first == [45.0, 2.5, 2.5, 8.0], "three probabilities of 50 px and the truth"
    assert second == [0.0, 12.5, 37.5, 8.0]


def test_a_strip_without_estimates_is_drawn_all_the_same():
    assert "<polyline" in strip_svg(asdict(SignalStrip([0.1, 0.2], [0.0, 1.0])))
    assert "<polyline" in strip_svg(asdict(SignalStrip([], [])))


def test_the_page_shows_a_strip_for_every_episode_that_has_one(tmp_path):
    episodes = [{**EPISODE, "signals": asdict(STRIP)}, {**EPISODE, "signals": None}, EPISODE]
    write_page(
        tmp_path / "report.html",
        "demo",
        "table",
        (),
        {"inference_ms": [], "episodes": episodes},
    )
    text = (tmp_path / "report.html").read_text()
    assert text.count("<svg") == 1
    assert "&lt;red&gt;" in text
    assert "holding" in text
