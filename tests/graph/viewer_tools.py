"""A viewer node and a browser that looks at its page."""

import dataclasses
import io

import numpy as np
import pytest
from browser import Browser, chromium
from graph_nodes import wait_until
from graph_tools import now_ns, wall
from PIL import Image
from sensorium_ros.msg import RgbdFrame

from sensorium.ros.convert.rgbd_frame import message_from_frame

PINK = (255, 0, 160)
# Looking along x, half a metre above the floor; the page looks on from the side.
POSE = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0.5], [0, 0, 0, 1]])
DEFAULTS = {
    "port": 0, "most_points": 5000, "view_from_m": [1.2, -3.0, 1.5], "view_at_m": [1.2, 0.0, 0.5],
    # It would keep what has moved on.
    "topics.map": "",
}  # fmt: skip


def need_viewer():
    """Skip the test where the page cannot be served."""
    pytest.importorskip("viser", reason="viser is not installed")


def need_browser():
    """Skip the test where no browser can look at the page."""
    need_viewer()
    if chromium() is None:
        pytest.skip("no Chromium: apt install chromium-headless-shell")


def start_viewer(graph, **parameters):
    """Host a viewer on a free port and wait until it is active."""
    node = graph.host("viewer", parameters={**DEFAULTS, **parameters})
    graph.wait_state(node, "active")
    return node


def opened(node, window=(800, 500)):
    """A browser with the page before it; a small window is drawn sooner without a GPU."""
    browser = Browser(window)
    try:
        browser.open(node.node.url)
        browser.wait_text("newest stamp", 120.0)
    except BaseException:
        browser.__exit__()
        raise
    return browser


def pink_wall(stamp_ns=None, distance_m=1.5):
    """A frame that shows a pink wall."""
    frame = wall(stamp_ns or now_ns(), distance_m=distance_m, pose=POSE)
    color = np.full_like(frame.color, PINK)
    return message_from_frame(dataclasses.replace(frame, color=color))


class WallSender:
    """Sends pink walls; a wall may be superseded, so whoever waits sends again."""

    def __init__(self, graph):
        self._publisher = graph.publisher(RgbdFrame, "/camera/rgbd", subscribers=2)
        self.newest_ns = 0

    def send(self, distance_m=1.5):
        message = pink_wall(distance_m=distance_m)
        self._publisher.publish(message)
        stamp = message.header.stamp
        self.newest_ns = stamp.sec * 1_000_000_000 + stamp.nanosec


def pink_box(browser):
    """(left, top, right, bottom) of what is pink in the page [px]; None when nothing is."""
    pixels = np.asarray(Image.open(io.BytesIO(browser.picture())).convert("RGB"), np.int32)
    pink = (pixels[..., 0] > 150) & (pixels[..., 1] < 90) & (pixels[..., 2] > 80)
    # The panel has red buttons.
    pink[:, 480:] = False
    if np.count_nonzero(pink) < 50:
        return None
    rows, columns = np.flatnonzero(pink.any(axis=1)), np.flatnonzero(pink.any(axis=0))
    return columns[0], rows[0], columns[-1], rows[-1]


def until_pink(browser, send, condition=lambda _: True):
    """Send walls until the pink part of the page fulfils a condition; returns its box."""

    def seen():
        send()
        box = pink_box(browser)
        return box if box is not None and condition(box) else None

    return wait_until(seen, "no such cloud in the page", 90.0)
