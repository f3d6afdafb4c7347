"""Player and recorder as processes of their own, and a node that sees what they do."""

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from std_srvs.srv import Trigger

SECOND = 1_000_000_000
TRANSITIONS = {"configure": 1, "cleanup": 2, "activate": 3, "deactivate": 4}


def on_wire(data):
    """RTPS pads a serialised message to a multiple of 4 bytes; DDS hands the padding over, too."""
    return data + bytes(-len(data) % 4)


def yaml_value(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(yaml_value(item) for item in value) + "]"
    return f"'{value}'" if isinstance(value, str) else str(value)


class NodeProcess:
    """One of our nodes in a session of its own, as `ros2 launch` starts it."""

    def __init__(self, executable, *arguments, limit_bytes=None, **parameters):
        command = [sys.executable, "-m", f"sensorium.nodes.{executable}", "--ros-args"]
        for name, value in {"autostart": True, **parameters}.items():
            command += ["-p", f"{name}:={yaml_value(value)}"]
        self.name = executable
        self.process = subprocess.Popen(
            [*command, *arguments],
            start_new_session=True,
            preexec_fn=lambda: prepare(limit_bytes),  # noqa: PLW1509 - no locks are taken there
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def alive(self):
        return self.process.poll() is None

    def end(self, number=signal.SIGINT, timeout=20):
        """Signal the whole group; returns (exit status, output)."""
        if self.alive:
            os.killpg(self.process.pid, number)
        output, _ = self.process.communicate(timeout=timeout)
        return self.process.returncode, output


def prepare(limit_bytes):
    import resource

    # A job in the background of a shell has SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))


class Observer:
    """A node of the test: counts raw messages, diagnostics, statuses; calls services."""

    def __init__(self, ros, *, sim_time=False):
        self.node = ros.create_node(
            "observer", parameter_overrides=[Parameter("use_sim_time", value=sim_time)]
        )
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.messages = defaultdict(list)
        self.diagnostics = {}
        self.states = []
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnose, 50)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.node.create_subscription(
            DiagnosticStatus, "/bag_player/status", self._note_state, latched
        )

    def _diagnose(self, message):
        for status in message.status:
            self.diagnostics[status.name] = status

    def _note_state(self, status):
        self.states.append(values(status)["state"])
        self.status = status

    def listen(self, message_type, topic, *, reliable=True, durable=False, depth=1000, raw=True):
        profile = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=depth,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if durable else DurabilityPolicy.VOLATILE,
        )
        return self.node.create_subscription(
            message_type, topic, self.messages[topic].append, profile, raw=raw
        )

    def spin(self, until, timeout=20.0):
        """Spin until a condition holds; fails with what is known when it does not."""
        deadline = time.monotonic() + timeout
        while not until():
            assert time.monotonic() < deadline, (
                f"timeout; states {self.states}, diagnostics {self.diagnostics}, messages "
                f"{ {topic: len(found) for topic, found in self.messages.items()} }"
            )
            self.executor.spin_once(timeout_sec=0.05)

    def spin_for(self, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.02)

    def diagnosis(self, name, text):
        """Wait until a node's diagnostics hold `text`; returns the status."""
        self.spin(lambda: name in self.diagnostics and text in self.diagnostics[name].message)
        return self.diagnostics[name]

    def call(self, service_type, name, request):
        client = self.node.create_client(service_type, name)
        self.spin(client.service_is_ready)
        future = client.call_async(request)
        self.spin(future.done)
        self.node.destroy_client(client)
        return future.result()

    def trigger(self, name):
        return self.call(Trigger, name, Trigger.Request())

    def set(self, node, name, value):
        parameter = Parameter(name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[parameter])
        return self.call(SetParameters, f"{node}/set_parameters", request).results[0]

    def change(self, node, label):
        request = ChangeState.Request()
        request.transition.label = label
        request.transition.id = {"configure": 1, "cleanup": 2, "activate": 3, "deactivate": 4}[
            label
        ]
        return self.call(ChangeState, f"{node}/change_state", request).success

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()


def values(status):
    return {item.key: item.value for item in status.values}
