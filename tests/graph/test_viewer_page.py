"""The page in a real Chromium: the scene is there and moves, and stamps are the server's."""

import http.server
import threading
import time

import pytest
from browser import Browser
from graph_nodes import wait_until
from viewer_tools import (
    WallSender,
    need_browser,
    opened,
    start_viewer,
    until_pink,
)

from sensorium.viewer.panel import stamp_text


@pytest.fixture(autouse=True)
def _browser():
    need_browser()


def test_the_scene_is_shown_and_moves_and_the_stamp_is_the_servers(graph, record_property):
    graph.active_geometry()
    node = start_viewer(graph)
    walls = WallSender(graph)

    def drawn():
        walls.send(1.0)
        return node.node._server.page.scene.get_handle_by_name("/clouds/optical")

    wait_until(drawn, "no cloud is drawn")
    with opened(node) as browser:
        near = until_pink(browser, lambda: walls.send(1.0))
        # Seconds with a core of its own; two busy cores without a GPU take many times longer.
        record_property("scene_seen_after_s", round(time.monotonic() - browser.opened_s, 2))
        # The page looks on from the side: what is farther from the camera stands more to the right.
        until_pink(browser, lambda: walls.send(2.5), lambda box: box[2] > near[2] + 50)
        until_pink(browser, lambda: walls.send(1.0), lambda box: box[2] < near[2] + 20)

        def settled():
            text = browser.evaluate("document.querySelector('[data-stamp]').innerText")
            return text == stamp_text(walls.newest_ns)

        walls.send()
        wait_until(settled, "the page does not show the newest stamp")
        inputs = [source for _, source in node.node._feed._inputs]
        assert walls.newest_ns == max(s.last_stamp_ns for s in inputs if s.last_stamp_ns)
        browser.wait_text("/geometry/points")
        browser.wait_text("/geometry:")
        outside = [
            url for url in browser.requested
            if not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))
        ]  # fmt: skip
        assert outside == []


def test_a_page_from_elsewhere_in_the_same_browser_cannot_connect(graph):
    node = start_viewer(graph)
    with Browser((200, 200)) as browser, _ForeignPage() as foreign:
        browser.open(node.node.url)
        wait_until(lambda: "token" not in browser.evaluate("location.href"), "no cookie is set")
        wait_until(lambda: browser.evaluate("location.protocol") == "http:", "no page")
        address = node.node.url.partition("?")[0].replace("http:", "ws:")
        browser.open(foreign.url)
        browser.wait_text("foreign page")
        # The cookie of the viewer is sent along: another port is the same site.
        outcome = browser.evaluate(
            f"""new Promise(done => {{
                const socket = new WebSocket("{address}", "viser-v1.1.1");
                socket.onopen = () => done("open");
                socket.onerror = () => done("refused");
            }})"""
        )
        assert outcome == "refused"
        wait_until(lambda: not node.node._server.page.get_clients(), "a client stays")


class _ForeignPage:
    """A web page on another port of this machine."""

    class _Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<body>foreign page</body>")

        def log_message(self, *_):
            pass

    def __enter__(self):
        self._server = http.server.HTTPServer(("127.0.0.1", 0), self._Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
