"""Ways to start what is tested: nodes as processes or in this one, and `sensorium up`."""

import importlib
import json
import signal
import sys
import threading
import time

import yaml
from rclpy.executors import SingleThreadedExecutor

from sensorium.cli.up import node_environment
from sensorium.processes import ManagedProcess, stop_all

# Two busy cores: what takes a second alone may take ten.
PATIENCE_S = 30.0
# A rendered camera that two busy cores draw in time.
SMALL_RENDERED = {"width_px": 160, "height_px": 120, "focal_px": 130.0, "rate_hz": 8.0}


def wait_until(condition, what="", timeout_s=PATIENCE_S):
    """Return the first true value of `condition()`; fail with `what()` or `what` after a while."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(
                f"not within {timeout_s:.0f} s: {what() if callable(what) else what}"
            )
        time.sleep(0.01)
    return value


def ros_arguments(name, namespace="", remap=(), parameters=None):
    arguments = ["--ros-args", "-r", f"__node:={name}"]
    if namespace:
        arguments += ["-r", f"__ns:=/{namespace}"]
    for old, new in remap:
        arguments += ["-r", f"{old}:={new}"]
    for key, value in {"autostart": True, **(parameters or {})}.items():
        arguments += ["-p", f"{key}:={json.dumps(value)}"]
    return arguments


class NodeProcess:
    """A node in a process of its own, stopped by the graph."""

    def __init__(self, executable, name, arguments, log):
        self.name = name
        self.log = log
        self._process = ManagedProcess(
            name,
            [sys.executable, "-m", f"sensorium.nodes.{executable}", *arguments],
            node_environment(),
            log,
        )
        self._process.start()

    @property
    def is_alive(self):
        return self._process.returncode is None

    def kill(self, number):
        self._process.signal(number)
        wait_until(lambda: not self.is_alive, f"{self.name} still runs after {number}")

    def stop(self):
        stop_all([self._process])
        return self._process.returncode


class HostedNode:
    """A node in this process, with an executor and thread of its own as in sensorium.ros.running.

    Its topics, services and parameters go over DDS like those of any other node.
    """

    def __init__(self, executable, arguments):
        module = importlib.import_module(f"sensorium.nodes.{executable}")
        self.node = module.make_node(cli_args=arguments, use_global_arguments=False)
        self.name = self.node.get_fully_qualified_name()
        self._thread = Spinning(self.node)

    @property
    def is_alive(self):
        return self._thread.is_alive

    def stop(self):
        self._thread.stop()
        self.node.destroy_node()
        self.node = None


class Spinning:
    """An executor that spins one node in a thread of its own."""

    def __init__(self, node):
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._running = True
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    @property
    def is_alive(self):
        return self._thread.is_alive()

    def stop(self):
        self._running = False
        self._thread.join(10.0)
        self._executor.shutdown()
        self._executor = None

    def _spin(self):
        while self._running:
            self._executor.spin_once(timeout_sec=0.05)


class Bringup:
    """`sensorium up` with one rendered camera and geometry, as a user starts it."""

    def __init__(self, folder, name, *options, camera, geometry):
        sections = {
            "/**/bringup": {"nodes": ["camera/rgbd_camera", "geometry"]},
            "/**/rgbd_camera": {"source": "rendered", **camera},
            "/**/geometry": {"threads": 1, **geometry},
        }
        content = {node: {"ros__parameters": values} for node, values in sections.items()}
        file = folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(content))
        command = [sys.executable, "-c", "from sensorium.cli import main; main()", "up", str(file)]
        self.log = folder / f"{name}.log"
        self._process = ManagedProcess(name, [*command, *options], node_environment(), self.log)
        self._process.start()

    def interrupt(self):
        """Press Ctrl-C; returns the exit status."""
        self._process.signal(signal.SIGINT)
        wait_until(lambda: self._process.returncode is not None, "Ctrl-C does not end it")
        return self._process.returncode

    def stop(self):
        stop_all([self._process])
