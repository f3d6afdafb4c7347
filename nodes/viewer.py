"""A live view of the graph in a web page: scene, signals, actions, and boxes that command."""

from __future__ import annotations

import sys
import time
import traceback
from dataclasses import dataclass, field
from typing import Any

from rclpy.clock import Clock, ClockType

from sensorium.configuration import parameter
from sensorium.ros.diagnostics import Diagnostics, Status
from sensorium.ros.lifecycle import ManagedNode
from sensorium.ros.running import run
from sensorium.ros.viewer_commands import ViewerCommands
from sensorium.ros.viewer_feed import Topics, ViewerFeed
from sensorium.ros.viewer_places import Places
from sensorium.ros.worker import NewestOnlyWorker
from sensorium.viewer.controls import Answer, Controls
from sensorium.viewer.panel import Panel
from sensorium.viewer.scene import Scene
from sensorium.viewer.server import ViewerServer

# A page that is opened while other nodes still load their models opens slowly and empty.
_ADDRESS_AFTER_S = 2.0


@dataclass(frozen=True)
class Configuration:
    """Parameters of the node."""

    host: str = parameter(
        "127.0.0.1", "Address to serve the page on; 127.0.0.1 is reached from this machine only."
    )
    port: int = parameter(8090, "Port of the page; 0 takes a free one.", minimum=0, maximum=65535)
    token: str = parameter(
        "", "Secret in the page's address, 16 or more letters and digits; empty makes a new one at "
        "each start."
    )  # fmt: skip
    allowed_hosts: tuple[str, ...] = parameter(
        (), "Further host:port names under which the page is reached, e.g. through a proxy."
    )
    world_frame: str = parameter("map", "Fixed frame in which everything is shown.")
    rate_hz: float = parameter(
        5.0, "How often the page is drawn anew [Hz].", minimum=0.2, maximum=30.0
    )
    most_points: int = parameter(
        30000, "Points shown at most per cloud.", minimum=100, maximum=1000000
    )
    frustum_m: float = parameter(
        0.25, "Size in which cameras are drawn [m].", minimum=0.01, maximum=100.0
    )
    signal_window_s: float = parameter(
        10.0, "Length of the signals' time axis [s].", minimum=1.0, maximum=600.0
    )
    view_from_m: tuple[float, ...] = parameter(
        (-2.5, -2.5, 2.5), "Where a newly opened page looks from, x y z in world_frame [m]."
    )
    view_at_m: tuple[float, ...] = parameter(
        (0.5, 0.5, 0.5), "Where it looks at, x y z in world_frame [m]."
    )
    tf_timeout_s: float = parameter(
        0.1, "How long to wait for transforms that are under way [s].", minimum=0.0, maximum=5.0
    )
    vocabulary_service: str = parameter(
        "segmentation/set_vocabulary", "Service that the vocabulary box calls."
    )
    policy_action: str = parameter("policy/run", "Action that the instruction box calls.")
    topics: Topics = field(default_factory=Topics)


class Viewer(ManagedNode[Configuration]):
    """Serves the page while configured, and fills it while active."""

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - rclpy's own
        self._server: ViewerServer | None = None
        self._page: tuple[Scene, Panel] | None = None
        self._feed: ViewerFeed | None = None
        self._places: Places | None = None
        self._commands: ViewerCommands | None = None
        self._timer: Any = None
        self._activated_s = 0.0
        self._address_is_printed = False
        super().__init__("viewer", Configuration, **arguments)
        self._drawer: NewestOnlyWorker[ViewerFeed] = NewestOnlyWorker(
            "viewer", ViewerFeed.draw, self._report
        )
        self._diagnostics = Diagnostics(self, "page", self._fill)

    @property
    def url(self) -> str:
        """Address of the page with its secret; "" while it is not served."""
        return self._server.url if self._server else ""

    def set_up(self) -> None:
        """Serve the page; its address is printed once it shows points, or after 2 s of activity."""
        settings = self.configuration
        server = self._server = ViewerServer(
            settings.host, settings.port, settings.token, settings.allowed_hosts
        )
        scene = Scene(server.page, settings.frustum_m)
        scene.look(settings.view_from_m, settings.view_at_m)
        self._page = scene, Panel(server.page, settings.signal_window_s)
        Controls(server.page, self)
        self._address_is_printed = False

    def start(self) -> None:
        """Subscribe."""
        settings = self.configuration
        assert self._page is not None  # noqa: S101 - configured before
        self._commands = ViewerCommands(self, settings.vocabulary_service, settings.policy_action)
        self._places = Places(self, settings.world_frame, settings.tf_timeout_s)
        feed = self._feed = ViewerFeed(
            self, settings.topics, *self._page, self._places, settings.most_points
        )
        self._drawer.start()
        self._activated_s = time.monotonic()
        # Steady time: the page must live while simulated time stands.
        self._timer = self.create_timer(
            1.0 / settings.rate_hz, lambda: self._tick(feed),
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )  # fmt: skip

    def stop(self) -> None:
        """Unsubscribe; the page keeps what it shows."""
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None
        self._drawer.stop()
        for part in (self._feed, self._places, self._commands):
            if part is not None:
                part.close()
        self._feed = self._places = self._commands = None

    def tear_down(self) -> None:
        """Stop serving the page."""
        if self._server is not None:
            self._server.close()
        self._server = self._page = None

    def set_vocabulary(self, names: list[str], things: list[str], answer: Answer) -> None:
        """Ask for another class list."""
        if commands := self._reached(answer):
            commands.set_vocabulary(names, things, answer)

    def run(self, instruction: str, time_limit_s: float, answer: Answer) -> None:
        """Send an instruction to the policy."""
        if commands := self._reached(answer):
            commands.run(instruction, time_limit_s, answer)

    def cancel(self, answer: Answer) -> None:
        """Stop every run of the policy."""
        if commands := self._reached(answer):
            commands.cancel(answer)

    def _reached(self, answer: Answer) -> ViewerCommands | None:
        if self._commands is None:
            answer("the viewer node is not active", False)
        return self._commands

    def _tick(self, feed: ViewerFeed) -> None:
        if self._commands is not None:
            self._commands.send_waiting()
        self._drawer.submit(feed)
        waited_s = time.monotonic() - self._activated_s
        if not self._address_is_printed and (feed.shows_points or waited_s > _ADDRESS_AFTER_S):
            self._print_address()

    def _print_address(self) -> None:
        # Not through the log, which goes to /rosout and into files: who has this may command.
        sys.stdout.write(f"Sensorium's page: {self.url}\n")
        sys.stdout.flush()
        self._address_is_printed = True

    def _report(self, _feed: ViewerFeed, error: Exception) -> None:
        text = "".join(traceback.format_exception(error))
        self.get_logger().error(f"drawing failed:\n{text}", throttle_duration_sec=5.0)

    def _fill(self, status: Status) -> None:
        counts = self._drawer.counts
        status.value("pages_open", len(self._server.page.get_clients()) if self._server else 0)
        status.value("draws", counts.processed)
        status.value("draws_failed", counts.failed)
        if self._feed is not None:
            self._feed.describe(status)
        if counts.failed:
            status.error(f"drawing failed {counts.failed} times; see the log")
        if self.last_failure:
            status.error(self.last_failure)


def make_node(**arguments: Any) -> Viewer:  # noqa: ANN401
    """Make the node."""
    return Viewer(**arguments)


def main() -> None:
    """Run the node."""
    run([make_node])


if __name__ == "__main__":
    main()
