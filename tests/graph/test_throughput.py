"""A camera at 30 Hz with 640x480 RGB-D beside a geometry node: nothing is lost on the way.

The full measurements are benchmarks/transport.py and benchmarks/handover.py; this is their rig for
ten seconds, without a word about time.
"""

import sys
from pathlib import Path

import pytest
from graph_tools import now_ns, wait_until, wall_message
from sensorium_ros.msg import RgbdFrame as RgbdFrameMessage

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from camera_to_geometry import (
    CAMERA,
    GEOMETRY,
    drain,
    read_journey,
    running,
    write_parameters,
    write_recording,
)

SECONDS = 10.0


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_recording(tmp_path_factory.mktemp("recording"), frames=12)


@pytest.mark.slow
@pytest.mark.parametrize("qos", ["reliable", "best_effort"])
def test_every_frame_of_a_camera_process_reaches_the_geometry_process(qos, recording, tmp_path):
    # A deep queue: other work on the machine may hold up the process for seconds.
    parameters = write_parameters(tmp_path / "parameters.yaml", recording, qos, qos_depth=100)
    with running(tmp_path, parameters) as watch:
        watch.spin(SECONDS)
        drain(watch)
        geometry = watch.statuses[GEOMETRY]
        published, received = watch.count(CAMERA, "published"), watch.count(GEOMETRY, "received")
    journey = read_journey(tmp_path)
    assert len(journey.sent) > 100
    assert journey.lost_positions() == []
    assert journey.duplicates == 0
    assert journey.unordered == 0
    assert journey.in_memory == 0
    assert journey.processed > 10
    # The nodes' own numbers say the same.
    assert (published, received) == (len(journey.sent), journey.received)
    assert geometry["lost"] == "0"
    accounted = sum(int(geometry[key]) for key in ("processed", "superseded", "rejected", "failed"))
    assert accounted == received


def test_nodes_of_one_container_hand_frames_over_in_memory(recording, tmp_path):
    parameters = write_parameters(tmp_path / "parameters.yaml", recording)
    with running(tmp_path, parameters, in_container=True) as watch:
        watch.spin(SECONDS / 2)
        drain(watch)
        geometry = watch.statuses[GEOMETRY]
    journey = read_journey(tmp_path)
    assert geometry["input0.transport"] == "in memory"
    assert journey.in_memory == journey.received == len(journey.sent) > 50
    assert journey.processed > 10


def test_frames_that_a_full_queue_pushed_out_are_counted_as_lost(ros, tmp_path):
    from rclpy.node import Node

    from sensorium.ros.inputs import MonitoredSubscription
    from sensorium.ros.qos import qos_profile

    node, received = Node("listener"), []
    subscription = MonitoredSubscription(
        node, RgbdFrameMessage, "frames", received.append, qos_profile("sensor_data", 2)
    )
    publisher = node.create_publisher(RgbdFrameMessage, "frames", qos_profile("reliable", 20))

    def listen():
        ros.spin_once(node, timeout_sec=0.1)
        return received

    wait_until(publisher.get_subscription_count, "not matched")
    publisher.publish(wall_message(now_ns()))
    wait_until(listen, "nothing came")
    for _ in range(10):
        publisher.publish(wall_message(now_ns()))
    wait_until(lambda: len(listen()) == 3, lambda: f"{len(received)} came")
    assert subscription.received == 3
    assert subscription.lost == 8
    node.destroy_node()
