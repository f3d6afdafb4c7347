"""A headless Chromium that a test looks through, driven over its DevTools protocol."""

import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from graph_nodes import wait_until

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
# Software rendering, and no name outside this machine can be looked up.
_OPTIONS = (
    "--headless", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--remote-debugging-port=0",
    "--disable-dev-shm-usage",
)  # fmt: skip


def chromium():
    """Path of a Chromium on this machine, or None."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


class Browser:
    """One page of a Chromium with a fresh profile; ends with the context.

    Attributes:
        requested: addresses that the page asked for.
        opened_s: when the newest page was opened, by the steady clock.
    """

    def __init__(self, window):
        from websockets.sync.client import connect

        self._folder = tempfile.mkdtemp(prefix="sensorium_chromium_")
        self._process = subprocess.Popen(
            [chromium(), *_OPTIONS, f"--window-size={window[0]},{window[1]}",
             f"--user-data-dir={self._folder}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        port_file = Path(self._folder) / "DevToolsActivePort"
        wait_until(lambda: port_file.exists() and port_file.read_text(), "Chromium does not start")
        port = port_file.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=30) as answer:
            (page,) = [t for t in json.load(answer) if t["type"] == "page"]
        self._socket = connect(page["webSocketDebuggerUrl"], max_size=None, ping_interval=None)
        self._numbers = itertools.count(1)
        self.requested = []
        self.opened_s = 0.0
        for domain in ("Page", "Runtime", "Network"):
            self._call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()
        # Its children would go on writing into the folder.
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        wait_until(self._folder_is_gone, "Chromium's folder stays")

    def _folder_is_gone(self):
        shutil.rmtree(self._folder, ignore_errors=True)
        return not Path(self._folder).exists()

    def open(self, url):
        self.opened_s = time.monotonic()
        self._call("Page.navigate", url=url)

    def evaluate(self, expression):
        """Value of a JavaScript expression; promises are waited for."""
        result = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def text(self):
        """All text of the page."""
        return self.evaluate("document.body ? document.body.innerText : ''")

    def wait_text(self, text, timeout_s=30.0):
        wait_until(lambda: text in self.text(), lambda: f"no {text!r} in {self.text()}", timeout_s)

    def write(self, label, text):
        """Replace the content of the text box with a label, as a user types it."""
        found = self.evaluate(
            f"""(() => {{
                let at = [...document.querySelectorAll('*')]
                    .find(e => !e.children.length && e.textContent.trim() === {json.dumps(label)});
                let box = null;
                for (; at && !box; at = at.parentElement)
                    box = at.querySelector('input, textarea');
                if (!box) return false;
                box.scrollIntoView(); box.focus(); box.select(); return true;
            }})()"""
        )
        assert found, f"no box labelled {label!r}: {self.text()}"
        self._call("Input.insertText", text=text)

    def click(self, label):
        """Click the button with a label."""
        found = self.evaluate(
            f"""(() => {{
                const button = [...document.querySelectorAll('button')]
                    .find(b => b.innerText.trim() === {json.dumps(label)});
                if (button) button.click();
                return !!button;
            }})()"""
        )
        assert found, f"no button {label!r}: {self.text()}"

    def picture(self, path=None, quality=80):
        """The page as JPEG bytes, written to `path` when given."""
        result = self._call("Page.captureScreenshot", format="jpeg", quality=quality)
        data = base64.b64decode(result["data"])
        if path is not None:
            Path(path).write_bytes(data)
        return data

    def _call(self, method, **parameters):
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        deadline = time.monotonic() + 120.0
        while time.monotonic() < deadline:
            message = json.loads(self._socket.recv(timeout=120.0))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            if message.get("method") == "Network.requestWillBeSent":
                self.requested.append(message["params"]["request"]["url"])
            if message.get("method") == "Network.webSocketCreated":
                self.requested.append(message["params"]["url"])
        raise AssertionError(f"Chromium does not answer {method}")
