"""Every kind of input reaches a network rightly; what one lacks is refused with a reason."""

import time

import numpy as np
import pytest
from geometry_msgs.msg import WrenchStamped
from graph_tools import wait_until
from sensor_msgs.msg import Imu, JointState
from sensorium_ros.msg import SignalBlock, SignalEstimate
from signal_tools import (
    CHANNELS,
    NAMES,
    RATE_HZ,
    START_NS,
    UNITS,
    SignalSession,
    imu,
    signal,
    stamps,
    window_scores,
    write_model,
)
from std_msgs.msg import Float32MultiArray, MultiArrayDimension

from sensorium.ros.convert.header import header
from sensorium.ros.qos import qos_profile
from sensorium.streaming.model_file import Channel

COUNT = 512
JOINTS = [f"joint{i}" for i in range(CHANNELS)]


def channels(names, unit=""):
    return tuple(Channel(name, unit, 0.1, 2.0) for name in names)


def wrench(stamp_ns, sample):
    message = WrenchStamped(header=header(int(stamp_ns), "tool"))
    force, torque = message.wrench.force, message.wrench.torque
    force.x, force.y, force.z = map(float, sample[:3])
    torque.x, torque.y, torque.z = map(float, sample[3:])
    return message


def joints(stamp_ns, sample):
    """Joints in another order than the network's, with one that it does not read."""
    order = [5, 2, 0, 1, 4, 3]
    return JointState(
        header=header(int(stamp_ns), ""),
        name=[*(JOINTS[i] for i in order), "gripper"],
        effort=[*(float(sample[i]) for i in order), 99.0],
    )


def block(stamp_ns, values, **changes):
    return SignalBlock(
        **{
            "header": header(int(stamp_ns), "skin"), "rate_hz": float(RATE_HZ),
            "channel_names": NAMES, "units": UNITS, "samples": values.reshape(-1), **changes,
        }
    )  # fmt: skip


class Listener:
    """A session with a network of its own channels."""

    def __init__(self, graph, folder, message_type, model_channels, **parameters):
        path, self.network = write_model(folder, channels=model_channels)
        self.graph = graph
        self.node = graph.host(
            "signal", parameters={"models": [str(path)], "topic": "samples", **parameters}
        )
        self.publisher = graph.probe.create_publisher(
            message_type, "/samples", qos_profile("reliable", 2000)
        )
        self.estimates = graph.collect(SignalEstimate, "/signal/contact", depth=1000)
        wait_until(self.publisher.get_subscription_count, lambda: self.node.node.last_failure)

    def status(self, received):
        return self.graph.status("/signal", lambda s: s.count("contact.received") >= received)

    def scores(self, expected):
        wait_until(
            lambda: sum(e.valid for e in self.estimates) >= len(expected),
            lambda: f"{len(self.estimates)} estimates, {self.graph.status('/signal')}",
        )
        return [e.scores for e in self.estimates if e.valid]


@pytest.mark.parametrize(
    ("kind", "message_type", "make", "names"),
    [
        ("wrench", WrenchStamped, wrench, [f"{q}.{a}" for q in ("force", "torque") for a in "xyz"]),
        ("joint_effort", JointState, joints, [f"{joint}.effort" for joint in JOINTS]),
    ],
)
def test_messages_of_one_sample_reach_the_network(graph, tmp_path, kind, message_type, make, names):
    listener = Listener(graph, tmp_path, message_type, channels(names), input=kind)
    samples = signal(COUNT)
    for stamp_ns, sample in zip(stamps(COUNT), samples, strict=True):
        listener.publisher.publish(make(stamp_ns, sample))
        time.sleep(0.0002)
    expected = window_scores(listener.network, samples)
    np.testing.assert_allclose(listener.scores(expected), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_blocks_of_any_size_give_the_same(graph, tmp_path, size):
    listener = Listener(graph, tmp_path, SignalBlock, channels(NAMES), input="signal_block")
    samples = signal(COUNT)
    for first in range(0, COUNT, size):
        listener.publisher.publish(block(stamps(COUNT)[first], samples[first : first + size]))
        time.sleep(0.0002)
    expected = window_scores(listener.network, samples)
    np.testing.assert_allclose(listener.scores(expected), expected, rtol=0, atol=5e-6)


def test_arrays_without_a_header_are_counted_at_the_declared_rate(graph, tmp_path):
    listener = Listener(
        graph, tmp_path, Float32MultiArray, channels(NAMES),
        input="float_array", rate_hz=float(RATE_HZ), channel_names=NAMES,
    )  # fmt: skip
    samples = signal(COUNT)
    message = Float32MultiArray()
    message.layout.dim = [MultiArrayDimension(size=64), MultiArrayDimension(size=CHANNELS)]
    for first in range(0, COUNT, 64):
        message.data = samples[first : first + 64].reshape(-1)
        listener.publisher.publish(message)
        time.sleep(0.064)
    # The rate of arrivals is known after two seconds; until then estimates are not valid.
    wait_until(lambda: len(listener.estimates) >= COUNT // 32, "estimates are missing")
    expected = window_scores(listener.network, samples)
    scores = [e.scores for e in listener.estimates if len(e.scores)]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=5e-6)


def test_an_acceleration_that_is_not_measured_is_refused(graph, tmp_path):
    session = SignalSession(graph, tmp_path)
    message = imu(START_NS, signal(1)[0])
    message.linear_acceleration_covariance[0] = -1.0
    session.publisher.publish(message)
    status = session.graph.status("/signal", lambda s: s.count("contact.received") == 1)
    assert status.count("contact.rejected.channel") == 1
    assert status.count("contact.used") == 0
    assert "linear_acceleration.x" in status.message


@pytest.mark.parametrize(
    ("changes", "reason", "text"),
    [
        ({"units": ["g"] * 3 + ["rad/s"] * 3}, "unit", "trained in m/s"),
        ({"rate_hz": 500.0}, "rate", "trained at 1000 Hz"),
        ({"channel_names": [*NAMES[::-1][:5], "other"]}, "channel", "linear_acceleration.x"),
    ],
)
def test_blocks_that_do_not_fit_the_network_are_refused(graph, tmp_path, changes, reason, text):
    model_channels = tuple(Channel(n, u) for n, u in zip(NAMES, UNITS, strict=True))
    listener = Listener(graph, tmp_path, SignalBlock, model_channels, input="signal_block")
    listener.publisher.publish(block(START_NS, signal(10), **changes))
    status = listener.status(10)
    assert status.count(f"contact.rejected.{reason}") == 10
    assert text in status.message


def test_a_message_without_a_stamp_or_with_half_a_sample_is_refused(graph, tmp_path):
    listener = Listener(graph, tmp_path, SignalBlock, channels(NAMES), input="signal_block")
    listener.publisher.publish(block(0, signal(10)))
    listener.publisher.publish(block(START_NS, signal(10), samples=[1.0] * 7))
    status = graph.status("/signal", lambda s: s.count("rejected") == 2)
    assert status.count("rejected.no_stamp") == 1
    assert status.count("rejected.shape") == 1


def test_several_networks_read_one_stream(graph, tmp_path):
    first, network = write_model(tmp_path)
    second, _ = write_model(tmp_path, "slip", hop=64, mode="stream")
    graph.host("signal", parameters={"models": [str(first), str(second)], "topic": "samples"})
    one = graph.collect(SignalEstimate, "/signal/contact")
    other = graph.collect(SignalEstimate, "/signal/slip")
    sender = graph.probe.create_publisher(Imu, "/samples", qos_profile("reliable", 2000))
    wait_until(sender.get_subscription_count, "nobody listens")
    samples = signal(COUNT)
    for stamp_ns, sample in zip(stamps(COUNT), samples, strict=True):
        sender.publish(imu(stamp_ns, sample))
        time.sleep(0.0002)
    wait_until(lambda: len(one) >= COUNT // 32 and len(other) >= COUNT // 64, "too few estimates")
    expected = window_scores(network, samples)
    np.testing.assert_allclose([e.scores for e in one if e.valid], expected, rtol=0, atol=5e-6)
    assert {e.model for e in other} == {"slip"}


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"models": ["nothing"]}, "shipped: activity, contact, heartbeat"),
        ({"models": []}, "'models' is empty"),
        ({"models": ["activity", "activity"]}, "two networks are called 'activity'"),
        ({"input": "float_array"}, "declare 'rate_hz'"),
        ({"rate_hz": 100.0}, "for input 'float_array' only"),
    ],
)
def test_parameters_that_make_no_sense_fail_configure_in_words(graph, parameters, text):
    node = graph.host("signal", parameters=parameters)
    wait_until(lambda: text in node.node.last_failure, lambda: node.node.last_failure)
    assert graph.state(node) == "unconfigured"
