"""Runs nodes until they are asked to stop, then stops them while they can still publish."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from sensorium.processes import parent_is_gone
from sensorium.ros.allocation import reuse_large_blocks
from sensorium.ros.lifecycle import ManagedNode

NodeMaker = Callable[[], ManagedNode[Any]]

# A signal is seen between two waits of the executor.
_WAIT_S = 0.1


def run(make_nodes: Sequence[NodeMaker], arguments: Sequence[str] | None = None) -> None:
    """Run nodes in one executor until SIGINT, SIGTERM or the death of the parent that manages us.

    rclpy's own signal handlers invalidate the context at once, so that a node could no longer
    publish its last word (a safe action, a final diagnostic). Here the nodes are stopped first.

    Args:
        make_nodes: each makes one node.
        arguments: global ROS arguments; None takes the command line.
    """
    reuse_large_blocks()
    stopping = False

    def request_stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    rclpy.init(
        args=list(sys.argv if arguments is None else arguments),
        signal_handler_options=SignalHandlerOptions.NO,
    )
    previous = {
        number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)
    }
    nodes: list[ManagedNode[Any]] = []
    executor = SingleThreadedExecutor()
    try:
        for make_node in make_nodes:
            nodes.append(make_node())
            executor.add_node(nodes[-1])
        while not stopping and rclpy.ok() and not parent_is_gone():
            try:
                executor.spin_once(timeout_sec=_WAIT_S)
            except Exception:
                # One message or request must not end the process; the log says what it was.
                nodes[0].get_logger().error(f"a callback failed:\n{traceback.format_exc()}")
    finally:
        for node in nodes:
            node.destroy_node()
        executor.shutdown()
        rclpy.try_shutdown()
        for number, handler in previous.items():
            signal.signal(number, handler)
