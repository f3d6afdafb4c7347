"""The flat part of the page that shows: inputs and stamps, classes, signals, actions, nodes."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.segmentation.labels import class_color
from sensorium.viewer.strips import SignalStrip

# More curves in one plot cannot be told apart.
_MOST_CURVES = 8
_MOST_CLASSES = 60
_MOST_STEPS = 512
_LONGEST_TEXT = 300
_LONGEST_LEGEND = 40
_LEVELS = (("#2f9e44", "ok"), ("#e8890c", "warning"), ("#d6336c", "error"), ("#868e96", "stale"))


@dataclass(frozen=True, slots=True)
class InputState:
    """One topic that the page shows.

    Attributes:
        what: in words, e.g. "points".
        topic: resolved name.
        rate_hz: messages per second.
        stamp_ns: newest stamp [ns]; None while nothing has come.
        age_s: how old that stamp is by the node's clock [s]; None without stamp.
    """

    what: str
    topic: str
    rate_hz: float
    stamp_ns: int | None
    age_s: float | None


@dataclass(frozen=True, slots=True)
class NodeState:
    """What a node says about itself on /diagnostics; level 0 OK, 1 warning, 2 error, 3 stale."""

    name: str
    level: int
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class ActionView:
    """The newest chunk of a policy.

    Attributes:
        title: policy and instruction.
        names: one per action dimension, with unit.
        rate_hz: steps per second.
        actions: (steps, dimensions).
        published: True when a trajectory made from it was sent to the robot.
        rejections: what the guards changed or rejected.
        latency_s: from the observation to the decision [s].
    """

    title: str
    names: tuple[str, ...]
    rate_hz: float
    actions: NDArray[np.float32]
    published: bool
    rejections: tuple[str, ...]
    latency_s: float


class Panel:
    """The shown part of the side panel; every method replaces what it showed before.

    All texts of others (names of classes, nodes, policies) are shown as text, never as markup.

    Args:
        page: a viser server.
        window_s: length of the signals' time axis [s].
    """

    def __init__(self, page: Any, window_s: float) -> None:  # noqa: ANN401 - viser is optional
        self._page = page
        self._window_s = window_s
        self._lock = threading.Lock()
        self._strips: dict[str, SignalStrip] = {}
        self._strip_states: dict[str, str] = {}
        self._plots: dict[str, _Plot] = {}
        self._picture: Any = None
        gui = page.gui
        gui.configure_theme(
            show_logo=False, show_share_button=False, control_width="large", dark_mode=True
        )
        gui.set_panel_label("Sensorium")
        gui.main_panel.dock_right()
        self._status = gui.add_html(_waiting("nothing received yet"), order=0)
        self._classes_folder = gui.add_folder("Classes", order=3)
        with self._classes_folder:
            self._classes = gui.add_html(_waiting("no segments received yet"))
        self._policy_folder = gui.add_folder("Policy", order=4)
        with self._policy_folder:
            self._action = gui.add_html(_waiting("no action received yet"))
            self._command = gui.add_html("")
        self._signals_folder = gui.add_folder("Signals", order=5)
        with self._signals_folder:
            self._signals = gui.add_html(_waiting("no estimate received yet"))
        self._nodes_folder = gui.add_folder("Nodes", order=6)
        with self._nodes_folder:
            self._nodes = gui.add_html(_waiting("no diagnostics received yet"))

    def show_inputs(self, inputs: Sequence[InputState], notes: Sequence[str] = ()) -> None:
        """Show the newest stamp of all inputs, each input's rate and stamp, and notes in words."""
        stamps = [state.stamp_ns for state in inputs if state.stamp_ns is not None]
        newest = stamp_text(max(stamps)) if stamps else "none yet"
        rows = "".join(
            f"<tr><td>{_text(state.what)}</td>"
            f"<td style='overflow-wrap:anywhere'>{_text(state.topic)}</td>"
            f"<td style='text-align:right;white-space:nowrap'>{state.rate_hz:.1f} Hz</td>"
            f"<td style='text-align:right;white-space:nowrap'>{_age(state.age_s)}</td></tr>"
            for state in inputs
            if state.age_s is not None
        )
        silent = ", ".join(_text(state.topic) for state in inputs if state.age_s is None)
        if silent:
            rows += f"<tr style='opacity:.6'><td>waiting for</td><td colspan=3>{silent}</td></tr>"
        warnings = "".join(f"<div style='color:#e8890c'>{_text(note)}</div>" for note in notes)
        self._status.content = _block(
            f"newest stamp <b data-stamp>{newest}</b> s"
            f"<table style='width:100%;border-spacing:0 1px'>{rows}</table>{warnings}"
        )

    def show_classes(self, names: Sequence[str], version: int, seen: Sequence[str]) -> None:
        """Show the class list with its colours; classes in `seen` (newest picture) stand out."""
        marked = set(seen)
        rows = "".join(
            f"<span data-class style='white-space:nowrap;margin-right:8px;"
            f"{'font-weight:700' if name in marked else 'opacity:.6'}'>"
            f"<span style='color:rgb{class_color(index)}'>&#9632;</span> {_text(name)}</span> "
            for index, name in enumerate(names[:_MOST_CLASSES])
        )
        more = len(names) - _MOST_CLASSES
        rest = f"and {more} more" if more > 0 else ""
        self._classes.content = _block(
            f"class list, version <b data-version>{version}</b><br>{rows}{rest}"
        )

    def show_segmented(self, image: NDArray[np.uint8]) -> None:
        """Show the picture with coloured segments, (H, W, 3) uint8 RGB."""
        if self._picture is None:
            with self._classes_folder:
                self._picture = self._page.gui.add_image(image, format="jpeg", jpeg_quality=70)
        else:
            self._picture.image = image

    def add_estimate(
        self, model: str, stamp_ns: int, names: Sequence[str], scores: Sequence[float], state: str
    ) -> None:
        """Take one estimate of a signal; it is drawn by the next :meth:`draw_signals`.

        Args:
            model: name of the network.
            stamp_ns: of the newest sample of its window [ns].
            names: its classes.
            scores: one per class; empty while no window is full.
            state: "ok" or why it must not be acted upon.
        """
        with self._lock:
            self._strip_states[model] = state
            if not names or not scores:
                return
            names = tuple(names[:_MOST_CURVES])
            strip = self._strips.get(model)
            if strip is None or strip.names != names:
                strip = self._strips[model] = SignalStrip(names, self._window_s)
            strip.add(stamp_ns, scores[: len(names)])

    def draw_signals(self) -> None:
        """Draw the signals as they are now."""
        with self._lock:
            states = ", ".join(f"{_text(m)}: {_text(s)}" for m, s in self._strip_states.items())
            drawn = {model: (s.names, s.curves()) for model, s in self._strips.items()}
        if states:
            self._signals.content = _block(states)
        for model, (names, curves) in drawn.items():
            with self._signals_folder:
                self._draw(
                    f"signal {model}", names, curves, (-self._window_s, 0.0),
                    f"{model}, seconds ago", (0.0, 1.0),
                )  # fmt: skip

    def show_action(self, action: ActionView) -> None:
        """Show what the policy proposed and what became of it."""
        color, fate = ("#2f9e44", "sent") if action.published else ("#d6336c", "not sent")
        rejections = "".join(f"<li>{_text(text)}</li>" for text in action.rejections)
        self._action.content = _block(
            f"{_text(action.title)}<br><b style='color:{color}'>{fate}</b>, "
            f"{len(action.actions)} steps, decided after {action.latency_s * 1e3:.0f} ms"
            f"<ul style='margin:0'>{rejections}</ul>"
        )
        names = action.names[:_MOST_CURVES]
        steps = np.asarray(action.actions[:_MOST_STEPS, : len(names)], np.float64)
        if len(steps) == 0 or not names or not 0 < action.rate_hz < np.inf:
            return
        ahead_s = np.arange(1, len(steps) + 1) / action.rate_hz
        curves = (ahead_s, *np.where(np.isfinite(steps), steps, np.nan).T)
        # Half seconds, so that chunks of slightly different length share one plot.
        end_s = math.ceil(2 * float(ahead_s[-1])) / 2
        with self._policy_folder:
            self._draw("action", names, curves, (0.0, end_s),
                       "proposed actions, seconds ahead", None)  # fmt: skip

    def show_command(self, text: str) -> None:
        """Show in words what was last sent to the robot."""
        self._command.content = _block(_text(text))

    def show_nodes(self, nodes: Sequence[NodeState]) -> None:
        """Show what the nodes say about themselves, the worst first."""
        rows = "".join(
            f"<div><b style='color:{color}'>{word}</b> {_text(node.name)}: "
            f"{_text(node.message)}</div>"
            for node in sorted(nodes, key=lambda node: (-node.level, node.name))
            for color, word in (_LEVELS[min(max(node.level, 0), len(_LEVELS) - 1)],)
        )
        self._nodes.content = _block(rows)

    def _draw(
        self,
        key: str,
        names: tuple[str, ...],
        curves: tuple[NDArray[np.float64], ...],
        axis_s: tuple[float, float],
        title: str,
        limits: tuple[float, float] | None,
    ) -> None:
        plot = self._plots.get(key)
        # viser cannot change the number of curves or the axis of a plot.
        if plot is not None and (plot.names, plot.axis_s) == (names, axis_s):
            plot.handle.data = curves
            return
        if plot is not None:
            plot.handle.remove()
        colors = [class_color(index) for index in range(len(names))]
        series = [{}, *(
            {"label": _plain(name), "stroke": f"rgb{color}", "width": 2}
            for name, color in zip(names, colors, strict=True)
        )]  # fmt: skip
        scales: dict[str, Any] = {"x": {"time": False, "range": axis_s}}
        if limits is not None:
            scales["y"] = {"range": limits}
        handle = self._page.gui.add_uplot(
            curves, tuple(series), title=_plain(title), scales=scales, height=170,
            legend={"show": True},
        )  # fmt: skip
        self._plots[key] = _Plot(names, axis_s, handle)


@dataclass(frozen=True, slots=True, eq=False)
class _Plot:
    names: tuple[str, ...]
    axis_s: tuple[float, float]
    handle: Any


def stamp_text(stamp_ns: int) -> str:
    """A stamp in seconds with all nine digits, as ROS prints it."""
    return f"{stamp_ns // 1_000_000_000}.{stamp_ns % 1_000_000_000:09d}"


def _age(age_s: float) -> str:
    return f"{age_s:.2f} s old" if abs(age_s) < 1000 else "of another clock"


def _block(content: str) -> str:
    return f"<div style='font-size:12px;line-height:1.35;padding:0 10px 4px'>{content}</div>"


def _text(text: str) -> str:
    """Text of others as text: no markup, and not longer than can be read."""
    return escape(text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}...")


def _waiting(text: str) -> str:
    return _block(f"<span style='opacity:.6'>{text}</span>")


def _plain(text: str) -> str:
    """Plot titles and legends may be taken for markup by the plotting library."""
    return text[:_LONGEST_LEGEND].replace("&", "+").replace("<", "(").replace(">", ")")
