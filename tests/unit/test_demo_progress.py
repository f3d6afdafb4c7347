import io

from sensorium.demo.progress import Progress
from sensorium.demo.session import StreamCounts


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_one_line_that_is_rewritten_and_cut_to_its_width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    stream = Terminal()
    progress = Progress(stream, 100)
    progress.phase("starting")
    for published in (10, 50):
        progress.counts(StreamCounts(published=published, received=published))
    progress.end()
    text = stream.getvalue()
    assert "\n" not in text
    assert all(len(part) < 60 for part in text.replace("\x1b[K", "").split("\r"))
    assert "frames 50 sent" in text
    assert text.endswith("\r\x1b[K")


def test_elsewhere_there_is_a_line_per_phase_and_one_of_counts_now_and_then():
    stream = io.StringIO()
    progress = Progress(stream, 100)
    progress.phase("starting")
    for published in range(50):
        progress.counts(StreamCounts(published=published))
    progress.end()
    assert stream.getvalue().count("\n") == 1
    assert "\r" not in stream.getvalue()


def test_the_counts_of_a_stream_are_readable():
    stream = Terminal()
    Progress(stream, 100).counts(
        StreamCounts(published=50, received=52, processed=40, superseded=3, map_points=12345)
    )
    assert "[##########" in stream.getvalue()
    assert "52 sent, 52 in, 40 out, 3 superseded" in stream.getvalue()
