"""Fixtures for tests that run real nodes over real DDS.

Every test session has a ROS domain of its own, so that two sessions on one machine (or a robot on
the same network) never hear each other.
"""

import fcntl
import gc
import os
import random
import tempfile
from pathlib import Path

import pytest


def _own_domain():
    """A domain that no other test session on this machine has; held as long as the file is open."""
    for domain in random.SystemRandom().sample(range(102), 102):
        path = Path(tempfile.gettempdir()) / f"sensorium_test_domain_{domain}_{os.getuid()}.lock"
        file = path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
        else:
            return domain, file
    raise RuntimeError("every ROS domain is taken by another test session")


# Set before rclpy is imported anywhere: the domain is read when a context is made.
_DOMAIN, _DOMAIN_LOCK = _own_domain()
os.environ["ROS_DOMAIN_ID"] = str(_DOMAIN)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("AMENT_PREFIX_PATH", os.sys.prefix)

pytest.importorskip("rclpy", reason="ROS 2 is not installed")


def pytest_collection_modifyitems(config, items):
    may_rerun = config.pluginmanager.hasplugin("rerunfailures")
    for item in items:
        if "/graph/" in str(item.path):
            item.add_marker(pytest.mark.graph)
            # Real processes, real DDS, a shared machine: as `colcon test --retest-until-pass` does,
            # one more try, which the summary shows as RERUN.
            if may_rerun:
                item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture
def ros():
    """An initialised rclpy for one test."""
    import rclpy

    rclpy.init()
    yield rclpy
    # The services of a lifecycle node are withdrawn when the node is collected, not when it is
    # destroyed; until then they would answer for the nodes of the tests that follow.
    gc.collect()
    rclpy.try_shutdown()


@pytest.fixture
def graph(ros, tmp_path):
    """Nodes under test and a probe beside them (see graph_tools); all stopped after the test."""
    from graph_tools import Graph

    with Graph(tmp_path) as graph:
        yield graph
