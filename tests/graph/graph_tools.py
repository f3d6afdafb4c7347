"""The probe of a test: sends frames, reads what nodes publish, calls services, over DDS."""

import contextlib
import threading
import time
from dataclasses import dataclass, field

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from graph_nodes import PATIENCE_S, HostedNode, NodeProcess, Spinning, ros_arguments, wait_until
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from sensorium_ros.msg import RgbdFrame as RgbdFrameMessage
from tf2_msgs.msg import TFMessage

from sensorium.frames import RgbdFrame, pinhole
from sensorium.ros.convert.pose import stamped_transform
from sensorium.ros.convert.rgbd_frame import message_from_frame
from sensorium.ros.qos import qos_profile

SECOND_NS = 1_000_000_000
WIDTH_PX, HEIGHT_PX = 160, 120
CAMERA = pinhole(WIDTH_PX, HEIGHT_PX, 140.0)
ORIGIN = np.eye(4)
_TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
}
_STATES = {
    State.PRIMARY_STATE_UNCONFIGURED: "unconfigured",
    State.PRIMARY_STATE_INACTIVE: "inactive",
    State.PRIMARY_STATE_ACTIVE: "active",
    State.PRIMARY_STATE_FINALIZED: "finalized",
}


@dataclass(frozen=True)
class NodeStatus:
    """One diagnostic status of a node: level 0 OK, 1 WARN, 2 ERROR."""

    level: int
    message: str
    values: dict = field(repr=False)

    def count(self, key):
        return int(self.values.get(key, 0))

    def __str__(self):
        return f"level {self.level}: {self.message}\n{self.values}"


def geometry_accounts_for(status):
    """What became of the frames that a geometry node received."""
    return sum(status.count(key) for key in ("processed", "rejected", "superseded", "failed"))


class Graph:
    """The nodes of one test and the probe beside them; everything ends with the context."""

    def __init__(self, folder):
        self.folder = folder
        self.probe = Node("probe")
        self._statuses = {}
        self._nodes = []
        self.probe.create_subscription(DiagnosticArray, "/diagnostics", self._note, 100)
        self._spinning = Spinning(self.probe)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for node in reversed(self._nodes):
            node.stop()
        self._nodes.clear()
        self._spinning.stop()
        self.probe.destroy_node()
        self.probe = None

    def process(self, executable, *, name="", namespace="", remap=(), parameters=None):
        """Start a node as a process; it configures and activates itself unless told otherwise."""
        name = name or executable
        arguments = ros_arguments(name, namespace, remap, parameters)
        full_name = f"/{namespace}/{name}" if namespace else f"/{name}"
        log = self.folder / f"{full_name.replace('/', '_')}_{len(self._nodes)}.log"
        self._nodes.append(NodeProcess(executable, full_name, arguments, log))
        return self._nodes[-1]

    def host(self, executable, *, name="", namespace="", remap=(), parameters=None):
        """Start a node in this process; it configures and activates itself."""
        arguments = ros_arguments(name or executable, namespace, remap, parameters)
        self._nodes.append(HostedNode(executable, arguments))
        return self._nodes[-1]

    def manage(self, node):
        """Stop a thing that has ``stop()`` with the graph."""
        self._nodes.append(node)
        return node

    def status(self, name, condition=lambda _: True, timeout_s=PATIENCE_S):
        """Return the first status of a node, from now on, that fulfils the condition."""
        name = getattr(name, "name", name)
        self._statuses.pop(name, None)
        found = []

        def fulfilled():
            status = self._statuses.get(name)
            if status is not None and condition(status):
                found.append(status)
            return bool(found)

        wait_until(fulfilled, lambda: f"{name} says {self._statuses.get(name)}", timeout_s)
        return found[0]

    def collect(self, message_type, topic, qos="reliable", depth=100):
        """Return a list to which the messages of a topic are appended."""
        messages = []
        self.probe.create_subscription(
            message_type, topic, messages.append, qos_profile(qos, depth)
        )
        return messages

    def publisher(self, message_type, topic, qos="reliable", subscribers=1):
        """Return a publisher of the probe that has found its subscribers."""
        publisher = self.probe.create_publisher(message_type, topic, qos_profile(qos, 100))
        wait_until(
            lambda: publisher.get_subscription_count() >= subscribers, f"nobody subscribes {topic}"
        )
        return publisher

    def static_transform(self, parent, child, parent_from_child=ORIGIN):
        """Publish a transform on /tf_static for as long as the graph lives."""
        qos = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        publisher = self.probe.create_publisher(TFMessage, "/tf_static", qos)
        publisher.publish(TFMessage(transforms=[transform(parent, child, 0, parent_from_child)]))
        return publisher

    def call(self, service_type, name, request, timeout_s=PATIENCE_S):
        client = self.probe.create_client(service_type, name)
        try:
            wait_until(client.service_is_ready, f"there is no service {name}", timeout_s)
            future = client.call_async(request)
            wait_until(future.done, f"{name} does not answer", timeout_s)
            return future.result()
        finally:
            self.probe.destroy_client(client)

    def change(self, node, transition):
        request = ChangeState.Request(transition=Transition(id=_TRANSITIONS[transition]))
        return self.call(ChangeState, f"{node.name}/change_state", request).success

    def state(self, node):
        response = self.call(GetState, f"{node.name}/get_state", GetState.Request())
        return _STATES[response.current_state.id]

    def wait_state(self, node, state):
        failure = getattr(getattr(node, "node", None), "last_failure", "")
        wait_until(lambda: self.state(node) == state, f"{node.name} is not {state}; {failure}")

    def set(self, node, name, value):
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        return self.call(SetParameters, f"{node.name}/set_parameters", request).results[0]

    def active_geometry(self, **parameters):
        """Host a geometry node that listens to ``camera/rgbd``, and wait until it is active."""
        node = self.host("geometry", parameters={"threads": 1, **parameters})
        self.wait_state(node, "active")
        return node

    def _note(self, message):
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            level = int.from_bytes(status.level, "little")
            self._statuses[status.name] = NodeStatus(level, status.message, values)


def wall(stamp_ns, *, distance_m=1.0, camera_name="camera", frame_id="optical", pose=ORIGIN):
    """A frame that shows a grey wall straight ahead; `pose` None leaves it to TF."""
    return RgbdFrame(
        stamp_ns=stamp_ns,
        camera_name=camera_name,
        optical_frame=frame_id,
        color=np.full((HEIGHT_PX, WIDTH_PX, 3), 128, np.uint8),
        color_camera=CAMERA,
        depth_m=np.full((HEIGHT_PX, WIDTH_PX), distance_m, np.float32),
        depth_camera=CAMERA,
        world_frame="" if pose is None else "map",
        world_from_camera=pose,
    )


def wall_message(stamp_ns, **options):
    return message_from_frame(wall(stamp_ns, **options))


def now_ns():
    return time.time_ns()


def transform(parent, child, stamp_ns, pose) -> TransformStamped:
    return stamped_transform(np.asarray(pose, np.float64), stamp_ns, parent, child)


def translation(x, y, z):
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return pose


class FrameSender:
    """Sends walls one at a time and sees the points that a hosted geometry makes of them."""

    def __init__(self, graph, topic="/camera/rgbd", qos="reliable"):
        self.points = graph.collect(PointCloud2, "/geometry/points")
        self.publisher = graph.publisher(RgbdFrameMessage, topic, qos)
        self.sent = 0

    def send(self, message=None):
        self.publisher.publish(wall_message(now_ns()) if message is None else message)
        self.sent += 1

    def until_points_come(self):
        """Send walls until points come: they are only made once our subscription was found."""

        def came():
            self.send()
            time.sleep(0.1)
            return self.points

        wait_until(came, "no points of good frames")
        # The last walls may still be under way.
        count = -1
        while count != len(self.points):
            count = len(self.points)
            time.sleep(0.2)


class FrameStream(contextlib.AbstractContextManager):
    """Publishes walls at a steady rate from a thread, until the context ends."""

    def __init__(self, graph, topic="/camera/rgbd", rate_hz=20.0, **options):
        self._publisher = graph.probe.create_publisher(
            RgbdFrameMessage, topic, qos_profile("reliable", 10)
        )
        self._period_s = 1.0 / rate_hz
        self._options = options
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._publish, daemon=True)
        self.sent = 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        self._thread.join(10.0)

    def _publish(self):
        while not self._ending.wait(self._period_s):
            self._publisher.publish(wall_message(now_ns(), **self._options))
            self.sent += 1
