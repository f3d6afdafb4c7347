"""Spiking networks with per-synapse delays, stepped in real time."""

from sensorium.streaming.delays.dcls import delay_layer_from_dcls
from sensorium.streaming.delays.files import load_delay_network, save_delay_network
from sensorium.streaming.delays.network import DelayLayer, DelayNetwork
from sensorium.streaming.delays.offline import run_offline
from sensorium.streaming.delays.stepping import DelayStream

__all__ = [
    "DelayLayer",
    "DelayNetwork",
    "DelayStream",
    "delay_layer_from_dcls",
    "load_delay_network",
    "run_offline",
    "save_delay_network",
]
