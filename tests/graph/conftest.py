"""Fixtures for tests that run real nodes over real DDS.

Every test session has a ROS domain of its own, so that two sessions on one machine (or a robot on
the same network) never hear each other.
"""

import os
import random

import pytest

# Set before rclpy is imported anywhere: the domain is read when a context is made.
os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(0, 101))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("AMENT_PREFIX_PATH", os.sys.prefix)

pytest.importorskip("rclpy", reason="ROS 2 is not installed")


def pytest_collection_modifyitems(items):
    for item in items:
        if "/graph/" in str(item.path):
            item.add_marker(pytest.mark.graph)


@pytest.fixture
def ros():
    """An initialised rclpy for one test."""
    import rclpy

    rclpy.init()
    yield rclpy
    rclpy.try_shutdown()


@pytest.fixture
def graph(ros, tmp_path):
    """Nodes under test and a probe beside them (see graph_tools); all stopped after the test."""
    from graph_tools import Graph

    with Graph(tmp_path) as graph:
        yield graph
