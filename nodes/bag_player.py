"""Replays a rosbag2 recording: undecoded messages, /clock, pause, rate and loop.

In a loop /clock jumps back to the start together with the stamps in the messages: a clock that ran
on would make every message of the second round older than its transforms. Nodes see the jump as a
time jump (rclpy's jump callbacks); within a round the clock never runs backwards.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock as ClockMessage
from std_srvs.srv import Trigger

from sensorium.bags import BagError, BagReader, PlaybackTimeline, TopicFilter
from sensorium.configuration import ConfigurationError, parameter
from sensorium.ros.bag_replay import FINISHED, PAUSED, PLAYING, WAITING, BagReplay
from sensorium.ros.diagnostics import Diagnostics, Status
from sensorium.ros.lifecycle import ManagedNode
from sensorium.ros.qos import LATCHED_QOS, qos_profile
from sensorium.ros.raw_publishers import RawPublishers
from sensorium.ros.running import run

_NS_PER_S = 1_000_000_000
_ACKNOWLEDGE_S = 2.0


@dataclass(frozen=True)
class Configuration:
    """Parameters of the node."""

    bag: str = parameter("", "rosbag2 directory, or a bare .mcap or .db3 file.")
    salvage: bool = parameter(False, "Replay what is intact of a truncated bag.")
    rate: float = parameter(
        1.0, "Speed: bag seconds per second.", minimum=0.01, maximum=1000.0, read_only=False
    )
    loop: bool = parameter(False, "Begin again at the end; /clock jumps back.", read_only=False)
    start_offset_s: float = parameter(
        0.0, "Time left out at the beginning [s]; latched messages in it are still published.",
        minimum=0.0,
    )  # fmt: skip
    duration_s: float = parameter(0.0, "Time to replay [s]; 0 replays to the end.", minimum=0.0)
    start_paused: bool = parameter(False, "Begin paused, until the service ~/resume is called.")
    topics: tuple[str, ...] = parameter((), "Topics to replay, by recorded name; empty for all.")
    regex: str = parameter("", "Replay the topics in whose names this expression is found, too.")
    exclude_regex: str = parameter("", "Leave out topics in whose names this is found.")
    remaps: tuple[str, ...] = parameter((), 'Topics to rename: ["/recorded:=/published"].')
    reliability: str = parameter(
        "recorded", "Reliability of the publishers (qos_overrides.* changes single topics).",
        choices=("recorded", "reliable", "best_effort"),
    )  # fmt: skip
    clock_rate_hz: float = parameter(
        100.0, "Rate of /clock [Hz], also while paused; 0 publishes none (a recorded /clock is "
        "replayed instead).", minimum=0.0, maximum=1000.0,
    )  # fmt: skip
    wait_for_subscribers_s: float = parameter(
        0.0, "Longest wait for subscribers before the first message [s].", minimum=0.0
    )
    wait_for_topics: tuple[str, ...] = parameter(
        (), "Topics that must have a subscriber; empty for all that are not latched."
    )
    exit_at_end: bool = parameter(False, "End the process after the last message.")


class BagPlayer(ManagedNode[Configuration]):
    """Publishes what a bag holds, when it is due.

    Topics: those of the bag; /clock; ``~/status`` (latched: what the player does). Services:
    ``~/pause``, ``~/resume``. After the last message the node stays alive, so that late joiners
    still get latched topics, and /clock stands at the end.
    """

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - rclpy's own
        self._bag: BagReader | None = None
        self._outputs: RawPublishers | None = None
        self._replay: BagReplay | None = None
        self._timeline = PlaybackTimeline()
        self._range_ns = (0, 0)
        self._clock_timer: Any = None
        super().__init__("bag_player", Configuration, **arguments)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._status_publisher = self.create_publisher(
            DiagnosticStatus, "~/status", qos_profile(LATCHED_QOS)
        )
        self._clock_publisher = self.create_publisher(ClockMessage, "/clock", QoSProfile(depth=10))
        self.create_service(Trigger, "~/pause", lambda _, answer: self._set_paused(True, answer))
        self.create_service(Trigger, "~/resume", lambda _, answer: self._set_paused(False, answer))
        self._diagnostics = Diagnostics(self, "bag", self._fill)

    def set_up(self) -> None:
        """Open the bag and make a publisher per topic."""
        configuration = self.configuration
        if not configuration.bag:
            raise ConfigurationError("parameter 'bag' is empty; give a rosbag2 directory or file")
        self._bag = bag = BagReader(configuration.bag, configuration.salvage)
        for note in bag.notes:
            self.get_logger().warning(f"{configuration.bag}: {note}")
        if bag.message_count == 0:
            raise BagError(f"bag {configuration.bag} holds no messages: there is nothing to replay")
        self._range_ns = _range(bag, configuration)
        chosen = TopicFilter(configuration.topics, configuration.regex, configuration.exclude_regex)
        chosen.require_known(bag.topics)
        self._outputs = RawPublishers(
            self,
            [topic for topic in bag.topics.values() if chosen.accepts(topic.name)],
            configuration.remaps,
            configuration.reliability,
            own_clock=configuration.clock_rate_hz > 0,
        )
        self._announce("ready")

    def start(self) -> None:
        """Replay from the beginning."""
        assert self._bag is not None  # noqa: S101 - set_up comes first
        assert self._outputs is not None  # noqa: S101 - set_up comes first
        configuration = self.configuration
        self._timeline = PlaybackTimeline(configuration.rate, configuration.start_paused)
        self._timeline.place(self._range_ns[0])
        if configuration.clock_rate_hz > 0:
            self._clock_timer = self.create_timer(
                1.0 / configuration.clock_rate_hz, self._publish_clock, clock=self._steady
            )
        self._replay = BagReplay(
            self._bag,
            self._outputs,
            self._timeline,
            self._range_ns,
            loops=lambda: self.configuration.loop,
            announce=self._announce,
            at_start=self._publish_clock,
            log=self.get_logger(),
        )
        self._replay.start(configuration.wait_for_subscribers_s, configuration.wait_for_topics)

    def stop(self) -> None:
        """End the replay; /clock ends with it."""
        if self._replay is not None:
            self._replay.stop()
            self._replay = None
        if self._clock_timer is not None:
            self.destroy_timer(self._clock_timer)
            self._clock_timer = None
        self._announce("stopped")

    def tear_down(self) -> None:
        """Close the bag and its publishers."""
        if self._outputs is not None:
            self._outputs.close()
            self._outputs = None
        if self._bag is not None:
            self._bag.close()
            self._bag = None

    def apply_changes(self, old: Configuration, new: Configuration) -> None:
        """Change the rate at once; `loop` is read at the end of each round."""
        if new.rate != old.rate:
            self._timeline.set_rate(new.rate)

    def _set_paused(self, paused: bool, response: Trigger.Response) -> Trigger.Response:
        replay = self._replay
        if replay is None or replay.state not in (WAITING, PLAYING, PAUSED):
            state = "not active" if replay is None else replay.state
            response.message = f"nothing is being replayed: the player is {state}"
            return response
        if paused:
            self._timeline.pause()
        else:
            self._timeline.resume()
        if replay.state != WAITING:
            replay.enter(PAUSED if paused else PLAYING)
        response.success = True
        response.message = f"{replay.state} at {self._position_s():.3f} s"
        return response

    def _publish_clock(self) -> None:
        if self.configuration.clock_rate_hz > 0:
            seconds, nanoseconds = divmod(self._timeline.now_ns, _NS_PER_S)
            message = ClockMessage()
            message.clock.sec, message.clock.nanosec = seconds, nanoseconds
            self._clock_publisher.publish(message)

    def _position_s(self) -> float:
        start_ns = self._bag.start_ns if self._bag is not None else 0
        return max(0.0, (self._timeline.now_ns - start_ns) / _NS_PER_S)

    def _announce(self, state: str) -> None:
        """Publish the latched status; the last state ends the process where that is asked for."""
        status = Status()
        self._fill(status)
        status.values["state"] = state
        self._status_publisher.publish(
            DiagnosticStatus(
                level=status.level,
                name=self.get_fully_qualified_name(),
                message="; ".join(status.messages) or state,
                hardware_id=self.configuration.bag,
                values=[KeyValue(key=key, value=text) for key, text in status.values.items()],
            )
        )
        if state == FINISHED and self.configuration.exit_at_end and self._outputs is not None:
            self._outputs.wait_acknowledged(_ACKNOWLEDGE_S)
            os.kill(os.getpid(), signal.SIGINT)

    def _fill(self, status: Status) -> None:
        status.value("bag", self.configuration.bag)
        if self.last_failure:
            status.error(self.last_failure)
        if self._bag is not None:
            status.value("position_s", self._position_s())
            status.value("duration_s", self._bag.duration_s)
            for note in self._bag.notes:
                status.warn(note)
        if self._outputs is not None:
            self._outputs.describe(status)
        if self._replay is not None:
            self._replay.describe(status)


def _range(bag: BagReader, configuration: Configuration) -> tuple[int, int]:
    """Return the first and last stamp to replay."""
    start_ns = bag.start_ns + int(configuration.start_offset_s * _NS_PER_S)
    if start_ns > bag.end_ns:
        raise BagError(
            f"start_offset_s is {configuration.start_offset_s:g}, but bag {configuration.bag} "
            f"lasts {bag.duration_s:.3f} s"
        )
    if configuration.duration_s == 0:
        return start_ns, bag.end_ns
    return start_ns, min(bag.end_ns, start_ns + int(configuration.duration_s * _NS_PER_S))


def make_node(**arguments: Any) -> BagPlayer:  # noqa: ANN401 - rclpy's own
    """Make the node."""
    return BagPlayer(**arguments)


def main() -> None:
    """Run the node."""
    run([make_node])


if __name__ == "__main__":
    main()
