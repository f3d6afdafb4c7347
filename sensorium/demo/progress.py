"""Progress for people: one line that is rewritten on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

from sensorium.demo.session import StreamCounts

_LINE_PERIOD_S = 5.0
_BAR_CELLS = 20


class Progress:
    """Shows what goes on.

    Args:
        stream: where to; a terminal is recognised.
        frames: frames expected, for the bar.
    """

    def __init__(self, stream: TextIO, frames: int) -> None:
        self._stream = stream
        self._frames = frames
        self._live = stream.isatty()
        self._started_s = time.monotonic()
        self._shown_s = 0.0
        self._open_line = False

    def phase(self, text: str) -> None:
        """Show that something new begins."""
        if self._live:
            self._rewrite(text)
        else:
            self._line(text)

    def counts(self, counts: StreamCounts) -> None:
        """Show the counts of the stream."""
        # Each node reports once a second, not at the same moment.
        sent = max(counts.published, counts.received)
        share = min(1.0, sent / max(1, self._frames))
        filled = round(share * _BAR_CELLS)
        superseded = f", {counts.superseded} superseded" if counts.superseded else ""
        text = (
            f"[{'#' * filled}{'.' * (_BAR_CELLS - filled)}] frames {sent} sent, "
            f"{counts.received} in, {counts.processed} out{superseded}, {counts.rate_hz:.1f} Hz, "
            f"map {counts.map_points:,} points"
        )
        if self._live:
            self._rewrite(text)
        elif time.monotonic() - self._shown_s >= _LINE_PERIOD_S:
            self._line(text)

    def note(self, text: str) -> None:
        """Show something that must stay on the screen."""
        self.end()
        self._stream.write(text + "\n")
        self._stream.flush()

    def end(self) -> None:
        """Close the rewritten line, so that what follows begins on a new one."""
        if self._open_line:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._open_line = False

    def _clock(self) -> str:
        return f"{time.monotonic() - self._started_s:5.1f} s  "

    def _line(self, text: str) -> None:
        self._shown_s = time.monotonic()
        self._stream.write(f"{self._clock()}{text}\n")
        self._stream.flush()

    def _rewrite(self, text: str) -> None:
        columns = shutil.get_terminal_size().columns
        self._stream.write(f"\r\x1b[K{(self._clock() + text)[: columns - 1]}")
        self._stream.flush()
        self._open_line = True
