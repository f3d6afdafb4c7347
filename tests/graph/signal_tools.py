"""A 1 kHz network with random weights, samples for it, and what a signal node makes of them."""

import time

import numpy as np
import torch
from graph_tools import SECOND_NS, wait_until
from sensor_msgs.msg import Imu
from sensorium_ros.msg import SignalEstimate

from sensorium.models.signals import build_network
from sensorium.ros.convert.header import header
from sensorium.ros.qos import qos_profile
from sensorium.streaming.model_file import Channel, SignalModel, save_signal_model

RATE_HZ, WINDOW, HOP, CHANNELS = 1000, 256, 32, 6
PERIOD_NS = SECOND_NS // RATE_HZ
START_NS = 1_700_000_000 * SECOND_NS
NAMES = [f"{part}.{axis}" for part in ("linear_acceleration", "angular_velocity") for axis in "xyz"]
UNITS = ["m/s^2"] * 3 + ["rad/s"] * 3
CONFIGURATION = {
    "channels": CHANNELS, "window": WINDOW, "classes": 3, "widths": [8, 8], "kernels": [5, 5],
    "pools": [2, 2], "padding": "centred", "head": "flatten",
}  # fmt: skip


def write_model(folder, name="contact", **changes):
    """Save a network with random weights; returns the path of its file and the network."""
    torch.manual_seed(7)
    network = build_network("convolutional_classifier", CONFIGURATION).eval()
    model = SignalModel(
        **{
            "name": name, "architecture": "convolutional_classifier",
            "configuration": CONFIGURATION,
            "channels": tuple(Channel(n, u, 0.1, 2.0) for n, u in zip(NAMES, UNITS, strict=True)),
            "rate_hz": RATE_HZ, "window": WINDOW, "hop": HOP, "mode": "exact_window",
            "class_names": ("free", "contact", "slip"), **changes,
        }
    )  # fmt: skip
    return save_signal_model(folder, model, network), network


def signal(count, seed=0):
    """(count, 6) float32: smooth, so that a linear fill is close."""
    t = np.arange(count)[:, None] / RATE_HZ
    phase = np.random.default_rng(seed).uniform(0, 6, CHANNELS)
    return (2.0 * np.sin(2 * np.pi * (2 + np.arange(CHANNELS)) * t + phase)).astype(np.float32)


def stamps(count, start_ns=START_NS):
    return start_ns + PERIOD_NS * np.arange(count)


def imu(stamp_ns, sample):
    message = Imu(header=header(int(stamp_ns), "imu_link"))
    acceleration, velocity = message.linear_acceleration, message.angular_velocity
    acceleration.x, acceleration.y, acceleration.z = map(float, sample[:3])
    velocity.x, velocity.y, velocity.z = map(float, sample[3:])
    return message


def window_scores(network, samples):
    """Scores of every window of (n, 6) samples, by the window network itself."""
    normalised = torch.from_numpy((samples - 0.1) / 2.0).T
    starts = range(0, len(samples) - WINDOW + 1, HOP)
    with torch.no_grad():
        rows = network(torch.stack([normalised[:, s : s + WINDOW] for s in starts]))
    return torch.softmax(rows, dim=1).numpy()


class SignalSession:
    """A signal node with the test network, a publisher of its input and its estimates."""

    def __init__(self, graph, folder, message_type=Imu, *, process=False, **parameters):
        path, self.network = write_model(folder)
        self.graph = graph
        parameters = {"models": [str(path)], "topic": "samples", **parameters}
        make = graph.process if process else graph.host
        self.node = make("signal", parameters=parameters)
        self.publisher = graph.probe.create_publisher(
            message_type, "/samples", qos_profile("reliable", 5000)
        )
        self.estimates = graph.collect(SignalEstimate, "/signal/contact", depth=5000)
        wait_until(
            lambda: (
                self.publisher.get_subscription_count()
                and graph.probe.count_publishers("/signal/contact")
            ),
            lambda: f"the node does not listen; {graph.status('/signal')}",
        )

    def send(self, stamps_ns, samples):
        """Publish samples one by one, faster than they were taken."""
        for number, (stamp_ns, sample) in enumerate(zip(stamps_ns, samples, strict=True)):
            self.publisher.publish(imu(stamp_ns, sample))
            if number % 50 == 49:
                time.sleep(0.01)

    def settled(self, received):
        """The status after `received` samples were worked off and all estimates have come."""
        status = self.graph.status("/signal", lambda s: s.count("contact.received") >= received)
        published = sum(
            status.count(f"contact.estimates.{name}") for name in ("ok", "warming_up", "filled")
        )
        wait_until(lambda: len(self.estimates) >= published, "estimates are missing")
        return status


def stamp_ns(time):
    return time.sec * SECOND_NS + time.nanosec
