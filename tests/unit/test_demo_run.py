"""Whatever happens to one process, the run says it and stops every other one. No ROS here."""

import io
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from sensorium.demo.progress import Progress
from sensorium.demo.run import Interrupted, RunError, Stopping, peak_resident_mb, run_processes
from sensorium.demo.session import SessionEvent, StreamCounts

LONG = "import time; time.sleep(600)"


def python(code):
    return [sys.executable, "-c", code]


def session(*events, then="pass"):
    lines = "".join(event.to_line() + "\n" for event in events)
    return python(f"import sys, time; sys.stdout.write({lines!r}); sys.stdout.flush(); {then}")


@pytest.fixture
def mark(monkeypatch):
    """A variable in the environment of every process of the test, to find what is left of them."""
    value = f"{os.getpid()}.{time.monotonic_ns()}"
    monkeypatch.setenv("SENSORIUM_DEMO_TEST", value)
    return value


def left_running(mark):
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if mark.encode() in environment and int(entry.name) != os.getpid() and state != "Z":
            found.append(int(entry.name))
    return found


def run(tmp_path, nodes, session_command):
    commands = {name: python(code) for name, code in nodes.items()}
    progress = Progress(io.StringIO(), 10)
    with Stopping() as stopping:
        return run_processes(
            commands, session_command, dict(os.environ), tmp_path, progress, stopping
        )


def test_a_finished_run_gives_counts_warnings_and_memory(tmp_path, mark):
    counts = StreamCounts(published=4, received=4)
    command = session(
        SessionEvent("phase", "streaming"),
        SessionEvent("warning", "something"),
        SessionEvent("progress", counts=StreamCounts(published=1)),
        then="time.sleep(0.5); print(" + repr(SessionEvent("done", counts=counts).to_line()) + ")",
    )
    result = run(tmp_path, {"/geometry": LONG}, command)
    assert result.counts == counts
    assert result.warnings == ["something"]
    assert 1 < result.peak_mb["/geometry"] < 200
    assert left_running(mark) == []


def test_a_node_that_dies_ends_the_run_with_its_last_words(tmp_path, mark):
    nodes = {"/recorder": LONG, "/camera/rgbd": "print('the lens fell off'); raise SystemExit(3)"}
    with pytest.raises(RunError, match=r"(?s)/camera/rgbd ended with 3.*the lens fell off"):
        run(tmp_path, nodes, python(LONG))
    assert (tmp_path / "camera.rgbd.log").read_text() == "the lens fell off\n"
    assert left_running(mark) == []


def test_a_killed_node_is_named_with_the_signal(tmp_path, mark):
    nodes = {"/geometry": "import os; os.kill(os.getpid(), 9)", "/recorder": LONG}
    with pytest.raises(RunError, match="/geometry was ended by SIGKILL"):
        run(tmp_path, nodes, python(LONG))
    assert left_running(mark) == []


def test_a_failure_that_the_session_reports_is_the_reason(tmp_path, mark):
    with pytest.raises(RunError, match=r"^no frame came through$"):
        run(tmp_path, {"/geometry": LONG}, session(SessionEvent("failed", "no frame came through")))
    assert left_running(mark) == []


def test_a_session_that_ends_without_a_word_is_a_failure(tmp_path, mark):
    with pytest.raises(RunError, match="demo_session ended with 0"):
        run(tmp_path, {"/geometry": LONG}, session())
    assert left_running(mark) == []


def test_a_program_that_cannot_start_leaves_nothing_behind(tmp_path, mark):
    with pytest.raises(OSError, match="no_such_program"):
        run(tmp_path, {"/geometry": LONG}, ["/no_such_program"])
    assert left_running(mark) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_also_when_it_comes_twice(tmp_path, mark, number):
    # A node that takes its time to stop: the second signal comes meanwhile.
    slow = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: (time.sleep(1), sys.exit(0)))\n"
        "time.sleep(600)"
    )
    killer = f"import os, time; time.sleep(1); os.kill({os.getpid()}, {int(number)}); "
    killer += f"time.sleep(0.5); os.kill({os.getpid()}, {int(number)}); time.sleep(600)"
    with pytest.raises(Interrupted) as caught:
        run(tmp_path, {"/geometry": slow, "/killer": killer}, python(LONG))
    assert caught.value.number == number
    assert left_running(mark) == []


def test_children_of_children_are_stopped_too(tmp_path, mark):
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {LONG!r}])"
    with pytest.raises(RunError):
        run(tmp_path, {"/geometry": parent}, session(SessionEvent("failed", "x"), then=LONG))
    assert left_running(mark) == []


def test_the_memory_of_a_process_that_is_gone_is_unknown():
    assert peak_resident_mb(2**22 + 1) is None
    assert peak_resident_mb() > 1
