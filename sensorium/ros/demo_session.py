"""The ROS side of the demonstration: brings nodes up, watches the stream, saves the map.

A process of its own; it prints events (`sensorium.demo.session`) as JSON lines and ends with
"done" or "failed". It owns the lifecycle of the nodes that it is told about.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import PointCloud2
from sensorium_ros.srv import SaveMap

from sensorium.demo.session import (
    SessionEvent,
    SessionRequest,
    StreamCounts,
    counts_from_diagnostics,
)
from sensorium.ros.bag_replay import FAILED, FINISHED
from sensorium.ros.qos import LATCHED_QOS, qos_profile

# Processes start slowly on a machine that does other things; a dead one is noticed by its parent.
_APPEAR_S = 90.0
_TRANSITION_S = 90.0
_MATCH_S = 20.0
_STALL_S = 30.0
_SETTLE_S = 20.0
_SAVE_S = 60.0
_PROGRESS_S = 0.5
# A node publishes diagnostics once a second.
_DIAGNOSTICS_S = 1.2


class SessionError(Exception):
    """The demonstration cannot go on; the text is for the user."""


class DemoSession:
    """Runs one demonstration on nodes that were started unconfigured.

    Args:
        request: what to do.
        tell: called with each event.
    """

    def __init__(self, request: SessionRequest, tell: Callable[[SessionEvent], None]) -> None:
        self._request = request
        self._tell = tell
        self._node = rclpy.create_node("demo_session")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._values: dict[str, dict[str, str]] = {}
        self._messages: dict[str, str] = {}
        self._heard_s: dict[str, float] = {}
        self._map_points = 0
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._note, 50)
        self._node.create_subscription(
            PointCloud2, f"{request.geometry}/map", self._note_map, qos_profile(LATCHED_QOS)
        )

    def run(self) -> None:
        """Do everything, from the first transition to the closed recording.

        Raises:
            SessionError: with the reason.
        """
        request = self._request
        self._wait_for_nodes()
        for name in request.nodes:
            self._transition(name, Transition.TRANSITION_CONFIGURE, "configuring")
        for name in request.nodes[:-1]:
            self._transition(name, Transition.TRANSITION_ACTIVATE, "activating")
        self._wait_until_everybody_listens()
        self._transition(request.nodes[-1], Transition.TRANSITION_ACTIVATE, "activating")
        self._phase("streaming")
        self._stream()
        self._phase("finishing the last frames")
        if request.camera and not request.player:
            self._transition(request.camera, Transition.TRANSITION_DEACTIVATE, "stopping")
        self._settle()
        self._save_map()
        self._phase("closing the recording")
        self._transition(request.recorder, Transition.TRANSITION_DEACTIVATE, "closing")
        self._spin(_DIAGNOSTICS_S)
        self._check_recording()
        self._tell(SessionEvent("done", counts=self.counts))

    @property
    def counts(self) -> StreamCounts:
        """The counts that the nodes reported last."""
        return counts_from_diagnostics(self._request, self._values, self._map_points)

    def close(self) -> None:
        """Destroy the node."""
        self._executor.shutdown()
        self._node.destroy_node()

    def _note(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self._values[status.name] = {item.key: item.value for item in status.values}
            self._messages[status.name] = status.message
            self._heard_s[status.name] = time.monotonic()

    def _note_map(self, message: PointCloud2) -> None:
        self._map_points = message.width * message.height

    def _phase(self, text: str) -> None:
        self._tell(SessionEvent("phase", text))

    def _spin(self, seconds: float) -> None:
        self._spin_until(lambda: False, seconds)

    def _spin_until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def _call(self, service_type: Any, name: str, request: Any, timeout_s: float) -> Any:  # noqa: ANN401
        """Return the answer of a service; raises SessionError after `timeout_s`."""
        client = self._node.create_client(service_type, name)
        try:
            future = None
            deadline = time.monotonic() + timeout_s
            if self._spin_until(client.service_is_ready, timeout_s):
                future = client.call_async(request)
                self._spin_until(future.done, deadline - time.monotonic())
            if future is None or not future.done():
                raise SessionError(f"service {name} did not answer within {timeout_s:.0f} s")
            return future.result()
        finally:
            self._node.destroy_client(client)

    def _wait_for_nodes(self) -> None:
        for number, name in enumerate(self._request.nodes):
            self._phase(f"waiting for {name} ({number + 1} of {len(self._request.nodes)})")
            state = self._call(GetState, f"{name}/get_state", GetState.Request(), _APPEAR_S)
            twice = self._names().count(name) > 1
            if twice or state.current_state.id != State.PRIMARY_STATE_UNCONFIGURED:
                raise SessionError(
                    f"another node {name} runs in this ROS domain; stop it, or unset ROS_DOMAIN_ID "
                    "so that the demo takes a domain of its own"
                )

    def _names(self) -> list[str]:
        return [
            f"{namespace.rstrip('/')}/{name}"
            for name, namespace in self._node.get_node_names_and_namespaces()
        ]

    def _transition(self, name: str, transition: int, doing: str) -> None:
        self._phase(f"{doing} {name}")
        request = ChangeState.Request(transition=Transition(id=transition))
        answer = self._call(ChangeState, f"{name}/change_state", request, _TRANSITION_S)
        if not answer.success:
            self._spin(_DIAGNOSTICS_S)
            reason = self._messages.get(name, "its log says why")
            raise SessionError(f"{doing} {name} failed: {reason}")

    def _wait_until_everybody_listens(self) -> None:
        """Wait until the recorder has the topics of the cameras and geometry has its frames.

        In a replay the recorder begins with /clock; there the player waits for its subscribers.
        """
        request = self._request
        if request.player:
            return
        self._phase("waiting until recorder and geometry listen")

        def ready() -> bool:
            topics = {name for name, _ in self._node.get_topic_names_and_types()}
            topics = {name for name in topics if self._node.count_publishers(name)}
            recorder, _, name = request.recorder.rpartition("/")
            found = self._node.get_subscriber_names_and_types_by_node(name, recorder or "/")
            hidden = {topic for topic in topics if "/_" in topic}
            listeners = self._node.count_subscribers(request.rgbd_topic)
            return listeners > 1 and topics - hidden <= {topic for topic, _ in found}

        if not self._spin_until(ready, _MATCH_S):
            self._tell(
                SessionEvent("warning", "not every topic has a listener yet: the first may be lost")
            )

    def _stream(self) -> None:
        """Return when the source has sent everything, or as much as was asked for."""
        request = self._request
        moved_s = told_s = time.monotonic()
        before = -1
        while True:
            self._executor.spin_once(timeout_sec=0.05)
            now = time.monotonic()
            counts = self.counts
            if counts.published + counts.processed != before:
                before, moved_s = counts.published + counts.processed, now
            if now - told_s >= _PROGRESS_S:
                told_s = now
                self._tell(SessionEvent("progress", counts=counts))
            if self._ended(counts):
                return
            if now - moved_s > _STALL_S:
                raise SessionError(self._why_nothing_comes(request, counts))

    def _ended(self, counts: StreamCounts) -> bool:
        request = self._request
        if not request.player:
            done = counts.published + sum(counts.rejected_by_source.values())
            return done >= request.frames
        player = self._values.get(request.player, {})
        if player.get("state") == FAILED:
            raise SessionError(f"the bag player failed: {self._messages[request.player]}")
        return player.get("state") == FINISHED

    def _why_nothing_comes(self, request: SessionRequest, counts: StreamCounts) -> str:
        reasons = [
            f"{name}: {self._messages[name]}"
            for name in request.nodes
            if self._messages.get(name, "OK") != "OK"
        ]
        return (
            f"nothing moved for {_STALL_S:.0f} s after {counts.published} frames published and "
            f"{counts.received} received; " + (" | ".join(reasons) or "the logs may say why")
        )

    def _settle(self) -> None:
        """Wait until geometry has worked off what it received and the map stands still."""
        geometry = self._request.geometry
        deadline = time.monotonic() + _SETTLE_S
        previous: StreamCounts | None = None
        while time.monotonic() < deadline:
            heard_s = self._heard_s.get(geometry, 0.0)
            fresh = self._spin_until(
                lambda heard_s=heard_s: self._heard_s.get(geometry, 0.0) > heard_s,  # type: ignore[misc]
                2 * _DIAGNOSTICS_S,
            )
            counts = self.counts
            self._tell(SessionEvent("progress", counts=counts))
            worked_off = counts.processed + counts.superseded + counts.failed
            worked_off += sum(counts.rejected.values())
            still = previous is not None and _standing(previous) == _standing(counts)
            if fresh and still and worked_off == counts.received:
                return
            previous = counts
        self._tell(SessionEvent("warning", "geometry was still at work when the map was saved"))

    def _save_map(self) -> None:
        counts = self.counts
        if counts.processed == 0:
            raise SessionError(
                f"no frame came through: {counts.published} published, {counts.received} received, "
                f"rejected by the camera {counts.rejected_by_source}, by geometry "
                f"{counts.rejected}; {self._messages.get(self._request.geometry, '')}"
            )
        self._phase("saving the map")
        request = SaveMap.Request(filename=self._request.map_file)
        answer = self._call(SaveMap, f"{self._request.geometry}/save_map", request, _SAVE_S)
        if not answer.success:
            reason = self._messages.get(self._request.geometry, "")
            raise SessionError(f"the map could not be saved: {answer.message} ({reason})")
        self._map_points = int(answer.points)

    def _check_recording(self) -> None:
        dropped = self.counts.recording_dropped
        if dropped:
            message = self._messages.get(self._request.recorder, "")
            self._tell(
                SessionEvent("warning", f"the recording lacks {dropped} messages: {message}")
            )


def _standing(counts: StreamCounts) -> tuple[int, ...]:
    return counts.received, counts.processed, counts.superseded, counts.fused


def _print(event: SessionEvent) -> None:
    sys.stdout.write(event.to_line() + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run the session that the only argument asks for; returns the exit code."""
    request = SessionRequest.from_json(sys.argv[1])
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    session = None
    try:
        session = DemoSession(request, _print)
        session.run()
    except SessionError as error:
        _print(SessionEvent("failed", str(error)))
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if session is not None:
            session.close()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
