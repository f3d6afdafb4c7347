"""Streaming signals: windowed networks without computing the overlap twice, and delay networks."""

from sensorium.streaming.convert import convert
from sensorium.streaming.errors import NotStreamableError
from sensorium.streaming.stream import SignalStream

__all__ = ["NotStreamableError", "SignalStream", "convert"]
