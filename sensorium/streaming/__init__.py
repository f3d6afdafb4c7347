"""Streaming signals: windowed networks without computing the overlap twice, and delay networks."""

from sensorium.streaming.convert import convert
from sensorium.streaming.errors import NotStreamableError
from sensorium.streaming.report import StreamReport
from sensorium.streaming.stream import SignalStream
from sensorium.streaming.training import SignalPadded, nrmse_percent

__all__ = [
    "NotStreamableError",
    "SignalPadded",
    "SignalStream",
    "StreamReport",
    "convert",
    "nrmse_percent",
]
