"""`sensorium view` beside a running graph: prints the page's address, ends on Ctrl-C."""

import http.cookiejar
import re
import signal
import socket
import sys
import urllib.request

from graph_nodes import wait_until
from viewer_tools import need_viewer

from sensorium.cli import main
from sensorium.cli.up import node_environment
from sensorium.processes import ManagedProcess, stop_all


def test_the_printed_address_opens_the_page_until_ctrl_c(ros, tmp_path):
    need_viewer()
    log = tmp_path / "view.log"
    command = [sys.executable, "-m", "sensorium.cli", "view", "--port", "0"]
    process = ManagedProcess("view", command, node_environment(), log)
    process.start()
    try:
        found = wait_until(
            lambda: re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", log.read_text()),
            lambda: f"no address in {log.read_text()}",
        )
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        with urllib.request.build_opener(cookies).open(found[0], timeout=30) as page:
            assert page.status == 200
            assert "token" not in page.url
        process.signal(signal.SIGINT)
        wait_until(lambda: process.returncode is not None, "Ctrl-C does not end it")
        assert process.returncode == 0, log.read_text()
    finally:
        stop_all([process])


def test_a_port_that_is_taken_ends_the_command_before_anything_starts(capsys):
    need_viewer()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["view", "--port", str(port)]) == 2
    assert f"port {port}" in capsys.readouterr().err


def test_a_missing_library_ends_the_command_with_the_remedy(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    assert main(["view"]) == 2
    assert "pip install 'viser==1.1.1'" in capsys.readouterr().err
