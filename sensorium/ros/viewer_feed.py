"""Messages of the graph into the page: the newest of each is drawn at the page's own rate."""

from __future__ import annotations

import threading
import traceback
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from sensor_msgs.msg import Image, PointCloud2
from sensorium_ros.msg import ActionChunk, Objects, RgbdFrame, Segments, SignalEstimate
from trajectory_msgs.msg import JointTrajectory

from sensorium.configuration import parameter
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.header import stamp_from_time
from sensorium.ros.convert.image import color_from_image
from sensorium.ros.convert.rgbd_frame import frame_from_message
from sensorium.ros.diagnostics import Rejections, Status
from sensorium.ros.inputs import MonitoredSubscription
from sensorium.ros.qos import INPUT_QOS, LATCHED_QOS, qos_profile
from sensorium.ros.viewer_places import Places
from sensorium.ros.viewer_views import action_view, boxes_of, cloud_colors, command_text
from sensorium.viewer.panel import InputState, NodeState, Panel
from sensorium.viewer.scene import Scene
from sensorium.viewer.thinning import thinned

_DEPTH = 2
_ESTIMATES_DEPTH = 100
# A labelled cloud replaces the plain one for so long after it came.
_LABELS_HOLD_NS = 3_000_000_000
_NODE_SILENT_NS = 5_000_000_000
# Beyond these, names that are made up would fill the page and the memory.
_MOST_PLACES = 16
_MOST_NODES = 200
_ESTIMATE_STATES = {0: "ok", 1: "warming up", 2: "too much of the window was missing"}


@dataclass(frozen=True)
class Topics:
    """Topics that the page shows; relative to the node's namespace, "" for none."""

    points: str = parameter("geometry/points", "Cloud with the colours of the picture.")
    labelled_points: str = parameter(
        "semantic_cloud/points", "Cloud with a field 'label', drawn in the colours of the classes."
    )
    map: str = parameter("geometry/map", "Fused map (latched).")
    cameras: tuple[str, ...] = parameter(("camera/rgbd",), "RgbdFrame topics, one per camera.")
    objects: str = parameter("semantic_cloud/objects", "Objects: boxes with names.")
    segments: str = parameter("segmentation/segments", "Segments: the class list in use.")
    overlay: str = parameter("segmentation/overlay", "Picture with coloured segments.")
    signals: tuple[str, ...] = parameter(
        ("signal/activity", "signal/heartbeat", "signal/contact"),
        "SignalEstimate topics, one per network.",
    )
    actions: str = parameter("policy/chunk", "ActionChunk of the policy.")
    trajectory: str = parameter("joint_trajectory", "JointTrajectory that is sent to the robot.")


class ViewerFeed:
    """Subscribes, keeps the newest message of each kind, and draws them by :meth:`draw`.

    Args:
        node: the node.
        topics: what to subscribe.
        scene: the page's scene.
        panel: the page's panel.
        places: where things stand in the world.
        most_points: points shown at most per cloud.

    Attributes:
        drawn: messages drawn.
        shows_points: whether a cloud has been drawn.
    """

    def __init__(
        self,
        node: Node,
        topics: Topics,
        scene: Scene,
        panel: Panel,
        places: Places,
        most_points: int,
    ) -> None:
        self._node, self._scene, self._panel = node, scene, panel
        self._places, self._most_points = places, most_points
        self._rejections = Rejections(node)
        self._lock = threading.Lock()
        # What to draw, by kind and place: a newer message takes the place of an older one.
        self._newest: dict[tuple[str, str], Callable[[], None]] = {}
        self._known: defaultdict[str, set[str]] = defaultdict(set)
        self._labelled_ns: dict[str, int] = {}
        self._nodes: dict[str, tuple[int, NodeState]] = {}
        self._inputs: list[tuple[str, MonitoredSubscription]] = []
        self.drawn = 0
        self.shows_points = False
        kinds: list[tuple[str, Any, str, Callable[[Any], None]]] = [
            ("points", PointCloud2, topics.points, self._take_cloud),
            ("labelled points", PointCloud2, topics.labelled_points, self._take_labelled),
            ("map", PointCloud2, topics.map, self._take(self._draw_map)),
            *(("camera", RgbdFrame, name, self._take_frame) for name in topics.cameras),
            ("objects", Objects, topics.objects, self._take(self._draw_objects)),
            ("segments", Segments, topics.segments, self._take(self._draw_segments)),
            ("overlay", Image, topics.overlay, self._take(self._draw_overlay)),
            *(("signal", SignalEstimate, name, self._take_estimate) for name in topics.signals),
            ("action", ActionChunk, topics.actions, self._take(self._draw_action)),
            ("trajectory", JointTrajectory, topics.trajectory, self._take(self._draw_command)),
        ]
        for what, message_type, topic, take in kinds:
            if topic:
                depth = _ESTIMATES_DEPTH if message_type is SignalEstimate else _DEPTH
                qos = qos_profile(LATCHED_QOS if what == "map" else INPUT_QOS, depth)
                source = MonitoredSubscription(node, message_type, topic, take, qos)
                self._inputs.append((what, source))
        self._diagnostics = node.create_subscription(
            DiagnosticArray, "/diagnostics", self._take_diagnostics, 100
        )

    def close(self) -> None:
        """Unsubscribe."""
        for _, source in self._inputs:
            source.close()
        self._inputs = []
        self._node.destroy_subscription(self._diagnostics)

    def draw(self) -> None:
        """Draw what has come since the last call; from a worker's thread."""
        with self._lock:
            waiting, self._newest = list(self._newest.values()), {}
        for show in waiting:
            try:
                show()
            except ValueError as error:
                self._rejections.add("unusable", str(error))
            except Exception as error:
                # One message that we cannot draw must not keep the others from the page.
                self._rejections.add("failed", repr(error))
                self._node.get_logger().error(traceback.format_exc(), throttle_duration_sec=5.0)
        self.drawn += len(waiting)
        now_ns = self._node.get_clock().now().nanoseconds
        self._panel.show_inputs(
            [_input_state(what, source, now_ns) for what, source in self._inputs],
            self._places.problems(),
        )
        self._panel.draw_signals()
        self._panel.show_nodes([self._node_state(*known) for known in [*self._nodes.values()]])

    def describe(self, status: Status) -> None:
        """Add counts and rates of the inputs to a status."""
        status.value("drawn", self.drawn)
        for what, source in self._inputs:
            if source.received:
                source.describe(status, f"{what.replace(' ', '_')}.{source.topic}")
        self._rejections.describe(status)
        for problem in self._places.problems():
            status.warn(problem)

    def _keep(self, kind: str, place: str, show: Callable[[], None]) -> None:
        if not self._has_room(kind, place):
            return
        with self._lock:
            self._newest[kind, place] = show

    def _has_room(self, kind: str, place: str) -> bool:
        known = self._known[kind]
        if place not in known and len(known) >= _MOST_PLACES:
            self._rejections.add(
                "too_many", f"{kind} of '{place[:80]}': {_MOST_PLACES} others are shown already"
            )
            return False
        known.add(place)
        return True

    def _take(self, draw: Callable[[Any], None]) -> Callable[[Any], None]:
        return lambda message: self._keep(draw.__name__, "", lambda: draw(message))

    def _take_cloud(self, message: PointCloud2) -> None:
        frame_id = message.header.frame_id
        self._keep("cloud", frame_id, lambda: self._draw_cloud(message, labelled=False))

    def _take_labelled(self, message: PointCloud2) -> None:
        frame_id = message.header.frame_id
        self._keep("labelled", frame_id, lambda: self._draw_cloud(message, labelled=True))

    def _take_frame(self, message: RgbdFrame) -> None:
        if not self._has_room("optical frame", message.header.frame_id):
            return
        # Every pose is kept, also of frames that are not drawn: clouds are made from those, too.
        try:
            self._places.remember(message)
        except ConversionError as error:
            self._rejections.add("unusable", f"pose of camera {message.camera_name}: {error}")
            return
        self._keep("camera", message.camera_name, lambda: self._draw_camera(message))

    def _take_estimate(self, message: SignalEstimate) -> None:
        # Every value of a curve counts, so they are not superseded.
        if not self._has_room("estimates", message.model):
            return
        try:
            self._panel.add_estimate(
                message.model, _stamp(message), list(message.class_names), list(message.scores),
                _ESTIMATE_STATES.get(message.status, "unknown state"),
            )  # fmt: skip
        except ValueError as error:
            self._rejections.add("unusable", f"estimate of {message.model}: {error}")

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        now_ns = self._node.get_clock().now().nanoseconds
        for status in message.status:
            if status.name not in self._nodes and len(self._nodes) >= _MOST_NODES:
                del self._nodes[min(self._nodes, key=lambda name: self._nodes[name][0])]
            level = int.from_bytes(status.level, "little")
            self._nodes[status.name] = now_ns, NodeState(status.name, level, status.message)

    def _draw_cloud(self, message: PointCloud2, *, labelled: bool) -> None:
        frame_id, stamp_ns = message.header.frame_id, _stamp(message)
        if labelled:
            self._labelled_ns[frame_id] = stamp_ns
        elif self._has_labels(frame_id, stamp_ns):
            return
        self._show_cloud(frame_id, message, labelled=labelled)

    def _has_labels(self, frame_id: str, stamp_ns: int) -> bool:
        labelled_ns = self._labelled_ns.get(frame_id)
        return labelled_ns is not None and abs(stamp_ns - labelled_ns) < _LABELS_HOLD_NS

    def _draw_map(self, message: PointCloud2) -> None:
        self._show_cloud("fused map", message, labelled=False)

    def _show_cloud(self, name: str, message: PointCloud2, *, labelled: bool) -> None:
        points, colors = cloud_colors(message, labelled=labelled)
        shown, shown_colors = thinned(points, colors, self._most_points)
        pose = self._places.world_from(message.header.frame_id, _stamp(message))
        self._scene.show_cloud(name, shown, shown_colors, pose)
        self.shows_points = True

    def _draw_camera(self, message: RgbdFrame) -> None:
        frame = frame_from_message(message)
        pose = self._places.world_from(frame.optical_frame, frame.stamp_ns)
        if frame.camera is not None:
            self._scene.show_camera(frame.camera_name, frame.camera, pose, frame.color)

    def _draw_objects(self, message: Objects) -> None:
        pose = self._places.world_from(message.header.frame_id, _stamp(message))
        self._scene.show_boxes(boxes_of(message, pose))

    def _draw_segments(self, message: Segments) -> None:
        seen = [segment.name for segment in message.segments]
        self._panel.show_classes(list(message.class_names), message.vocabulary_version, seen)

    def _draw_overlay(self, message: Image) -> None:
        self._panel.show_segmented(color_from_image(message))

    def _draw_action(self, message: ActionChunk) -> None:
        self._panel.show_action(action_view(message))

    def _draw_command(self, message: JointTrajectory) -> None:
        self._panel.show_command(command_text(message))

    def _node_state(self, heard_ns: int, state: NodeState) -> NodeState:
        silent_ns = self._node.get_clock().now().nanoseconds - heard_ns
        if silent_ns < _NODE_SILENT_NS:
            return state
        return NodeState(state.name, 3, f"silent for {silent_ns / 1e9:.0f} s; {state.message}")


def _stamp(message: Any) -> int:  # noqa: ANN401 - any message with a header
    stamp: Time = message.header.stamp
    return int(stamp_from_time(stamp))


def _input_state(what: str, source: MonitoredSubscription, now_ns: int) -> InputState:
    stamp_ns = source.last_stamp_ns
    age_s = None if stamp_ns is None else (now_ns - stamp_ns) / 1e9
    return InputState(what, source.topic, source.rate.rate_hz, stamp_ns, age_s)
